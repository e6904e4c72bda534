"""One task that asks and returns the reply: to just that question, once, and shared with all others that wait."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred

from airflow_messaging.exceptions import InvalidInput, MessagingError, UnsupportedFeature
from airflow_messaging.operators.asking import NoReply
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.triggers.messages import NextMessageTrigger

from .harness import SERVICES, WITH_READ_FLAG, as_stored, fire, resume
from .questions import (
    NAMES_ANSWERED,
    NUMBER,
    QUESTION,
    TO,
    Store,
    answered,
    asked,
    context_of,
    question,
    reply_fields,
    sent,
)

pytestmark = pytest.mark.usefixtures("connections", "short_backoff")


class TestTheReply:
    @pytest.mark.parametrize("code", [False, True])
    @pytest.mark.parametrize("service", SERVICES)
    def test_of_the_peer_comes_back(self, service: str, code: bool, sandbox: RunningSandbox) -> None:
        context = context_of()
        reply = answered(lambda: question(service, code=code), context)
        assert reply["text"].startswith(QUESTION)
        assert (reply["text"] != QUESTION) is code
        assert len(sent(sandbox, service)) == 1
        assert context["ti"].xcom["receipt"]["service"] == service

    @pytest.mark.parametrize("service", ["liquidfiles", "mdi", "serwersms", "sendhub"])
    def test_is_told_from_other_messages(self, service: str, silent: RunningSandbox) -> None:
        context = context_of()
        silent.inbound(service, text="before", sender=TO[service])
        time.sleep(2.1)  # services write whole seconds, and the receipt allows for one more
        deferred = asked(question(service), context)
        stranger = {"liquidfiles": "x@peer.example", "mdi": "18", "serwersms": "+48111222333", "sendhub": "2222"}
        silent.inbound(service, text="a stranger", sender=stranger[service])
        if service in NAMES_ANSWERED:
            silent.inbound(service, text="of the right one, to something else", sender=TO[service])
        right = silent.inbound(service, text="at noon", **reply_fields(service, silent))
        reply = resume(question(service), deferred, asyncio.run(fire(deferred.trigger)), context)
        assert (reply["id"], reply["text"]) == (right, "at noon")

    @pytest.mark.parametrize("answer", ["its name", "its text", "in_other_case"])
    def test_through_go_integrate_quotes_the_message_id(self, answer: str, silent: RunningSandbox) -> None:
        context = context_of()
        deferred = asked(question("go_integrate", to="9d2e@b7f05c38"), context)
        (only,) = sent(silent, "go_integrate")
        message_id = only["message_id"]
        given = {
            "its name": {"attachments": [{"filename": f"Re {message_id}.txt", "content": b"noon"}]},
            "its text": {"text": f"noon ({message_id})"},
            "in_other_case": {"text": f"noon {message_id.upper()}"},
        }
        silent.inbound("go_integrate", text="something else")
        right = silent.inbound("go_integrate", **given[answer])
        reply = resume(question("go_integrate"), deferred, asyncio.run(fire(deferred.trigger)), context)
        assert reply["id"] == right

    @pytest.mark.parametrize("service", SERVICES)
    def test_without_the_code_is_left_to_others(self, service: str, silent: RunningSandbox) -> None:
        context = context_of()
        deferred = asked(question(service, code=True), context)
        code = _code_of(deferred)
        about = reply_fields(service, silent)
        silent.inbound(service, **{**about, "text": "noon"})
        silent.inbound(service, **{**about, "text": f"noon x{code}x"})
        right = silent.inbound(service, **{**about, "text": f"noon, {code.lower()}."})
        reply = resume(question(service, code=True), deferred, asyncio.run(fire(deferred.trigger)), context)
        assert reply["id"] == right

    def test_of_somebody_known_by_number_comes_from_the_contact(self, silent: RunningSandbox) -> None:
        number = "+16505559999"
        silent.inbound("sendhub", text="hello", sender=number)
        context = context_of()
        deferred = asked(question("sendhub", to=number), context)
        assert len(deferred.trigger.selection["sender"]) == 2
        right = silent.inbound("sendhub", text="noon", sender=number)
        event = asyncio.run(fire(deferred.trigger))
        assert resume(question("sendhub", to=number), deferred, event, context)["id"] == right

    def test_of_somebody_whose_address_is_written_otherwise(self, silent: RunningSandbox) -> None:
        context = context_of()
        deferred = asked(question("liquidfiles", to="Quiet@Peer.Example"), context)
        right = silent.inbound("liquidfiles", text="noon", sender="quiet@peer.example")
        event = asyncio.run(fire(deferred.trigger))
        assert resume(question("liquidfiles"), deferred, event, context)["id"] == right

    @pytest.mark.parametrize("text", ["{{ 7 * 6 }}", "{% raw %}", "__import__('os')", "%(x)s {0} {code}", "\x01\x1b["])
    def test_is_never_a_template(self, text: str, silent: RunningSandbox) -> None:
        context = context_of()
        deferred = asked(question("liquidfiles", to="quiet@peer.example"), context)
        silent.inbound("liquidfiles", text=text, sender="quiet@peer.example")
        event = asyncio.run(fire(deferred.trigger))
        made = question("liquidfiles")
        made.render_template_fields(context)
        assert resume(made, deferred, event, context)["text"].encode(errors="replace") == text.encode(errors="replace")


def _code_of(deferred: TaskDeferred) -> str:
    found = re.search(r"\(\?:(\w+)\)", deferred.trigger.selection["matches"])
    assert found
    return found[1]


class TestBeforeAnythingIsSent:
    @pytest.mark.parametrize(
        ("service", "arguments", "error"),
        [
            ("liquidfiles", {"to": ["a@peer.example", "b@peer.example"]}, InvalidInput),
            ("sendhub", {"to": ["1111", "2222"]}, InvalidInput),
            ("sendhub", {"options": {"groups": [1]}}, UnsupportedFeature),
            ("sendhub", {"options": {"contact_names": ["Ann"]}}, UnsupportedFeature),
            ("serwersms", {"options": {"sender": "INFO"}}, UnsupportedFeature),
            ("serwersms", {"to": [NUMBER, "+48500600701"]}, InvalidInput),
            ("mdi", {"options": {"direction": "unittouser"}}, UnsupportedFeature),
            ("go_integrate", {"to": []}, InvalidInput),
            ("mdi", {"text": ""}, InvalidInput),
            ("mdi", {"text": None}, InvalidInput),
            ("mdi", {"on_timeout": " "}, InvalidInput),
            ("mdi", {"on_timeout": None}, InvalidInput),
            ("mdi", {"response_timeout": 0}, InvalidInput),
            ("mdi", {"response_timeout": timedelta(seconds=-1)}, InvalidInput),
            ("mdi", {"mark_read": "perhaps"}, InvalidInput),
            ("mdi", {"code": "perhaps"}, InvalidInput),
            ("mdi", {"code": True, "code_text": "no place for it"}, InvalidInput),
            ("mdi", {"spool": " "}, InvalidInput),
        ],
    )
    def test_refused(
        self, service: str, arguments: dict[str, Any], error: type[MessagingError], sandbox: RunningSandbox
    ) -> None:
        context = context_of(Store())
        operator = question(service, **arguments)
        with pytest.raises(error) as refused:
            operator.execute(context)
        assert sent(sandbox, service) == []
        assert QUESTION not in str(refused.value)
        assert NUMBER not in str(refused.value)

    def test_batches(self) -> None:
        with pytest.raises(ValueError, match="split_recipients"):
            question("mdi", split_recipients=True)

    def test_everything_can_be_templated(self, sandbox: RunningSandbox) -> None:
        operator = question(
            "mdi",
            text="{{ params.q }}",
            to="{{ params.to }}",
            code="{{ params.code }}",
            mark_read="{{ params.code }}",
            on_timeout="{{ params.late }}",
        )
        context = context_of()
        context["params"] = {"q": "Ready?", "to": "17", "code": "true", "late": "skip"}
        asked(operator, context)
        (only,) = sent(sandbox, "mdi")
        assert only["text"].startswith("Ready?\n")
        assert operator.on_timeout == "skip"


@pytest.mark.usefixtures("silent")
class TestTheTime:
    def run_out(self, service: str, **changes: Any) -> Any:
        return answered(lambda: question(service, response_timeout=0.5, **changes))

    def test_fails_without_a_retry(self) -> None:
        with pytest.raises(AirflowFailException, match=r"within 0\.5 seconds") as ended:
            self.run_out("sendhub")
        assert isinstance(ended.value, NoReply)

    def test_skips(self) -> None:
        with pytest.raises(AirflowSkipException):
            self.run_out("sendhub", on_timeout="skip")

    @pytest.mark.parametrize("service", ["liquidfiles", "sendhub"])
    def test_goes_on_with_a_default(self, service: str) -> None:
        reply = self.run_out(service, on_timeout="at noon, as always")
        assert (reply["text"], reply["id"], reply["service"]) == ("at noon, as always", "", service)

    @pytest.mark.parametrize("on_timeout", ["fail", "as always"])
    def test_also_when_the_triggerer_is_gone(self, on_timeout: str) -> None:
        context = context_of()
        make = lambda: question("sendhub", on_timeout=on_timeout)  # noqa: E731
        deferred = asked(make(), context)
        assert deferred.timeout is not None
        assert timedelta(seconds=10) < deferred.timeout < timedelta(seconds=71)
        failed = {"error": "Trigger timeout"}
        if on_timeout == "fail":
            with pytest.raises(NoReply):
                make().resume_execution("__fail__", failed, context)
        else:
            assert make().resume_execution("__fail__", failed, context)["text"] == "as always"

    def test_another_failure_of_the_trigger_is_one(self) -> None:
        with pytest.raises(Exception, match="Unknown"):
            question("sendhub", on_timeout="skip").resume_execution("__fail__", {}, context_of())

    def test_is_apart_from_execution_timeout(self) -> None:
        operator = question("sendhub", response_timeout=3600, execution_timeout=timedelta(seconds=5))
        deferred = asked(operator, context_of())
        ends = datetime.fromisoformat(deferred.trigger.end_at) - datetime.now(UTC)
        assert timedelta(minutes=59) < ends <= timedelta(hours=1)

    def test_errors_of_the_wait_reach_the_task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        context = context_of()
        deferred = asked(question("sendhub"), context)
        monkeypatch.setenv("AIRFLOW_CONN_SENDHUB_DEFAULT", "http://somebody:wrong@127.0.0.1:9/v1")
        with pytest.raises(MessagingError):
            resume(question("sendhub"), deferred, asyncio.run(fire(deferred.trigger)), context)


class TestTries:
    @pytest.mark.parametrize("code", [False, True])
    @pytest.mark.parametrize("service", SERVICES)
    def test_a_retry_does_not_ask_again(self, service: str, code: bool, sandbox: RunningSandbox) -> None:
        store = Store()
        first = asked(question(service, code=code), context_of(store))
        second = asked(question(service, code=code), context_of(store, try_number=2))
        assert len(sent(sandbox, service)) == 1
        assert {**second.trigger.arguments(), "end_at": ""} == {**first.trigger.arguments(), "end_at": ""}
        context = context_of(store, try_number=2)
        reply = resume(question(service, code=code), second, asyncio.run(fire(second.trigger)), context)
        assert reply["text"].startswith(QUESTION)

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_retry_after_the_reply_has_it(self, service: str, sandbox: RunningSandbox) -> None:
        store = Store()
        reply = answered(lambda: question(service), context_of(store))
        assert question(service).execute(context_of(store, try_number=2)) == reply
        assert len(sent(sandbox, service)) == 1

    @pytest.mark.parametrize("service", ["liquidfiles", "mdi", "serwersms", "sendhub"])
    def test_a_crash_before_the_reply_is_kept_loses_nothing(
        self, service: str, silent: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Full(Store):
            def set(self, key: str, value: Any) -> None:
                if "outcome" in value:
                    raise ConnectionError("the process dies here")
                super().set(key, value)

        store = Full()
        context = context_of(store)
        deferred = asked(question(service), context)
        right = silent.inbound(service, text="noon", **reply_fields(service, silent))
        with pytest.raises(ConnectionError):
            resume(question(service), deferred, asyncio.run(fire(deferred.trigger)), context)
        again = Store(store)
        assert answered(lambda: question(service), context_of(again))["id"] == right
        assert len(sent(silent, service)) == 1

    def test_a_cleared_task_asks_again(self, silent: RunningSandbox) -> None:
        store = Store()
        asked(question("mdi"), context_of(store, max_tries=2))
        asked(question("mdi"), context_of(store, max_tries=2, try_number=2))
        assert len(sent(silent, "mdi")) == 1
        asked(question("mdi"), context_of(store, max_tries=3, try_number=3))
        assert len(sent(silent, "mdi")) == 2

    def test_codes_differ_and_are_not_derived_from_names(self, sandbox: RunningSandbox) -> None:
        codes = {_code_of(asked(question("mdi", code=True), context_of(Store()))) for _ in range(5)}
        assert len(codes) == 5
        assert all(re.fullmatch("[A-Z0-9]{5}", code) for code in codes)

    def test_the_ids_of_tasks_and_mapped_tasks_differ(self, sandbox: RunningSandbox) -> None:
        for changes in ({"task_id": "a"}, {"task_id": "b"}, {"map_index": 0}, {"map_index": 1}, {"run_id": "x"}):
            asked(question("serwersms"), context_of(Store(), **changes))
        assert len({message["unique_id"] for message in sent(sandbox, "serwersms")}) == 5


class TestMarkingRead:
    @pytest.mark.parametrize("mark_read", [True, False])
    @pytest.mark.parametrize("service", WITH_READ_FLAG)
    def test_where_the_service_has_a_flag(self, service: str, mark_read: bool, sandbox: RunningSandbox) -> None:
        reply = answered(lambda: question(service, mark_read=mark_read))
        waiting = {str(message["id"]) for message in sandbox.messages(service)["waiting"]}
        assert waiting == (set() if mark_read else {reply["id"]})

    def test_takes_no_other_answer_along(self, silent: RunningSandbox) -> None:
        silent.clock(0, frozen=True)
        contexts = [context_of(task_id=name) for name in ("a", "b")]
        waits = [asked(question("serwersms"), context) for context in contexts]
        for place, text in ((0, "to a"), (1, "to b")):
            silent.inbound("serwersms", text=text, **reply_fields("serwersms", silent, place))
        silent.clock(0)
        replies = [
            resume(question("serwersms"), deferred, asyncio.run(fire(deferred.trigger)), context)
            for deferred, context in zip(waits, contexts, strict=True)
        ]
        assert [reply["text"] for reply in replies] == ["to a", "to b"]
        assert len(silent.messages("serwersms")["waiting"]) == 2

    def test_a_failure_does_not_lose_the_reply(self, sandbox: RunningSandbox) -> None:
        context = context_of()
        deferred = asked(question("sendhub"), context)
        event = asyncio.run(fire(deferred.trigger))
        sandbox.faults([{"service": "sendhub", "path": "*/messages/*", "status": 500}])
        assert resume(question("sendhub"), deferred, event, context)["text"] == QUESTION
        assert len(sandbox.messages("sendhub")["waiting"]) == 1


class TestManyQuestions:
    @pytest.mark.parametrize("service", ["liquidfiles", "mdi", "serwersms", "sendhub"])
    async def test_share_one_wait(self, service: str, silent: RunningSandbox) -> None:
        many = 300

        def ask(number: int) -> TaskDeferred:
            return asked(question(service, code=True, mark_read=False), context_of(task_id=f"ask_{number}"))

        first = await asyncio.to_thread(ask, 0)
        receipt, selection = first.trigger.cursor, first.trigger.selection
        codes = [f"CODE{number}" for number in range(many)]
        triggers = [
            as_stored(
                NextMessageTrigger(
                    conn_id=f"{service}_default",
                    poke_interval=0.5,
                    end_at=(datetime.now(UTC) + timedelta(seconds=20)).isoformat(),
                    cursor=receipt,
                    selection={**selection, "matches": rf"(?i)(?<!\w)(?:{code})(?!\w)"},
                )
            )
            for code in codes
        ]

        async def wait(trigger: NextMessageTrigger) -> Any:
            return (await anext(trigger.run())).payload

        waits = [asyncio.create_task(wait(trigger)) for trigger in triggers]
        await asyncio.sleep(2)
        idle = len(await asyncio.to_thread(silent.journal, service))
        about = await asyncio.to_thread(reply_fields, service, silent)
        for code in codes[::30]:
            await asyncio.to_thread(silent.inbound, service, **{**about, "text": f"noon {code}"})
        done, pending = await asyncio.wait(waits, timeout=4)
        got = {payload["messages"][0]["text"] for payload in (task.result() for task in done)}
        assert got == {f"noon {code}" for code in codes[::30]}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        # In four waits of half a second nobody asks more than a handful of requests, whoever waits.
        assert idle <= 20
