"""Contexts as Airflow hands them to callbacks."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

RUN_ID = "scheduled__2026-01-01"
LOG = "http://airflow.example.com/dags/nightly/runs/1/tasks/load?try_number=2"


def task_context(state: str | None = "failed", *, error: Any = None, task: Any = None, **changes: Any) -> Any:
    """Return what a task's callback gets."""
    fields = {
        "dag_id": "nightly",
        "run_id": RUN_ID,
        "task_id": "load",
        "map_index": -1,
        "try_number": 2,
        "max_tries": 2,
        "state": state,
        "log_url": LOG,
        "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    }
    ti = SimpleNamespace(**{**fields, **changes})
    return {
        "ti": ti,
        "task_instance": ti,
        "task": task,
        "run_id": ti.run_id,
        "dag_run": SimpleNamespace(dag_id=ti.dag_id, run_id=ti.run_id),
        "exception": error,
    }


def run_context(reason: str) -> Any:
    """Return what a DAG's callback gets: the last task's context and a reason."""
    return {**task_context("success"), "reason": reason}


def deadline_context(due: Any = "2026-01-01 12:00:00+00:00", id: str = "0199") -> Any:
    """Return what a deadline's callback gets: plain data, neither DAG nor task."""
    return {"dag_run": {"dag_id": "nightly", "dag_run_id": RUN_ID}, "deadline": {"id": id, "deadline_time": due}}


def hitl_task(subject: str) -> Any:
    """Return a task that asks people."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    return HITLOperator(task_id="load", subject=subject, options=["Yes", "No"])
