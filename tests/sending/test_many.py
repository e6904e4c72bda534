"""Many messages through one hook: in order, each once, and no more at a time than was asked for."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    DeliveryUnknown,
    InvalidInput,
    MessagingError,
    RateLimited,
    ServiceError,
    UnsupportedFeature,
)
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.messages import Outcome
from airflow_messaging.sandbox import RunningSandbox

from .sends import OPTIONS, SEND_PATHS, SERVICES, TO

pytestmark = pytest.mark.usefixtures("connections")

SendMany = Callable[..., list[Outcome]]
ALL_KINDS = ("from a worker", "on an event loop")


@pytest.fixture(params=ALL_KINDS)
def send_many(request: pytest.FixtureRequest) -> SendMany:
    def blocking(service: str, messages: Any, **arguments: Any) -> list[Outcome]:
        with hook_for(f"{service}_default") as hook:
            return hook.send_many(messages, **arguments)

    def asynchronous(service: str, messages: Any, **arguments: Any) -> list[Outcome]:
        async def send() -> list[Outcome]:
            async with hook_for(f"{service}_default") as hook:
                return await hook.asend_many(messages, **arguments)

        return asyncio.run(send())

    return blocking if request.param == ALL_KINDS[0] else asynchronous


def messages_for(service: str, count: int) -> list[dict[str, Any]]:
    return [{"to": TO[service], "text": f"Number {number}", "options": OPTIONS.get(service)} for number in range(count)]


def texts(sandbox: RunningSandbox, service: str) -> dict[str, str]:
    """What was sent, by the ids that receipts have."""
    return {m.get("message_id", m["id"]): m["text"] for m in sandbox.messages(service)["sent"]}


def asked(sandbox: RunningSandbox, service: str) -> int:
    path = SEND_PATHS[service].strip("*")
    return sum(path in entry["path"] and entry["method"] == "POST" for entry in sandbox.journal(service))


def fault(service: str, **what: Any) -> dict[str, Any]:
    return {"service": service, "path": SEND_PATHS[service], **what}


@pytest.mark.parametrize("service", SERVICES)
class TestEachService:
    def test_receipts_come_in_the_order_of_the_messages(
        self, sandbox: RunningSandbox, send_many: SendMany, service: str
    ) -> None:
        outcomes = send_many(service, iter(messages_for(service, 30)), concurrency=7)
        sent = texts(sandbox, service)
        assert len(sent) == asked(sandbox, service) == 30
        assert [sent[o.receipt.id] for o in outcomes if o.receipt] == [f"Number {number}" for number in range(30)]

    def test_one_refusal_stops_no_other(self, sandbox: RunningSandbox, send_many: SendMany, service: str) -> None:
        sandbox.faults([fault(service, status=400, times=1)])
        first, *others = send_many(service, messages_for(service, 6), concurrency=1)
        assert isinstance(first.error, ServiceError)
        assert not first.accepted
        assert all(outcome.accepted for outcome in others)
        assert set(texts(sandbox, service).values()) == {f"Number {number}" for number in range(1, 6)}

    def test_a_lost_answer_is_a_result_and_the_message_is_not_sent_again(
        self, sandbox: RunningSandbox, send_many: SendMany, service: str
    ) -> None:
        sandbox.faults([fault(service, reset=True, when="after", times=2)])
        outcomes = send_many(service, messages_for(service, 8), concurrency=3)
        assert sum(isinstance(outcome.error, DeliveryUnknown) for outcome in outcomes) == 2
        assert sum(outcome.accepted for outcome in outcomes) == 6
        assert asked(sandbox, service) == len(texts(sandbox, service)) == 8

    def test_refused_credentials_end_it(self, sandbox: RunningSandbox, send_many: SendMany, service: str) -> None:
        sandbox.faults([fault(service, status=401)])
        outcomes = send_many(service, messages_for(service, 40), concurrency=2)
        assert [type(outcome.error) for outcome in outcomes] == [AuthenticationFailed] * 40
        # Those that were on their way already, each with one new login where there is one.
        assert asked(sandbox, service) <= 4
        assert texts(sandbox, service) == {}

    def test_a_pause_is_kept_by_all(self, sandbox: RunningSandbox, send_many: SendMany, service: str) -> None:
        pause = {"headers": {"Retry-After": "1"}, "body": '{"timeLeft": "0:00:01"}'}
        sandbox.faults([fault(service, status=429, times=1, **pause)])
        began = time.monotonic()
        outcomes = send_many(service, messages_for(service, 10), concurrency=2)
        assert time.monotonic() - began >= 1
        assert all(outcome.accepted for outcome in outcomes)
        assert len(texts(sandbox, service)) == 10

    @pytest.mark.parametrize(
        ("wrong", "error", "words"),
        [
            ({"to": ""}, (InvalidInput, UnsupportedFeature), r"messages\[2\]"),
            ({"to": "x", "text": "y", "body": "z"}, InvalidInput, r"messages\[2\]: got 1 others"),
            ({"text": "y"}, InvalidInput, r"messages\[2\]: got no 'to'"),
            ({"to": "1", "text": "y", "options": {"colour": "red"}}, InvalidInput, r"messages\[2\]\.options"),
            ("just a text", InvalidInput, r"messages\[2\]: got str, expected a mapping"),
        ],
    )
    def test_bad_input_is_named_by_its_place_and_nothing_is_sent(
        self, sandbox: RunningSandbox, send_many: SendMany, service: str, wrong: Any, error: Any, words: str
    ) -> None:
        good = messages_for(service, 5)
        with pytest.raises(error, match=words):
            send_many(service, [*good[:2], wrong, *good[2:]])
        assert asked(sandbox, service) == 0


@pytest.mark.parametrize("messages", ["text", {"to": "1"}, None, 7])
def test_anything_but_several_messages_is_refused(send_many: SendMany, messages: Any) -> None:
    with pytest.raises(InvalidInput, match=r"messages: got .*, expected several mappings"):
        send_many("mdi", messages)


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "many", True, None])
def test_a_strange_concurrency_is_refused(sandbox: RunningSandbox, send_many: SendMany, concurrency: Any) -> None:
    with pytest.raises(InvalidInput, match="concurrency"):
        send_many("sendhub", messages_for("sendhub", 3), concurrency=concurrency)
    assert asked(sandbox, "sendhub") == 0


def test_no_messages_are_no_outcomes(sandbox: RunningSandbox, send_many: SendMany) -> None:
    assert send_many("sendhub", []) == []
    assert sandbox.journal("sendhub") == []


def test_no_more_at_a_time_than_asked_for(sandbox: RunningSandbox, send_many: SendMany) -> None:
    sandbox.faults([fault("sendhub", delay_s=0.2)])
    began = time.monotonic()
    assert all(outcome.accepted for outcome in send_many("sendhub", messages_for("sendhub", 12), concurrency=4))
    assert 0.6 <= time.monotonic() - began < 12 * 0.2


def test_what_the_service_lacks_is_refused_with_its_place(sandbox: RunningSandbox, send_many: SendMany) -> None:
    with pytest.raises(UnsupportedFeature, match=r"\(messages\[1\]\)"):
        send_many("mdi", [*messages_for("mdi", 1), {"to": "17", "text": "x", "subject": "y"}])
    assert asked(sandbox, "mdi") == 0


def test_files_go_along(sandbox: RunningSandbox, send_many: SendMany, tmp_path: Path) -> None:
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.txt")
        files[-1].write_text(f"File {number}")
    outcomes = send_many("go_integrate", [{"to": TO["go_integrate"], "attachments": str(file)} for file in files])
    assert all(outcome.accepted for outcome in outcomes)
    assert len(texts(sandbox, "go_integrate")) == 3
    with pytest.raises(InvalidInput, match=r"messages\[1\]\.attachments"):
        send_many("go_integrate", [{"to": TO["go_integrate"], "attachments": [str(file)]} for file in (files[0], "no")])


def test_each_waits_its_turn_and_none_too_long(
    sandbox: RunningSandbox, connections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At two a second nobody could wait for the fourth place in a line of a second."""
    slow = connections["sendhub_default"] | {"extra": json.dumps({"max_per_second": 2})}
    monkeypatch.setenv("AIRFLOW_CONN_SENDHUB_DEFAULT", json.dumps(slow))
    began = time.monotonic()
    with hook_for("sendhub_default") as hook:
        hook.tighten(max_wait=1)
        outcomes = hook.send_many(messages_for("sendhub", 5))
    assert all(outcome.accepted for outcome in outcomes)
    assert time.monotonic() - began >= 1.9


