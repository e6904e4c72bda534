"""Somebody who is named twice gets two messages, and what one of them has become is not taken for the other."""

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_messaging.exceptions import DeliveryUnknown, PartiallySent
from airflow_messaging.operators import once
from airflow_messaging.sandbox import RunningSandbox

from .sends import LOOK_PATHS, SEND_PATHS, TO, FileStore, context_of, operator_of, sends_asked

pytestmark = pytest.mark.usefixtures("connections")

NAMED_TWICE = {"mdi": [TO["mdi"]] * 2, "sendhub": [TO["sendhub"]] * 21}


def run(service: str, store: FileStore, **arguments: Any) -> list[dict[str, Any]]:
    task = operator_of(service, "Same", to=NAMED_TWICE[service], split_recipients=True, **arguments)
    found: list[dict[str, Any]] = task.execute(context_of(store, xcom_push=lambda **_: None))
    return found


@pytest.fixture
def faults_at(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, list[dict[str, Any]]]]:
    """Faults by the number of the message, from 0, that they are to meet."""
    faults: dict[int, list[dict[str, Any]]] = {}
    numbers = iter(range(1000))
    real = once.Sending.run

    def counting(*args: Any, **kwargs: Any) -> Any:
        if (number := next(numbers)) in faults:
            sandbox.faults(faults[number])
        return real(*args, **kwargs)

    monkeypatch.setattr(once.Sending, "run", counting)
    yield faults


def sent(sandbox: RunningSandbox, service: str) -> set[str]:
    return {str(message["id"]) for message in sandbox.messages(service)["sent"]}


@pytest.mark.parametrize("service", NAMED_TWICE)
def test_the_first_is_not_taken_for_the_second_that_was_cut(
    sandbox: RunningSandbox, store: FileStore, service: str, faults_at: dict[int, Any]
) -> None:
    faults_at[1] = [{"service": service, "path": SEND_PATHS[service], "times": 1, "reset": True}]
    for _ in range(2):
        with pytest.raises(PartiallySent) as caught:
            run(service, store)
        assert isinstance(caught.value.__cause__, DeliveryUnknown)
        assert [result["accepted"] for result in caught.value.results][-2:] == [True, False]
    assert len(sent(sandbox, service)) == 1
    results = run(service, store, on_unknown="resend")
    assert {result["id"] for result in results} == sent(sandbox, service)
    assert len(sent(sandbox, service)) == 2


def test_the_second_is_not_taken_for_the_first_on_another_try(
    sandbox: RunningSandbox, store: FileStore, faults_at: dict[int, Any]
) -> None:
    cut = {"service": "sendhub", "path": SEND_PATHS["sendhub"], "times": 1, "reset": True}
    blind = {"service": "sendhub", "path": LOOK_PATHS["sendhub"], "status": 404, "times": 1}
    faults_at[0] = [cut, blind]
    for _ in range(2):
        with pytest.raises(PartiallySent) as caught:
            run("sendhub", store)
        assert [result["accepted"] for result in caught.value.results] == [False] * 20 + [True]
    assert len(sent(sandbox, "sendhub")) == 1
    assert sends_asked(sandbox, "sendhub") == 2


@pytest.mark.parametrize("service", NAMED_TWICE)
def test_one_whose_answer_alone_was_lost_is_found(
    sandbox: RunningSandbox, store: FileStore, service: str, faults_at: dict[int, Any]
) -> None:
    faults_at[0] = [{"service": service, "path": SEND_PATHS[service], "times": 1, "reset": True, "when": "after"}]
    results = run(service, store)
    assert {result["id"] for result in results} == sent(sandbox, service)
    assert len(sent(sandbox, service)) == 2
