"""What a notification says by itself, from each of the contexts that Airflow hands over."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_messaging.notifications.wording import MARK, read, shortened

from .contexts import LOG, RUN_ID, deadline_context, hitl_task, run_context, task_context

SECRET = "password=hunter2"


def test_an_empty_context_is_enough() -> None:
    occasion = read({})

    assert occasion.text() == "A notification from Airflow"
    assert occasion.identity() is None


@pytest.mark.parametrize(
    ("state", "error", "first"),
    [
        ("failed", ValueError(SECRET), "Failed: task load of DAG nightly"),
        ("up_for_retry", ValueError(SECRET), "Failed, will be retried: task load of DAG nightly"),
        (None, ValueError(SECRET), "Failed: task load of DAG nightly"),
        ("success", None, "Succeeded: task load of DAG nightly"),
        ("skipped", None, "Skipped: task load of DAG nightly"),
        ("running", None, "Running: task load of DAG nightly"),
    ],
)
def test_a_task(state: str | None, error: Exception | None, first: str) -> None:
    text = read(task_context(state, error=error)).text()

    expected = [first, f"Run: {RUN_ID}", "Try: 2 of 3", *(["Error: ValueError"] if error else []), f"Log: {LOG}"]
    assert text.splitlines() == expected
    assert SECRET not in text


def test_the_text_of_an_error_that_came_as_text_stays_here() -> None:
    text = read(task_context("failed", error=SECRET)).text()

    assert text.startswith("Failed")
    assert SECRET not in text


def test_a_task_that_died_without_a_word() -> None:
    text = read(task_context(None, start_date=None, max_tries=0)).text()

    assert text == f"Failed: task load of DAG nightly\nRun: {RUN_ID}\nTry: 2\nLog: {LOG}"


def test_a_mapped_task_names_its_index() -> None:
    assert "Map index: 0" in read(task_context("failed", map_index=0)).text().splitlines()


def test_a_dag_run() -> None:
    assert read(run_context("success")).text() == f"Succeeded: DAG nightly\nRun: {RUN_ID}"
    assert read(run_context("task_failure")).text().splitlines() == [
        "Failed: DAG nightly",
        f"Run: {RUN_ID}",
        "Reason: task_failure",
        "Last task: load",
        f"Log: {LOG}",
    ]
    without_ti = {"dag": SimpleNamespace(dag_id="nightly"), "run_id": RUN_ID, "reason": "timed_out"}
    assert read(without_ti).text() == f"Failed: DAG nightly\nRun: {RUN_ID}\nReason: timed_out"


@pytest.mark.parametrize("due", [datetime(2026, 1, 1, 12, tzinfo=UTC), "2026-01-01 12:00:00+00:00"])
def test_a_deadline(due: Any) -> None:
    occasion = read(deadline_context(due))

    expected = f"Deadline missed: DAG nightly\nRun: {RUN_ID}\nDeadline: 2026-01-01 12:00:00+00:00"
    assert occasion.text() == expected
    assert occasion.identity() != read(deadline_context(due, id="another")).identity()


def test_a_question_to_people_comes_with_the_link_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")
    lines = read(task_context("running", task=hitl_task("Deploy?"))).text().splitlines()

    assert lines[0] == "Waiting for an answer: task load of DAG nightly"
    assert lines[-2] == "Question: Deploy?"
    link = f"https://airflow.example.com/dags/nightly/runs/{RUN_ID}/tasks/load/required_actions"
    assert lines[-1].startswith(f"Answer: {link}")


def test_a_question_whose_link_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    task = hitl_task("Deploy?")

    def unknown(**_: Any) -> str:
        raise ValueError("Not able to retrieve base_url")

    monkeypatch.setattr(task, "generate_link_to_ui", unknown)
    assert read(task_context("running", task=task)).text().endswith(f"Question: Deploy?\nLog: {LOG}")


def test_a_question_that_was_answered_is_a_task_like_any_other() -> None:
    assert read(task_context("success", task=hitl_task("Deploy?"))).headline().startswith("Succeeded")


def test_what_tells_one_occasion_from_another() -> None:
    def identity(**changes: Any) -> Any:
        return read(task_context(**{"state": "failed", **changes})).identity()

    assert identity() == identity()
    others = [{"state": "success"}, {"try_number": 3}, {"map_index": 4}, {"task_id": "other"}, {"run_id": "other"}]
    assert len({identity(), *(identity(**change) for change in others)}) == len(others) + 1


@pytest.mark.parametrize("longest", [1, 2, 499, 500])
def test_a_long_text_is_cut_and_says_so(longest: int) -> None:
    cut = shortened("x" * 501, longest)

    assert len(cut) == longest
    assert cut.endswith(MARK)
    assert shortened("x" * longest, longest) == "x" * longest
    assert shortened("x" * 501, None) == "x" * 501
