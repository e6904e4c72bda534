"""Named readers: what cannot be read now is not taken for what does not exist; one that is held up is told of."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from airflow.sdk import Variable

from airflow_messaging import readers
from airflow_messaging.exceptions import MessagingError
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.operators.messages import MarkMessagesReadOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor


def test_a_reader_that_is_new_has_no_cursor(variables: dict[str, str]) -> None:
    assert readers.load("sendhub_default", "orders") is None


def test_a_cursor_comes_back(variables: dict[str, str]) -> None:
    readers.save("sendhub_default", "orders", Cursor(seen={"7": None}))
    assert readers.load("sendhub_default", "orders") == Cursor(seen={"7": None})


def test_no_part_of_a_connections_name_gets_lost_in_an_address() -> None:
    paths = {
        urlsplit(f"http://api/variables/{readers.variable_name(f'svc#{number}', 'orders')}").path for number in (1, 2)
    }
    assert len(paths) == 2


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


@pytest.mark.parametrize(("count", "age_h", "warns"), [(1001, 25, True), (1000, 25, False), (1001, 23, False)])
def test_a_message_that_holds_its_reader_up_for_long_is_told_of(
    count: int, age_h: int, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    begun = now - timedelta(hours=age_h)
    readers.warn_if_held_up("orders", Cursor(floor=begun, seen=dict.fromkeys(map(str, range(count)))), now)
    assert ("'orders' is held up by a message from about 2026-11-18T23:00:00+00:00" in caplog.text) == warns


def test_marking_read_looks_whether_the_reader_is_held_up(
    sandbox: RunningSandbox, connections: Any, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up: list[tuple[str, Cursor]] = []
    monkeypatch.setattr(readers, "warn_if_held_up", lambda reader, cursor, _: held_up.append((reader, cursor)))
    sandbox.inbound("mdi", text="nobody deals with this")
    sandbox.inbound("mdi", text="hello")
    with hook_for("mdi_default") as hook:
        _, second = hook.poll(Cursor()).messages
    MarkMessagesReadOperator(task_id="mark", conn_id="mdi_default", reader="orders", messages=second.to_dict()).execute(
        {}
    )
    assert held_up == [("orders", readers.load("mdi_default", "orders"))]