def test_a_pause_that_is_too_long_leaves_the_service_alone(sandbox: RunningSandbox, send_many: SendMany) -> None:
    sandbox.faults([fault("mdi", status=429, headers={"Retry-After": "600"})])
    outcomes = send_many("mdi", messages_for("mdi", 50), concurrency=2)
    assert [type(outcome.error) for outcome in outcomes] == [RateLimited] * 50
    assert asked(sandbox, "mdi") <= 2


def test_a_cancelled_one_sends_no_more_and_the_hook_can_go_on(sandbox: RunningSandbox) -> None:
    async def run() -> list[Outcome]:
        async with hook_for("sendhub_default") as hook:
            sending = asyncio.create_task(hook.asend_many(messages_for("sendhub", 20), concurrency=3))
            await asyncio.sleep(0.5)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}
            await asyncio.to_thread(sandbox.clear_faults)
            return await hook.asend_many(messages_for("sendhub", 2))

    sandbox.faults([fault("sendhub", delay_s=1.0)])
    assert all(outcome.accepted for outcome in asyncio.run(run()))
    assert asked(sandbox, "sendhub") == 5


async def test_on_a_running_loop_it_says_what_to_do(sandbox: RunningSandbox) -> None:
    with pytest.raises(MessagingError, match="async with"):
        hook_for("sendhub_default").send_many(messages_for("sendhub", 2))
    with pytest.raises(MessagingError, match="async with"):
        await hook_for("sendhub_default").asend_many(messages_for("sendhub", 2))
    assert sandbox.journal("sendhub") == []


@pytest.mark.parametrize("service", SERVICES)
def test_outcomes_are_json_without_texts_and_numbers(
    sandbox: RunningSandbox, send_many: SendMany, service: str
) -> None:
    sandbox.faults([fault(service, status=400, body="no such thing as +48500600700", times=1)])
    outcomes = send_many(service, messages_for(service, 2), concurrency=1)
    plain = json.dumps([outcome.to_dict() for outcome in outcomes])
    refused, accepted = json.loads(plain)
    assert accepted["accepted"] is True
    assert accepted["id"] == (outcomes[1].receipt and outcomes[1].receipt.id)
    assert (refused["accepted"], refused["id"], refused["error_code"]) == (
        False,
        None,
        type(outcomes[0].error).__name__,
    )
    assert "Number" not in plain
    assert "500600700" not in plain
