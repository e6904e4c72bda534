"""An approval by message or on Airflow's own page, whichever comes first."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.sdk import DAG

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.operators.approving import ApprovalByMessageOperator, Rejected
from airflow_messaging.operators.asking import NoReply
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.triggers import asking

from .harness import SERVICES, as_json, as_stored, fire, resume
from .questions import NAMES_ANSWERED, QUESTION, TO, Store, asked, context_of, reply_fields, sent

try:
    from airflow.sdk.exceptions import DownstreamTasksSkipped
except ImportError:  # Airflow 3.1
    from airflow.exceptions import DownstreamTasksSkipped

pytestmark = pytest.mark.usefixtures("connections", "short_backoff")

ANN = SimpleNamespace(id="7", name="ann")


class Page:
    """Airflow's record of questions to people: one row, and the first answer stays."""

    def __init__(self) -> None:
        self.question: dict[str, Any] = {}
        self.row: Any = None
        self.looks = 0
        self.broken = False

    def upsert(self, **question: Any) -> None:
        self.question = question
        self.row = SimpleNamespace(
            response_received=False, chosen_options=None, responded_by_user=None, params_input={}, responded_at=None
        )

    def get(self, ti_id: Any) -> Any:
        assert ti_id == self.question["ti_id"]
        self.looks += 1
        if self.broken:
            raise ConnectionError("the API server is gone")
        return self.row

    def update(self, ti_id: Any, chosen_options: list[str], params_input: dict[str, Any], user: Any = None) -> None:
        assert ti_id == self.question["ti_id"]
        if self.broken or self.row.response_received:
            raise RuntimeError("409 Conflict")
        self.row = SimpleNamespace(
            response_received=True,
            chosen_options=chosen_options,
            params_input=params_input,
            responded_by_user=user,
            responded_at=datetime.now(UTC),
        )

    def press(self, option: str) -> None:
        self.update(self.question["ti_id"], [option], {}, ANN)

    def resumes_with(self) -> dict[str, Any]:
        """Return the event with which Airflow 3.3 resumes the task when the button is pressed."""
        return {
            "chosen_options": self.row.chosen_options,
            "params_input": self.row.params_input,
            "responded_at": self.row.responded_at,
            "responded_by_user": {"id": ANN.id, "name": ANN.name},
            "timedout": False,
        }


@pytest.fixture(autouse=True)
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    from airflow.sdk.execution_time import hitl

    page = Page()
    monkeypatch.setattr(hitl, "upsert_hitl_detail", page.upsert)
    monkeypatch.setattr(hitl, "update_hitl_detail_response", page.update)
    monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", page.get)
    monkeypatch.setattr(asking, "PAGE_INTERVAL_S", 0.1)
    return page


@pytest.fixture(params=[True, False], ids=["3.3", "before"])
def page_resumes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(asking, "_page_resumes_tasks", lambda: request.param)
    return bool(request.param)


def approval(service: str = "sendhub", **changes: Any) -> ApprovalByMessageOperator:
    given = {"to": TO[service], "text": QUESTION, "poke_interval": 0.2, "response_timeout": 10, **changes}
    if service == "mdi":
        given["options"] = {"channelid": 11}
    return ApprovalByMessageOperator(task_id="ask", conn_id=f"{service}_default", **given)


def new_context(store: Store | None = None, **changes: Any) -> Any:
    context = context_of(store, **changes)
    context["ti"].id = uuid4()
    return context


def answer(sandbox: RunningSandbox, service: str, text: str, **fields: Any) -> str:
    about = {**reply_fields(service, sandbox), **fields}
    if service == "go_integrate":
        text = f"{text}\n{sent(sandbox, service)[-1]['message_id']}"
    return sandbox.inbound(service, **{**about, "text": text})


def go_on(make: Callable[[], Any], deferred: TaskDeferred, context: Any) -> Any:
    return resume(make(), deferred, asyncio.run(fire(deferred.trigger)), context)


