"""An approval by message or on Airflow's own page, whichever comes first, and what follows from it."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.operators.approving import Rejected
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.triggers import asking

from .harness import SERVICES, as_json, as_stored, fire
from .questions import QUESTION, Page, Store, answer, approval, approval_context, asked, go_on, sent

try:
    from airflow.sdk.exceptions import DownstreamTasksSkipped
except ImportError:  # Airflow 3.1
    from airflow.exceptions import DownstreamTasksSkipped

pytestmark = pytest.mark.usefixtures("connections", "short_backoff", "page")


class TestTheAnswer:
    @pytest.mark.parametrize(("text", "approved"), [("Yes.", True), ("  OK!\n\n> quoted: no", True), ("no", False)])
    @pytest.mark.parametrize("service", SERVICES)
    def test_by_message(
        self, service: str, text: str, approved: bool, silent: RunningSandbox, page: Page, page_resumes: bool
    ) -> None:
        context = approval_context()
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
        context = approval_context()
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
        context = approval_context()
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
        context = approval_context()
        deferred = asked(approval(), context)
        right = answer(silent, "sendhub", "yes")
        asyncio.run(fire(deferred.trigger))
        outcome = go_on(approval, deferred, context)
        assert (outcome["approved"], outcome["answered_by"], outcome["reply"]["id"]) == (True, "message", right)
        assert silent.messages("sendhub")["waiting"] == []

    def test_the_page_shows_the_question(self, silent: RunningSandbox, page: Page) -> None:
        asked(approval(on_timeout="no", assigned_users={"id": "7", "name": "ann"}), approval_context())
        assert page.question["subject"] == QUESTION
        assert page.question["options"] == ["Approve", "Reject"]
        assert page.question["defaults"] == ["Reject"]
        assert page.question["assigned_users"] == [{"id": "7", "name": "ann"}]
        asked(approval("liquidfiles", subject="A release", code=True), approval_context())
        assert (page.question["subject"], page.question["body"]) == ("A release", QUESTION)
        assert page.question["defaults"] is None

    def test_the_message_is_enough_where_there_is_no_page(
        self, silent: RunningSandbox, page: Page, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = approval_context()
        deferred = asked(approval(), context)
        page.broken = True
        answer(silent, "sendhub", "yes")
        assert go_on(approval, deferred, context)["approved"] is True

    def test_the_wait_for_the_message_is_left(self, silent: RunningSandbox, page: Page) -> None:
        from airflow_messaging.triggers import shared

        deferred = asked(approval(), approval_context())

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
        context = approval_context()
        make = lambda: approval(code=True)  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, "sendhub", "no")
        right = answer(silent, "sendhub", f"yes {deferred.trigger.code.lower()}")
        assert go_on(make, deferred, context)["reply"]["id"] == right
        assert page.question["subject"] == QUESTION


class TestWhatFollows:
    def followed(self, approved: bool, **changes: Any) -> tuple[Any, set[str]]:
        """Return what the task returned, and whom it skipped."""
        from airflow.providers.standard.operators.empty import EmptyOperator

        with DAG("a_dag", schedule=None) as dag:
            task = approval(**changes)
            one, two, behind = (EmptyOperator(task_id=name) for name in ("one", "two", "behind"))
            task >> [one, two] >> behind
            one.as_teardown() if changes.get("teardown") else None
        context = approval_context()
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
        context = approval_context(store)
        deferred = asked(approval(), context)
        answer(silent, "sendhub", "yes")
        outcome = go_on(approval, deferred, context)
        assert approval().execute(approval_context(store, try_number=2)) == outcome
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
        approval(**arguments).execute(approval_context())
    assert sent(silent, "sendhub") == []


def test_the_trigger_comes_back_whole(silent: RunningSandbox) -> None:
    from airflow.models.trigger import Trigger

    trigger = asked(approval("mdi", code=True), approval_context()).trigger
    path, kwargs = trigger.serialize()
    assert as_stored(trigger).serialize() == (path, json.loads(json.dumps(kwargs)))
    assert asking.ApprovalTrigger(**Trigger(path, kwargs).kwargs, from_the_future=1).serialize() == (path, kwargs)


async def test_on_airflow_3_3_many_approvals_look_at_the_page_once_each(
    silent: RunningSandbox, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_page_resumes_tasks", lambda: True)
    many = 200
    trigger = (await asyncio.to_thread(asked, approval(), approval_context())).trigger
    waits = [asyncio.create_task(fire(trigger)) for _ in range(many)]
    await asyncio.sleep(2)
    assert page.looks == many
    assert len(await asyncio.to_thread(silent.journal, "sendhub")) <= 25
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
