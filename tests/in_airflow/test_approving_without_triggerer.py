"""An approval whose wait Airflow ends since no triggerer did: what the page says is looked at once more."""

import asyncio
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_messaging.operators.asking import NoReply
from airflow_messaging.sandbox import RunningSandbox

from .harness import fire, resume
from .questions import Page, answer, approval, approval_context, asked, sent

pytestmark = pytest.mark.usefixtures("connections", "short_backoff", "page")

OVERDUE = ("__fail__", {"error": "Trigger timeout"})


@pytest.fixture
def context() -> Any:
    """The context of a task that keeps its XComs from when it asks to its end."""
    context = approval_context()
    ti = context["ti"]
    ti.xcom_pull = lambda task_ids, key, map_indexes: ti.xcom.get(key)
    return context


def look(make: Any, context: Any) -> TaskDeferred:
    """Be told by Airflow that nobody has ended the wait; in a worker, which cannot read the page."""
    with pytest.raises(TaskDeferred) as again:
        make().resume_execution(*OVERDUE, context)
    return again.value


def settled(make: Any, context: Any) -> Any:
    """Let the triggerer be back in time for that look."""
    deferred = look(make, context)
    return resume(make(), deferred, asyncio.run(fire(deferred.trigger)), context)


def make_for(on_timeout: str) -> Any:
    return lambda: approval(on_timeout=on_timeout, if_yes="go", if_no="stop")


@pytest.fixture(autouse=True)
def no_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_messaging.operators.approving import ApprovalByMessageOperator

    monkeypatch.setattr(ApprovalByMessageOperator, "do_branch", lambda *_: None)


class TestTheAnswerOnThePage:
    @pytest.mark.parametrize(("option", "approved"), [("Reject", False), ("Approve", True)])
    @pytest.mark.parametrize("on_timeout", ["yes", "no", "fail", "skip"])
    def test_counts(
        self, option: str, approved: bool, on_timeout: str, silent: RunningSandbox, page: Page, context: Any
    ) -> None:
        make = make_for(on_timeout)
        asked(make(), context)
        page.press(option)
        outcome = settled(make, context)
        assert (outcome["approved"], outcome["answered_by"], outcome["user"]["name"]) == (approved, "user", "ann")

    def test_counts_if_it_came_by_message(self, silent: RunningSandbox, page: Page, context: Any) -> None:
        make = make_for("yes")
        deferred = asked(make(), context)
        answer(silent, "sendhub", "no")
        asyncio.run(fire(deferred.trigger))
        outcome = settled(make, context)
        assert (outcome["approved"], outcome["answered_by"]) == (False, "message")
        assert outcome["reply"]["text"] == "no"
        assert len(sent(silent, "sendhub")) == 1


class TestWithoutAnAnswer:
    def test_the_default_counts_and_is_recorded(self, silent: RunningSandbox, page: Page, context: Any) -> None:
        make = make_for("yes")
        asked(make(), context)
        outcome = settled(make, context)
        assert (outcome["approved"], outcome["answered_by"]) == (True, "timeout")
        assert page.row.chosen_options == ["Approve"]

    def test_the_task_fails(self, silent: RunningSandbox, context: Any) -> None:
        make = make_for("fail")
        asked(make(), context)
        with pytest.raises(NoReply):
            settled(make, context)


def test_without_a_triggerer_there_is_a_warning_and_an_end(
    silent: RunningSandbox, page: Page, context: Any, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    make = make_for("yes")
    asked(make(), context)
    page.press("Reject")
    deferred = look(make, context)
    assert deferred.timeout is not None
    assert make().resume_execution(*OVERDUE, context)["answered_by"] == "timeout"
    assert "page" in caplog.text + capsys.readouterr().out