def deferred_again(make: Callable[[], Any], deferred: TaskDeferred, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as again:
        go_on(make, deferred, context)
    return again.value


class TestTheAnswer:
    @pytest.mark.parametrize(("text", "approved"), [("Yes.", True), ("  OK!\n\n> quoted: no", True), ("no", False)])
    @pytest.mark.parametrize("service", SERVICES)
    def test_by_message(
        self, service: str, text: str, approved: bool, silent: RunningSandbox, page: Page, page_resumes: bool
    ) -> None:
        context = new_context()
        make = lambda: approval(service, mark_read=False)  # noqa: E731
        deferred = asked(make(), context)
        right = answer(silent, service, text)
        with DAG("a_dag", schedule=None):
            context["task"] = make()
        outcome = go_on(make, deferred, context)
        assert (outcome["approved"], outcome["answered_by"], outcome["user"]) == (approved, "message", None)
        assert outcome["reply"]["id"] == right
        assert page.row.chosen_options == ["Approve" if approved else "Reject"]
        assert page.row.params_input == {"answered_by": "message", "message_id": right}
        assert context["ti"].xcom["return_value"] == outcome

    @pytest.mark.parametrize("early", [True, False], ids=["before the wait", "while waiting"])
    def test_on_the_page(self, early: bool, silent: RunningSandbox, page: Page, page_resumes: bool) -> None:
        context = new_context()
        deferred = asked(approval(), context)

        async def press_and_fire() -> Any:
            if early:
                page.press("Approve")
            waiting = asyncio.create_task(fire(deferred.trigger))
            await asyncio.sleep(0.5)
            if not early and page_resumes:
                # Airflow takes the trigger away and resumes the task itself.
                page.press("Approve")
                assert page.looks == 1
                waiting.cancel()
                return SimpleNamespace(payload=page.resumes_with())
            if not early:
                page.press("Approve")
            return await asyncio.wait_for(waiting, 2)

        event = asyncio.run(press_and_fire())
        outcome = approval().execute_complete(context, event=event.payload)
        assert outcome == as_json(
            {"approved": True, "answered_by": "user", "user": {"id": "7", "name": "ann"}, "reply": None}
        )

    def test_the_first_counts(self, silent: RunningSandbox, page: Page, page_resumes: bool) -> None:
        context = new_context()
        deferred = asked(approval(), context)
        trigger = as_stored(deferred.trigger)
        answer(silent, "sendhub", "yes")
        look, looked = trigger._look_at_page, []

        async def look_too_early() -> Any:
            found = await look()
            if not looked:
                page.press("Reject")
            looked.append(found)
            return found

        trigger._look_at_page = look_too_early
        event = asyncio.run(anext(trigger.run()))
        assert event.payload["chosen_options"] == ["Reject"]
        with pytest.raises(Rejected):
            approval(fail_on_reject=True).execute_complete(context, event=as_json(event.payload))

    def test_a_triggerer_that_died_after_recording(self, silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        deferred = asked(approval(), context)
        right = answer(silent, "sendhub", "yes")
        asyncio.run(fire(deferred.trigger))
        outcome = go_on(approval, deferred, context)
        assert (outcome["approved"], outcome["answered_by"], outcome["reply"]["id"]) == (True, "message", right)
        assert silent.messages("sendhub")["waiting"] == []

    def test_the_page_shows_the_question(self, silent: RunningSandbox, page: Page) -> None:
        asked(approval(on_timeout="no", assigned_users={"id": "7", "name": "ann"}), new_context())
        assert page.question["subject"] == QUESTION
        assert page.question["options"] == ["Approve", "Reject"]
        assert page.question["defaults"] == ["Reject"]
        assert page.question["assigned_users"] == [{"id": "7", "name": "ann"}]
        asked(approval("liquidfiles", subject="A release", code=True), new_context())
        assert (page.question["subject"], page.question["body"]) == ("A release", QUESTION)
        assert page.question["defaults"] is None

    def test_the_message_is_enough_where_there_is_no_page(
        self, silent: RunningSandbox, page: Page, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = new_context()
        deferred = asked(approval(), context)
        page.broken = True
        answer(silent, "sendhub", "yes")
        assert go_on(approval, deferred, context)["approved"] is True

    def test_the_wait_for_the_message_is_left(self, silent: RunningSandbox, page: Page) -> None:
        from airflow_messaging.triggers import shared

        deferred = asked(approval(), new_context())

        async def cancelled() -> Any:
            waiting = asyncio.create_task(fire(deferred.trigger))
            await asyncio.sleep(0.3)
            assert len(shared._inboxes[asyncio.get_running_loop()]) == 1
            waiting.cancel()
            await asyncio.wait([waiting], timeout=2)
            assert waiting.cancelled()
            return shared._inboxes[asyncio.get_running_loop()]

        assert asyncio.run(cancelled()) == {}

    def test_the_code_has_to_be_there(self, silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        make = lambda: approval(code=True)  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, "sendhub", "no")
        right = answer(silent, "sendhub", f"yes {deferred.trigger.code.lower()}")
        assert go_on(make, deferred, context)["reply"]["id"] == right
        assert page.question["subject"] == QUESTION


class TestAskingAgain:
    @pytest.mark.parametrize("service", SERVICES)
    def test_goes_on_until_it_is_understood(self, service: str, silent: RunningSandbox, page: Page) -> None:
        store = Store()
        context = new_context(store)
        make = lambda: approval(service)  # noqa: E731
        deferred = asked(make(), context)
        ends = deferred.trigger.end_at
        answer(silent, service, "what do you mean?")
        deferred = deferred_again(make, deferred, context)
        _first, second = sent(silent, service)
        assert second["text"] == f"Please answer with nothing but yes or no.\n{QUESTION}"
        assert deferred.trigger.end_at == ends
        assert not page.row.response_received
        # A retry in between does not ask a third time, and knows both questions.
        retried = asked(make(), new_context(store, try_number=2))
        assert len(sent(silent, service)) == 2
        if service in NAMES_ANSWERED:
            assert retried.trigger.selection == deferred.trigger.selection
        answer(silent, service, "yes")
        assert go_on(make, deferred, context)["approved"] is True
        assert len(sent(silent, service)) == 2

    def test_the_first_question_can_still_be_answered(self, silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        make = lambda: approval("mdi")  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, "mdi", "pardon?")
        deferred = deferred_again(make, deferred, context)
        about = reply_fields("mdi", silent, 0)
        silent.inbound("mdi", text="yes", **about)
        assert go_on(make, deferred, context)["approved"] is True

    @pytest.mark.parametrize("service", SERVICES)
    def test_is_bounded(self, service: str, silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        make = lambda: approval(service, max_questions=2)  # noqa: E731
        deferred = asked(make(), context)
        for number in range(4):
            right = answer(silent, service, f"number {number}")
            event = asyncio.run(fire(deferred.trigger))
            assert event.payload["messages"][0]["id"] == right
            with pytest.raises(TaskDeferred) as again:
                resume(make(), deferred, event, context)
            deferred = again.value
        assert len(sent(silent, service)) == 2
        page.press("Approve")
        event = asyncio.run(fire(deferred.trigger))
        assert resume(make(), deferred, event, context)["answered_by"] == "user"

    def test_keeps_the_code(self, silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        make = lambda: approval(code=True)  # noqa: E731
        deferred = asked(make(), context)
        code = deferred.trigger.code
        answer(silent, "sendhub", f"pardon? {code}")
        again = deferred_again(make, deferred, context)
        assert again.trigger.code == code
        assert code in sent(silent, "sendhub")[1]["text"]

    def test_when_the_answer_is_too_large(self, silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        make = lambda: approval("mdi")  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, "mdi", "yes\n" + "x" * 70_000)
        deferred_again(make, deferred, context)


class TestTheTime:
    @pytest.mark.parametrize(("on_timeout", "error"), [("fail", NoReply), ("skip", AirflowSkipException)])
    def test_ends(self, on_timeout: str, error: type[Exception], silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        make = lambda: approval(response_timeout=0.5, on_timeout=on_timeout)  # noqa: E731
        deferred = asked(make(), context)
        with pytest.raises(error):
            go_on(make, deferred, context)
        assert not page.row.response_received

    @pytest.mark.parametrize(("word", "option"), [("OK", "Approve"), ("Stop!", "Reject")])
    def test_brings_the_default(self, word: str, option: str, silent: RunningSandbox, page: Page) -> None:
        context = new_context()
        make = lambda: approval(response_timeout=0.5, on_timeout=word, if_yes="a", if_no="b")  # noqa: E731
        deferred = asked(make(), context)
        event = asyncio.run(fire(deferred.trigger))
        assert page.row.chosen_options == [option]
        assert page.row.params_input == {"answered_by": "timeout"}
        assert event.payload == {"status": "timeout"}

    @pytest.mark.parametrize("on_timeout", ["fail", "no"])
    def test_does_not_overtake_the_page(
        self, on_timeout: str, silent: RunningSandbox, page: Page, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asking, "PAGE_INTERVAL_S", 60)
        monkeypatch.setattr(asking, "_page_resumes_tasks", lambda: False)
        context = new_context()
        make = lambda: approval(response_timeout=0.6, on_timeout=on_timeout)  # noqa: E731
        deferred = asked(make(), context)

        async def press_late() -> Any:
            waiting = asyncio.create_task(fire(deferred.trigger))
            await asyncio.sleep(0.3)
            page.press("Approve")
            return await waiting

        event = asyncio.run(press_late())
        assert resume(make(), deferred, event, context)["answered_by"] == "user"


class TestWhatFollows:
    def followed(self, approved: bool, **changes: Any) -> tuple[Any, set[str]]:
        """Return what the task returned, and whom it skipped."""
        from airflow.providers.standard.operators.empty import EmptyOperator

        with DAG("a_dag", schedule=None) as dag:
            task = approval(**changes)
            one, two, behind = (EmptyOperator(task_id=name) for name in ("one", "two", "behind"))
            task >> [one, two] >> behind
            one.as_teardown() if changes.get("teardown") else None
        context = new_context()
        context.update(task=task, dag=dag)
        context["ti"].task = task
        event = {"chosen_options": ["Approve" if approved else "Reject"], "responded_by_user": {"id": 7, "name": "ann"}}
        try:
            task.execute_complete(context, event=event)
        except DownstreamTasksSkipped as skipped:
            names = {name if isinstance(name, str) else name[0] for name in skipped.tasks}
        else:
            names = set()
        return context["ti"].xcom["return_value"]["approved"], names

    @pytest.mark.parametrize(
        ("approved", "arguments", "skipped"),
        [
            (True, {}, set()),
            (False, {}, {"one", "two"}),
            (False, {"ignore_downstream_trigger_rules": True}, {"one", "two", "behind"}),
            (True, {"if_yes": "one", "if_no": "two"}, {"two"}),
            (False, {"if_yes": "one", "if_no": ["two"]}, {"one"}),
            (True, {"if_yes": "one"}, {"two"}),
            (False, {"if_yes": "one"}, {"one", "two"}),
            (True, {"if_no": "two"}, {"one", "two"}),
            (False, {"if_no": "two"}, {"one"}),
        ],
    )
    def test_is_skipped_or_not(self, approved: bool, arguments: dict[str, Any], skipped: set[str]) -> None:
        assert self.followed(approved, **arguments) == (approved, skipped)

    def test_a_no_can_fail(self) -> None:
        with pytest.raises(AirflowFailException):
            self.followed(False, fail_on_reject=True)

    def test_is_the_same_on_a_retry(self, silent: RunningSandbox, page: Page) -> None:
        store = Store()
        context = new_context(store)
        deferred = asked(approval(), context)
        answer(silent, "sendhub", "yes")
        outcome = go_on(approval, deferred, context)
        assert approval().execute(new_context(store, try_number=2)) == outcome
        assert len(sent(silent, "sendhub")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"yes_words": []},
        {"yes_words": "yes"},
        {"no_words": ["..."]},
        {"no_words": [5]},
        {"no_words": ["No", "YES!"]},
        {"on_timeout": "perhaps"},
        {"max_questions": 0},
        {"max_questions": "many"},
    ],
)
def test_refused_before_anything_is_sent(arguments: dict[str, Any], silent: RunningSandbox) -> None:
    with pytest.raises(InvalidInput):
        approval(**arguments).execute(new_context())
    assert sent(silent, "sendhub") == []


def test_the_trigger_comes_back_whole(silent: RunningSandbox) -> None:
    from airflow.models.trigger import Trigger

    trigger = asked(approval("mdi", code=True), new_context()).trigger
    path, kwargs = trigger.serialize()
    assert as_stored(trigger).serialize() == (path, json.loads(json.dumps(kwargs)))
    assert asking.ApprovalTrigger(**Trigger(path, kwargs).kwargs, from_the_future=1).serialize() == (path, kwargs)


async def test_on_airflow_3_3_many_approvals_look_at_the_page_once_each(
    silent: RunningSandbox, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_page_resumes_tasks", lambda: True)
    many = 200
    trigger = (await asyncio.to_thread(asked, approval(), new_context())).trigger
    waits = [asyncio.create_task(fire(trigger)) for _ in range(many)]
    await asyncio.sleep(2)
    assert page.looks == many
    assert len(await asyncio.to_thread(silent.journal, "sendhub")) <= 25
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
