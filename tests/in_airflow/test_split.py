"""More recipients than one message may have: in batches if asked to, and nobody is hidden behind an overall success."""

import re
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    InvalidInput,
    PartiallySent,
    RateLimited,
    ServiceError,
    UnsupportedFeature,
)
from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.operators.sendhub import SendHubSendMessageOperator
from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services import serwersms_wire

from .harness import new_context, run

pytestmark = pytest.mark.usefixtures("connections", "variables")

NUMBERS = [f"+1415555{number:04}" for number in range(45)]
PHONES = [f"+4850060{number:04}" for number in range(7)]
# A malformed number, which the service refuses.
BAD = "12"


class Store:
    """Airflow's task state store, which outlives a try."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.kept.get(key)

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = value

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


def context_with(store: Store | None) -> tuple[Any, dict[str, Any]]:
    context = new_context()
    if store is not None:
        context["task_state_store"] = store
    pushed: dict[str, Any] = {}
    context["ti"].xcom_push = lambda key, value: pushed.__setitem__(key, value)
    return context, pushed


def sent(sandbox: RunningSandbox, service: str) -> list[dict[str, Any]]:
    return list(sandbox.messages(service)["sent"])


def test_without_being_asked_to_nothing_is_split(sandbox: RunningSandbox) -> None:
    with pytest.raises(InvalidInput, match="at most 20"):
        run(SendHubSendMessageOperator, contacts=NUMBERS, text="x")
    with pytest.raises(InvalidInput, match="at most 3"):
        run(SendHubSendMessageOperator, groups=[1, 2, 3, 4], text="x")
    with pytest.raises(UnsupportedFeature, match="2 recipients"):
        run(SendMessageOperator, conn_id="serwersms_default", to=PHONES[:2], text="x")
    assert sandbox.journal() == []


@pytest.mark.parametrize("neutral", [True, False])
def test_contacts_go_out_in_batches_and_each_has_a_result(neutral: bool, sandbox: RunningSandbox) -> None:
    if neutral:
        results = run(
            SendMessageOperator, conn_id="sendhub_default", to=NUMBERS, text="All of you", split_recipients=True
        )
    else:
        results = run(SendHubSendMessageOperator, contacts=NUMBERS, text="All of you", split_recipients=True)
    assert len(sent(sandbox, "sendhub")) == 3
    assert len(results) == len(NUMBERS)
    assert all(result["accepted"] and result["raw"] == {} for result in results)
    ids = [result["id"] for result in results]
    assert [len({*ids[:20]}), len({*ids[20:40]}), len({*ids[40:]}), len({*ids})] == [1, 1, 1, 3]


def test_groups_go_along_with_the_last_contacts(sandbox: RunningSandbox) -> None:
    from airflow_messaging.hooks.sendhub import SendHubHook

    with SendHubHook() as hook:
        draft = SendHubSendMessageOperator(
            task_id="t", contacts=NUMBERS[:21], groups=[1, 2, 3, 4], text="x", split_recipients=True
        ).draft(hook, "id-1")
        parts = hook.run(hook.service.split(draft))
        assert [(len(part.to), part.options.get("groups")) for part in parts] == [
            (20, None),
            (1, [1, 2, 3]),
            (0, [4]),
        ]
        assert [name for part in parts for name in hook.service.recipients(part)] == hook.service.recipients(draft)
        few = hook.run(hook.service.split(SendHubSendMessageOperator(task_id="u", groups=7, text="x").draft(hook, "i")))
        assert [(part.to, part.options["groups"]) for part in few] == [((), [7])]
    assert sandbox.journal() == []


@pytest.mark.parametrize(
    ("service", "to", "options"),
    [
        ("go_integrate", ["9d2e@b7f05c38"] * 3, {}),
        ("mdi", ["17", "18", "17"], {"channelid": 11}),
        ("serwersms", [PHONES[0], PHONES[1], PHONES[0]], {}),
    ],
)
def test_services_for_one_recipient_get_a_message_for_each(
    service: str, to: list[str], options: dict[str, Any], sandbox: RunningSandbox
) -> None:
    context, _ = context_with(Store())
    arguments: dict[str, Any] = {"conn_id": f"{service}_default", "to": to, "text": "x", "options": options}
    results = run(SendMessageOperator, context, **arguments, split_recipients=True)
    assert [result["accepted"] for result in results] == [True] * 3
    assert len({result["id"] for result in results}) == 3
    assert len(sent(sandbox, service)) == 3
    again = run(SendMessageOperator, context, **arguments, split_recipients=True)
    assert [result["id"] for result in again] == [result["id"] for result in results]
    assert len(sent(sandbox, service)) == 3


def test_nothing_is_sent_if_one_of_the_batches_breaks_a_rule(sandbox: RunningSandbox) -> None:
    with pytest.raises(InvalidInput, match="contacts"):
        run(SendHubSendMessageOperator, contacts=[*NUMBERS, "not an id"], text="x", split_recipients=True)
    assert sent(sandbox, "sendhub") == []


def test_a_retry_sends_what_is_missing_and_nothing_else(sandbox: RunningSandbox) -> None:
    store = Store()
    context, pushed = context_with(store)
    arguments: dict[str, Any] = {
        "conn_id": "serwersms_default",
        "to": PHONES,
        "text": "Only once",
        "split_recipients": True,
    }
    no_money = '{"error": {"code": 4300, "type": "Refused", "message": "not today"}}'
    with pytest.raises(PartiallySent) as caught:
        run_with_fault_at(sandbox, 3, {"status": 200, "body": no_money}, context, arguments)
    problem = caught.value
    assert [result["accepted"] for result in problem.results] == [True, True, True, False, True, True, True]
    assert problem.results[3]["error_code"] == "ServiceError"
    assert pushed["return_value"] == problem.results
    assert "1 of 7 recipients" in str(problem)
    assert not re.search(r"\d{6}", str(problem))
    assert type(problem.__cause__) is ServiceError
    assert len(sent(sandbox, "serwersms")) == 6
    results = run(SendMessageOperator, context_with(store)[0], **arguments)
    assert [result["accepted"] for result in results] == [True] * 7
    assert len(sent(sandbox, "serwersms")) == 7


def run_with_fault_at(sandbox: RunningSandbox, before: int, fault: dict[str, Any], context: Any, arguments: Any) -> Any:
    """Run, and let a request after ``before`` good ones go wrong once."""
    from airflow_messaging.operators import once

    real, number = once.Sending.run, iter(range(1000))

    def counting(*args: Any, **kwargs: Any) -> Any:
        if next(number) == before:
            sandbox.faults([{"service": arguments["conn_id"].removesuffix("_default"), "times": 1, **fault}])
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(once.Sending, "run", counting)
        return run(SendMessageOperator, context, **arguments)


def test_what_is_true_of_the_account_ends_the_sending(sandbox: RunningSandbox) -> None:
    arguments: dict[str, Any] = {
        "conn_id": "serwersms_default",
        "to": PHONES,
        "text": "x",
        "split_recipients": True,
    }
    fault = {"status": 429, "headers": {"Retry-After": "99"}}
    with pytest.raises(PartiallySent) as caught:
        run_with_fault_at(sandbox, 2, fault, context_with(Store())[0], arguments)
    codes = [result.get("error_code") for result in caught.value.results]
    assert codes == [None, None, "RateLimited", *["not tried"] * 4]
    assert isinstance(caught.value.__cause__, RateLimited)
    assert len(sandbox.journal("serwersms")) == 3


def test_if_nobody_was_sent_to_the_error_is_the_services_own(sandbox: RunningSandbox) -> None:
    body = '{"error": {"code": 1001, "type": "InvalidUser", "message": "no"}}'
    sandbox.faults([{"service": "serwersms", "status": 200, "body": body}])
    arguments: dict[str, Any] = {"conn_id": "serwersms_default", "to": PHONES, "text": "x", "split_recipients": True}
    with pytest.raises(AuthenticationFailed):
        run(SendMessageOperator, context_with(Store())[0], **arguments)
    assert len(sandbox.journal("serwersms")) == 1


def test_an_airflow_that_cannot_remember_does_not_try_again(sandbox: RunningSandbox) -> None:
    arguments: dict[str, Any] = {"conn_id": "serwersms_default", "to": PHONES, "text": "x", "split_recipients": True}
    with pytest.raises(AirflowFailException, match="5 of 7") as caught:
        run_with_fault_at(
            sandbox, 2, {"status": 429, "headers": {"Retry-After": "99"}}, context_with(None)[0], arguments
        )
    assert isinstance(caught.value.__cause__, PartiallySent)


def test_numbers_beyond_the_limit_go_out_in_batches(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serwersms_wire, "MAX_NUMBERS", 3)
    context, _ = context_with(Store())
    with pytest.raises(InvalidInput, match="1 to 3 numbers"):
        run(SerwerSmsSendMessageOperator, phone=PHONES, text="x")
    assert sandbox.journal() == []
    results = run(SerwerSmsSendMessageOperator, context, phone=PHONES, text="x", split_recipients=True)
    assert [result["accepted"] for result in results] == [True] * 7
    assert len({result["id"] for result in results}) == 7
    assert len(sandbox.journal("serwersms")) == 3


@pytest.mark.parametrize("fails", [True, False])
def test_a_number_that_the_service_refuses_is_told_by_its_place(
    fails: bool, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serwersms_wire, "MAX_NUMBERS", 3)
    phones = [*PHONES[:4], BAD, *PHONES[4:]]
    arguments: dict[str, Any] = {
        "phone": phones,
        "text": "x",
        "split_recipients": True,
        "fail_on_unsent": fails,
    }
    context, pushed = context_with(Store())
    if fails:
        with pytest.raises(PartiallySent, match=r"1 of 8 .*: 5 \(code"):
            run(SerwerSmsSendMessageOperator, context, **arguments)
        results = pushed["return_value"]
    else:
        results = run(SerwerSmsSendMessageOperator, context, **arguments)
    assert [result["accepted"] for result in results] == [True] * 4 + [False] + [True] * 3


@pytest.mark.newest
def test_the_policy_takes_what_ended_the_sending() -> None:
    from airflow_messaging.policies import MessagingRetryPolicy

    def decide(cause: BaseException | None) -> Any:
        problem = PartiallySent("serwersms", [{"accepted": True}, {"accepted": False}])
        problem.__cause__ = cause
        return MessagingRetryPolicy().evaluate(problem, 1, 3)

    limited = decide(RateLimited("serwersms", "messages/send_sms", status=429, retry_after=40))
    assert limited.retry_delay.total_seconds() >= 40
    assert decide(AuthenticationFailed("mdi", "session", status=401)).action.value == "fail"
    assert decide(ServiceError("serwersms", "messages/send_sms", status=200)).action.value == "default"
    assert decide(None).action.value == "fail"
