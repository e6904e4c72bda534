"""Drives operators and sensors as Airflow's scheduler, worker and triggerer would, without any of the three."""

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.module_loading import import_string
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG
from airflow.triggers.base import TriggerEvent

from airflow_messaging.operators.messages import ListMessagesOperator

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException

SERVICES = ("go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub")
WITHOUT_READ_FLAG = ("go_integrate", "liquidfiles", "mdi")
WITH_READ_FLAG = ("serwersms", "sendhub")

MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False, "mode": "poke"},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
    "deferrable": {"deferrable": True},
}


@dataclasses.dataclass
class FakeTaskInstance:
    """As much of a task instance as operators and sensors look at."""

    dag_id: str = "a_dag"
    run_id: str = "manual__2026-01-01"
    task_id: str = "a_task"
    map_index: int = -1
    try_number: int = 1
    first_started: datetime | None = None
    xcom: dict[str, Any] = dataclasses.field(default_factory=dict)

    def get_first_reschedule_date(self, _context: Any) -> datetime | None:
        return self.first_started

    def xcom_pull(self, task_ids: str) -> Any:
        return self.xcom[task_ids]


def new_context(*, started_ago: float = 5.0, **changes: Any) -> Any:
    """Return the context of a run that began a moment ago."""
    ti = FakeTaskInstance(**changes)
    run = SimpleNamespace(start_date=datetime.now(UTC) - timedelta(seconds=started_ago))
    return {"ti": ti, "task_instance": ti, "dag_run": run, "run_id": ti.run_id, "params": {}}


def run(operator: type[Any], context: Any = None, **arguments: Any) -> Any:
    """Run an operator as a worker does: templates first; what it returns goes through XCom."""
    context = context or new_context()
    with DAG("a_dag", schedule=None):
        task = operator(task_id="a_task", **arguments)
    task.render_template_fields(context)
    return as_json(task.execute(context))


def waiting(service: str, **arguments: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = run(ListMessagesOperator, conn_id=f"{service}_default", **arguments)
    return messages


def run_sensor(make: Callable[[], Any], context: Any = None) -> Any:
    """Run a sensor to its end, with a new instance wherever Airflow would start a new process."""
    context = context or new_context()
    while True:
        started = datetime.now(UTC)
        try:
            return as_json(make().execute(context))
        except AirflowRescheduleException as later:
            context["ti"].first_started = context["ti"].first_started or started
            time.sleep(max(0.0, (later.reschedule_date - datetime.now(UTC)).total_seconds()))
        except TaskDeferred as deferred:
            return resume(make(), deferred, asyncio.run(fire(deferred.trigger)), context)


def resume(sensor: Any, deferred: TaskDeferred, event: TriggerEvent, context: Any) -> Any:
    next_kwargs = {**(deferred.kwargs or {}), "event": as_json(event.payload)}
    return as_json(sensor.resume_execution(deferred.method_name, next_kwargs, context))


def defer(sensor: Any, context: Any = None) -> TaskDeferred:
    """Run a sensor until it defers."""
    try:
        returned = sensor.execute(context or new_context())
    except TaskDeferred as deferred:
        return deferred
    raise AssertionError(f"did not defer but returned {returned}")


def as_stored(trigger: Any) -> Any:
    """Return the trigger as the triggerer makes it from the database."""
    path, kwargs = trigger.serialize()
    return import_string(path)(**as_json(kwargs))


async def fire(trigger: Any) -> TriggerEvent:
    events = [event async for event in as_stored(trigger).run()]
    assert len(events) == 1
    return events[0]


def as_json(value: Any) -> Any:
    """Insist that a value survives JSON unchanged."""
    again = json.loads(json.dumps(value))
    assert again == value
    return again


def outcome(make: Callable[[], Any], context: Any = None) -> tuple[str, Any]:
    """Say how a run ended: with what it returned, or with the class of what it raised."""
    try:
        return "returned", run_sensor(make, context)
    except Exception as error:
        return "raised", type(error).__name__


@contextmanager
def later(seconds: float, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
    """Do something in the background after a while."""
    timer = threading.Timer(seconds, action, args, kwargs)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
