"""Named readers: what Airflow cannot read now must not be taken for what does not exist."""

from typing import Any

import pytest
from airflow.sdk import Variable

from airflow_messaging import readers
from airflow_messaging.exceptions import MessagingError
from airflow_messaging.services.receiving import Cursor


def test_a_reader_that_is_new_has_no_cursor(variables: dict[str, str]) -> None:
    assert readers.load("sendhub_default", "orders") is None


def test_a_cursor_comes_back(variables: dict[str, str]) -> None:
    readers.save("sendhub_default", "orders", Cursor(seen={"7": None}))
    assert readers.load("sendhub_default", "orders") == Cursor(seen={"7": None})


def test_an_api_server_that_does_not_answer_sets_no_reader_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow's client answers "not found" then as well.
    monkeypatch.setattr(Variable, "get", lambda _key, default=None, **_: default)
    monkeypatch.setattr(Variable, "set", lambda *_, **__: None)
    with pytest.raises(MessagingError, match="cannot be read now"):
        readers.load("sendhub_default", "orders")


def test_one_failure_in_between_is_noticed(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    readers.save("sendhub_default", "orders", Cursor(seen={"7": None}))
    answers = Variable.get
    failures = iter([True])

    def get(key: str, default: Any = None, **options: Any) -> Any:
        return default if next(failures, False) else answers(key, default=default, **options)

    monkeypatch.setattr(Variable, "get", get)
    assert readers.load("sendhub_default", "orders") == Cursor(seen={"7": None})
