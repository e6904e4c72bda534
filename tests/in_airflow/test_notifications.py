"""Notifications through Airflow's own code: callbacks, deadlines, and questions to people."""

import asyncio
import json
import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from airflow.providers.common.compat.module_loading import import_string
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_2_PLUS
from notifications.contexts import deadline_context, task_context

from airflow_messaging.notifications.messages import MessageNotifier
from airflow_messaging.sandbox import RunningSandbox

from .conftest import EXAMPLES, HERE
from .harness import as_stored
from .test_examples import parse

# dag.test() of Airflow 3.1 leaves the exception out of the context; its worker puts it in.
HANDS_ERRORS_OVER = AIRFLOW_V_3_2_PLUS
NUMBER = "+48500600999"
TEXT = "Kanarienvogel singt um 7"

pytestmark = pytest.mark.usefixtures("connections", "airflow_database")


def texts(sandbox: RunningSandbox) -> list[str]:
    return [message["text"] for message in sandbox.messages("sendhub")["sent"]]


def run(path: Path) -> Any:
    return parse(path).dags[path.stem].test()


def test_callbacks_of_tasks_and_of_the_dag(sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    finished = run(HERE / "dags" / "notifying.py")

    assert str(finished.state) == "failed"
    found = sorted("\n".join(text.split(f"Run: {finished.run_id}\n")) for text in texts(sandbox))
    error = ["Error: ValueError"] if HANDS_ERRORS_OVER else []
    heads = [text.split("\nLog: ")[0].splitlines() for text in found]
    assert heads == [
        ["Failed, will be retried: task fails of DAG notifying", "", "Try: 1 of 2", *error],
        ["Failed: DAG notifying", "", "Reason: task_failure", *heads[1][3:]],
        ["Failed: task fails of DAG notifying", "", "Try: 2 of 2", *error],
        ["Succeeded: task succeeds of DAG notifying", "", "Map index: 0", "Try: 1 of 1"],
        ["Succeeded: task succeeds of DAG notifying", "", "Map index: 1", "Try: 1 of 1"],
    ]
    assert "hunter2" not in str(found)
    assert TEXT not in caplog.text


def test_a_callback_that_fails_changes_nothing(sandbox: RunningSandbox, capfd: pytest.CaptureFixture[str]) -> None:
    sandbox.faults([{"service": "sendhub", "reset": True}])
    finished = run(HERE / "dags" / "notifying.py")

    states = {(ti.task_id, ti.map_index): str(ti.state) for ti in finished.get_task_instances()}
    assert states == {
        ("fails", -1): "failed",
        ("fails_and_cannot_tell", -1): "failed",
        ("succeeds", 0): "success",
        ("succeeds", 1): "success",
    }


@pytest.mark.parametrize("retried", [False, True])
def test_the_dag_processor_tells_of_a_task_that_died(sandbox: RunningSandbox, retried: bool) -> None:
    from airflow.callbacks.callback_requests import TaskCallbackRequest
    from airflow.utils.state import TaskInstanceState

    process_callbacks(
        TaskCallbackRequest,
        ti=task_instance("fails"),
        task_callback_type=TaskInstanceState.UP_FOR_RETRY if retried else TaskInstanceState.FAILED,
    )

    [text] = texts(sandbox)
    assert text.startswith("Failed: task fails of DAG notifying\nRun: manual__1\nTry: 2\nLog: ")


@pytest.mark.parametrize("reason", ["timed_out", "task_failure"])
def test_the_dag_processor_tells_of_a_run(sandbox: RunningSandbox, reason: str) -> None:
    from airflow.callbacks.callback_requests import DagCallbackRequest

    process_callbacks(DagCallbackRequest, dag_id="notifying", run_id="manual__1", msg=reason)

    assert texts(sandbox) == [f"Failed: DAG notifying\nRun: manual__1\nReason: {reason}"]


def task_instance(task_id: str) -> Any:
    from airflow.api_fastapi.execution_api.datamodels.taskinstance import TaskInstance

    return TaskInstance(
        id=uuid.uuid4(),
        dag_id="notifying",
        run_id="manual__1",
        task_id=task_id,
        try_number=2,
        dag_version_id=uuid.uuid4(),
    )


def process_callbacks(kind: Any, **fields: Any) -> None:
    """Do what the DAG processor's child does once it has parsed the file."""
    from airflow.dag_processing import processor

    path = HERE / "dags" / "notifying.py"
    request = kind(filepath=str(path), bundle_name="tests", bundle_version=None, **fields)
    processor._execute_callbacks(parse(path), [request], structlog.get_logger())


def deadline_trigger(arguments: dict[str, Any]) -> Any:
    """Return the trigger that the triggerer runs once a deadline is missed."""
    from airflow.sdk.definitions.deadline import AsyncCallback

    callback = AsyncCallback(MessageNotifier, kwargs=arguments)
    kwargs = {**callback.kwargs, "context": deadline_context()}
    try:
        from airflow.triggers.callback import CallbackTrigger
    except ImportError:  # Airflow 3.1
        from airflow.triggers.deadline import DeadlineCallbackTrigger as CallbackTrigger
    return as_stored(CallbackTrigger(callback.path, kwargs))


async def events(trigger: Any) -> list[Any]:
    return [event.payload async for event in trigger.run()]


def test_a_missed_deadline(sandbox: RunningSandbox) -> None:
    trigger = deadline_trigger({"conn_id": "sendhub_default", "to": "1111"})
    *_, last = asyncio.run(events(trigger))

    assert last["state"] == "success"
    assert texts(sandbox)[0].splitlines()[0] == "Deadline missed: DAG nightly"


def test_a_template_in_the_text_of_a_deadline(sandbox: RunningSandbox) -> None:
    text = "{{ dag_run.dag_id }} is late since {{ deadline.deadline_time }}"
    asyncio.run(events(deadline_trigger({"conn_id": "sendhub_default", "to": "1111", "text": text})))

    assert texts(sandbox) == ["nightly is late since 2026-01-01 12:00:00+00:00"]


def test_a_deadline_that_cannot_be_told_of(sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture) -> None:
    from airflow.providers.common.compat.sdk import redact

    sandbox.faults([{"service": "sendhub", "status": 400, "body": json.dumps({"message": f"unknown {NUMBER}"})}])
    trigger = deadline_trigger({"conn_id": "sendhub_default", "to": [NUMBER], "text": TEXT})
    *_, last = asyncio.run(events(trigger))

    assert last["state"] == "failed"
    assert "HTTP 400" in last["body"] and NUMBER not in last["body"] and TEXT not in last["body"]
    # Airflow logs the callback's arguments as they are; its mask, which this applies, is what hides them.
    [record] = [record for record in caplog.records if "kwargs" in str(record.msg)]
    assert NUMBER in record.getMessage()
    logged = str(redact(record.getMessage()))
    assert "sendhub_default" in logged
    assert NUMBER not in logged and TEXT not in logged


@pytest.mark.newest
def test_a_deadline_as_the_scheduler_finds_it(sandbox: RunningSandbox) -> None:
    from airflow.models.deadline import Deadline
    from airflow.sdk.definitions.deadline import AsyncCallback
    from airflow.utils.session import create_session

    finished = run(EXAMPLES / "notify_by_message.py")
    sandbox.reset()
    due = datetime(2026, 1, 1, 12, tzinfo=UTC)
    callback = AsyncCallback(MessageNotifier, kwargs={"conn_id": "sendhub_default", "to": "1111"})
    with create_session() as session:
        deadline = Deadline(due, callback, finished.id, None)
        session.add(deadline)
        session.flush()
        deadline.handle_miss(session)
        row = deadline.callback.trigger
        trigger = import_string(row.classpath)(**row.kwargs)
    *_, last = asyncio.run(events(trigger))

    assert last["state"] == "success"
    lines = ["Deadline missed: DAG notify_by_message", f"Run: {finished.run_id}", f"Deadline: {due}"]
    assert texts(sandbox) == ["\n".join(lines)]


@pytest.mark.newest
def test_a_deadline_in_the_executor(sandbox: RunningSandbox) -> None:
    from airflow.sdk.definitions.callback import SyncCallback
    from airflow.sdk.execution_time.callback_supervisor import execute_callback

    callback = SyncCallback(MessageNotifier, kwargs={"conn_id": "sendhub_default", "to": "1111"})
    kwargs = {**callback.kwargs, "context": deadline_context()}
    assert execute_callback(callback.path, kwargs, "dag.py", None, structlog.get_logger()) == (True, None)
    assert texts(sandbox)[0].startswith("Deadline missed: DAG nightly\n")


def test_a_question_to_people(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.standard.operators import hitl

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **details: asked.append(details))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")
    task = hitl.HITLOperator(
        task_id="asks",
        subject="Deploy {{ what }}?",
        options=["Yes", "No"],
        notifiers=[MessageNotifier(conn_id="sendhub_default", to="1111")],
    )
    context = {**task_context("running", task=task, task_id="asks", id=uuid.uuid4()), "what": "it"}
    task.render_template_fields(context)
    with pytest.raises(BaseException) as parked:
        task.execute(context)

    assert type(parked.value).__name__ in ("TaskAwaitingInput", "TaskDeferred")
    assert len(asked) == 1
    lines = texts(sandbox)[0].splitlines()
    assert lines[0] == "Waiting for an answer: task asks of DAG nightly"
    assert lines[3] == "Question: Deploy it?"
    assert lines[4].startswith("Answer: https://airflow.example.com/dags/nightly/runs/")


def test_the_example(sandbox: RunningSandbox) -> None:
    run(EXAMPLES / "notify_by_message.py")

    first, second = texts(sandbox)
    assert first.startswith("Failed, will be retried: task load of DAG notify_by_message\n")
    assert ("Error: ConnectionError" in first) == HANDS_ERRORS_OVER
    assert "warehouse" not in first
    assert second == "notify_by_message: all is loaded."
