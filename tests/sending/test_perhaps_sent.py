"""What a send that may have arrived tells, and what the retry policy makes of it."""

import asyncio
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_messaging.exceptions import (
    DeliveryUnknown,
    MessagingError,
    Overloaded,
    ProtocolError,
    ServiceUnavailable,
    from_dict,
    to_dict,
)
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.transport import pacing

from .sends import LOOK_PATHS, OPTIONS, SEND_PATHS, SERVICES, TO, WITH_LOOK, FileStore, context_of, operator_of

pytestmark = pytest.mark.usefixtures("connections")

PERHAPS_SENT: list[tuple[dict[str, Any], type[MessagingError]]] = [
    ({"status": 503, "headers": {"Retry-After": "600"}}, Overloaded),
    ({"status": 500}, ServiceUnavailable),
    ({"status": 200, "body": "<h1>welcome</h1>"}, ProtocolError),
    ({"reset": True}, DeliveryUnknown),
]
OVERLOADED = PERHAPS_SENT[0][0]
SURELY_NOT: list[dict[str, Any]] = [{**OVERLOADED, "status": 429, "body": "{}"}, {"status": 400}]


def decide(error: MessagingError, task: Any = None, context: Any = None) -> Any:
    from airflow_messaging.policies import MessagingRetryPolicy

    context = {**(context or {}), "ti": SimpleNamespace(task=task)}
    return MessagingRetryPolicy().evaluate(error, 1, 3, context)


def failure_of(service: str, *, on_a_loop: bool) -> MessagingError:
    """Send as a task of somebody's own does."""

    message: dict[str, Any] = {"to": TO[service], "text": "Once", "options": OPTIONS.get(service)}

    async def on_loop() -> MessagingError | None:
        async with hook_for(f"{service}_default") as hook:
            [outcome] = await hook.asend_many([message])
        return outcome.error

    if on_a_loop:
        error = asyncio.run(on_loop())
        assert error is not None
        return error
    with pytest.raises(MessagingError) as caught, hook_for(f"{service}_default") as hook:
        hook.send(**message)
    return caught.value


def forget_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next call that of another process."""
    monkeypatch.setattr(pacing, "_lanes", {})


@pytest.mark.parametrize("on_a_loop", [False, True], ids=["blocking", "asynchronous"])
@pytest.mark.parametrize("service", SERVICES)
class TestASendOfOnesOwn:
    @pytest.mark.parametrize(("answer", "kind"), PERHAPS_SENT, ids=["503", "500", "unreadable", "lost"])
    def test_says_that_it_may_have_arrived(
        self, sandbox: RunningSandbox, service: str, on_a_loop: bool, answer: Any, kind: type[MessagingError]
    ) -> None:
        if service == "go_integrate" and kind is ProtocolError:
            pytest.skip("any 2xx is good there")
        sandbox.faults([{"service": service, "path": SEND_PATHS[service], "when": "after", **answer}])
        error = failure_of(service, on_a_loop=on_a_loop)
        assert type(error) is kind
        assert error.may_have_arrived
        assert pickle.loads(pickle.dumps(error)).may_have_arrived
        assert from_dict(to_dict(error)).may_have_arrived

    @pytest.mark.parametrize("answer", SURELY_NOT, ids=["429", "400"])
    def test_says_that_it_has_not(self, sandbox: RunningSandbox, service: str, on_a_loop: bool, answer: Any) -> None:
        sandbox.faults([{"service": service, "path": SEND_PATHS[service], **answer}])
        assert not failure_of(service, on_a_loop=on_a_loop).may_have_arrived


def test_what_is_harmless_to_repeat_says_nothing(sandbox: RunningSandbox) -> None:
    sandbox.faults([{"service": "sendhub", "status": 500}])
    with hook_for("sendhub_default") as hook, pytest.raises(ServiceUnavailable) as caught:
        hook.message("1")
    assert not caught.value.may_have_arrived


@pytest.mark.newest
class TestThePolicy:
    @pytest.mark.parametrize(("answer", "kind"), PERHAPS_SENT, ids=["503", "500", "unreadable", "lost"])
    def test_does_not_repeat_a_send_of_ones_own(
        self, sandbox: RunningSandbox, answer: Any, kind: type[MessagingError]
    ) -> None:
        sandbox.faults([{"service": "sendhub", "path": SEND_PATHS["sendhub"], "when": "after", **answer}])
        decision = decide(failure_of("sendhub", on_a_loop=False))
        assert decision.action.value == "fail"
        assert kind.__name__ in decision.reason
        assert len(sandbox.messages("sendhub")["sent"]) == 1

    def test_repeats_what_was_refused(self, sandbox: RunningSandbox) -> None:
        sandbox.faults([{"service": "sendhub", "path": SEND_PATHS["sendhub"], **SURELY_NOT[0]}])
        assert decide(failure_of("sendhub", on_a_loop=False)).retry_delay.total_seconds() >= 600

    @pytest.mark.parametrize("service", WITH_LOOK)
    def test_waits_with_the_look_as_long_as_a_503_asks(
        self, sandbox: RunningSandbox, store: FileStore, service: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sandbox.faults([{"service": service, "path": SEND_PATHS[service], "when": "after", "times": 1} | OVERLOADED])
        task, context = operator_of(service, "Once"), context_of(store)
        with pytest.raises(DeliveryUnknown) as caught:
            task.execute(context)
        assert 599 < (caught.value.retry_after or 0) <= 600
        decision = decide(caught.value, task, context)
        assert decision.action.value == "retry"
        assert decision.retry_delay.total_seconds() >= 599
        forget_pauses(monkeypatch)
        receipt = operator_of(service, "Once").execute(context)
        assert [message["id"] for message in sandbox.messages(service)["sent"]] == [receipt["id"]]

    def test_waits_as_long_as_the_look_was_asked_to(self, sandbox: RunningSandbox, store: FileStore) -> None:
        lost = {"service": "sendhub", "path": SEND_PATHS["sendhub"], "when": "after", "reset": True}
        sandbox.faults([lost, {"service": "sendhub", "path": LOOK_PATHS["sendhub"], **OVERLOADED}])
        task, context = operator_of("sendhub", "Once"), context_of(store)
        with pytest.raises(DeliveryUnknown) as caught:
            task.execute(context)
        assert decide(caught.value, task, context).retry_delay.total_seconds() >= 599


def test_what_was_looked_for_and_not_found_has_not_arrived(sandbox: RunningSandbox, store: FileStore) -> None:
    sandbox.faults([{"service": "sendhub", "path": SEND_PATHS["sendhub"], "status": 500}])
    with pytest.raises(ServiceUnavailable) as caught:
        operator_of("sendhub", "Once").execute(context_of(store))
    assert not caught.value.may_have_arrived
