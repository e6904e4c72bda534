"""An approval whose answer is not understood, so that it is asked again, or does not come in time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from airflow_messaging.operators.asking import NoReply
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.triggers import asking

from .harness import SERVICES, fire, resume
from .questions import (
    NAMES_ANSWERED,
    QUESTION,
    Page,
    Store,
    answer,
    approval,
    approval_context,
    asked,
    deferred_again,
    go_on,
    reply_fields,
    sent,
)

pytestmark = pytest.mark.usefixtures("connections", "short_backoff", "page")


class TestAskingAgain:
    @pytest.mark.parametrize("service", SERVICES)
    def test_goes_on_until_it_is_understood(self, service: str, silent: RunningSandbox, page: Page) -> None:
        store = Store()
        context = approval_context(store)
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
        retried = asked(make(), approval_context(store, try_number=2))
        assert len(sent(silent, service)) == 2
        if service in NAMES_ANSWERED:
            assert retried.trigger.selection == deferred.trigger.selection
        answer(silent, service, "yes")
        assert go_on(make, deferred, context)["approved"] is True
        assert len(sent(silent, service)) == 2

    def test_the_first_question_can_still_be_answered(self, silent: RunningSandbox, page: Page) -> None:
        context = approval_context()
        make = lambda: approval("mdi")  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, "mdi", "pardon?")
        deferred = deferred_again(make, deferred, context)
        about = reply_fields("mdi", silent, 0)
        silent.inbound("mdi", text="yes", **about)
        assert go_on(make, deferred, context)["approved"] is True

    @pytest.mark.parametrize("service", SERVICES)
    def test_is_bounded(self, service: str, silent: RunningSandbox, page: Page) -> None:
        context = approval_context()
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

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_retry_does_not_judge_the_same_answer_again(
        self, service: str, silent: RunningSandbox, page: Page
    ) -> None:
        store = Store()
        make = lambda: approval(service, max_questions=3)  # noqa: E731
        deferred = asked(make(), approval_context(store))
        answer(silent, service, "pardon?")
        deferred_again(make, deferred, approval_context(store))
        for try_number in (2, 3):
            context = approval_context(store, try_number=try_number)
            deferred = asked(make(), context)
            with pytest.raises(TimeoutError):
                asyncio.run(asyncio.wait_for(fire(deferred.trigger), 1.5))
        assert len(sent(silent, service)) == 2
        answer(silent, service, "yes")
        assert go_on(make, deferred, context)["approved"] is True

    def test_past_the_last_question_neither(self, silent: RunningSandbox, page: Page) -> None:
        store = Store()
        make = lambda: approval("mdi", max_questions=1)  # noqa: E731
        deferred = asked(make(), approval_context(store))
        answer(silent, "mdi", "pardon?")
        deferred_again(make, deferred, approval_context(store))
        deferred = asked(make(), approval_context(store, try_number=2))
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(fire(deferred.trigger), 1.5))
        assert len(sent(silent, "mdi")) == 1

    @pytest.mark.parametrize("given", [{"yes_words": {"tak", "yes"}, "no_words": {"no"}}, {"max_questions": "3"}])
    def test_what_was_accepted_at_first_holds_later(self, given: Any, silent: RunningSandbox, page: Page) -> None:
        context = approval_context()
        make = lambda: approval("mdi", **given)  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, "mdi", "pardon?")
        deferred_again(make, deferred, context)
        assert len(sent(silent, "mdi")) == 2

    def test_files_go_with_the_first_question_only(self, silent: RunningSandbox, page: Page, tmp_path: Path) -> None:
        contract = tmp_path / "contract.txt"
        contract.write_text("a contract")
        context = approval_context()
        make = lambda: approval("liquidfiles", attachments=[str(contract)])  # noqa: E731
        deferred = asked(make(), context)
        contract.unlink()
        answer(silent, "liquidfiles", "pardon?")
        deferred_again(make, deferred, context)
        assert [len(question["attachments"]) for question in sent(silent, "liquidfiles")] == [1, 0]

    def test_keeps_the_code(self, silent: RunningSandbox, page: Page) -> None:
        context = approval_context()
        make = lambda: approval(code=True)  # noqa: E731
        deferred = asked(make(), context)
        code = deferred.trigger.code
        answer(silent, "sendhub", f"pardon? {code}")
        again = deferred_again(make, deferred, context)
        assert again.trigger.code == code
        assert code in sent(silent, "sendhub")[1]["text"]

    def test_when_the_answer_is_too_large(self, silent: RunningSandbox, page: Page) -> None:
        context = approval_context()
        make = lambda: approval("mdi")  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, "mdi", "yes\n" + "x" * 70_000)
        deferred_again(make, deferred, context)


class TestTheTime:
    @pytest.mark.parametrize(("on_timeout", "error"), [("fail", NoReply), ("skip", AirflowSkipException)])
    def test_ends(self, on_timeout: str, error: type[Exception], silent: RunningSandbox, page: Page) -> None:
        context = approval_context()
        make = lambda: approval(response_timeout=0.5, on_timeout=on_timeout)  # noqa: E731
        deferred = asked(make(), context)
        with pytest.raises(error):
            go_on(make, deferred, context)
        assert not page.row.response_received

    @pytest.mark.parametrize(("word", "option"), [("OK", "Approve"), ("Stop!", "Reject")])
    def test_brings_the_default(self, word: str, option: str, silent: RunningSandbox, page: Page) -> None:
        context = approval_context()
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
        context = approval_context()
        make = lambda: approval(response_timeout=0.6, on_timeout=on_timeout)  # noqa: E731
        deferred = asked(make(), context)

        async def press_late() -> Any:
            waiting = asyncio.create_task(fire(deferred.trigger))
            await asyncio.sleep(0.3)
            page.press("Approve")
            return await waiting

        event = asyncio.run(press_late())
        assert resume(make(), deferred, event, context)["answered_by"] == "user"
