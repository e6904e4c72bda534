"""What a notification says when its author has not written a text, and what tells one notification from another.

Only names, numbers and links: the text of an exception may hold whatever the failed code had in its hands, and a
message leaves the house.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

MARK = "…"
"""Stands at the end of a text that was cut."""

_ENDED = {
    "success": "Succeeded",
    "failed": "Failed",
    "up_for_retry": "Failed, will be retried",
    "skipped": "Skipped",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What a notification is about, as far as its context tells.

    :param what: What happened, in a word or two; empty if the context does not tell.
    :param dag_id: The DAG.
    :param run_id: Its run.
    :param task_id: The task; None if the notification is about the DAG run as a whole.
    :param map_index: Index of a mapped task.
    :param try_number: Number of the try, from 1.
    :param tries: How many tries the task has.
    :param details: Further lines, as pairs of label and text, the longest last.
    :param deadline_id: The missed deadline.
    """

    what: str = ""
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    tries: int | None = None
    details: tuple[tuple[str, str], ...] = ()
    deadline_id: str | None = None

    def identity(self) -> tuple[str, ...] | None:
        """Return what is the same whenever this occasion is told of; None if the context names no run."""
        if self.run_id is None:
            return None
        found = (self.what, self.dag_id, self.run_id, self.task_id, self.map_index, self.try_number, self.deadline_id)
        return tuple(str(item) for item in found)

    def headline(self) -> str:
        """Return one line that says what happened to what."""
        where = [f"{kind} {name}" for kind, name in (("task", self.task_id), ("DAG", self.dag_id)) if name]
        return ": ".join(part for part in (self.what, " of ".join(where)) if part) or "A notification from Airflow"

    def text(self) -> str:
        """Return the headline and what else is known, one fact a line."""
        of = f" of {self.tries}" if (self.tries or 0) >= (self.try_number or 0) else ""
        facts = (
            ("Run", self.run_id),
            ("Map index", self.map_index),
            ("Try", None if self.try_number is None else f"{self.try_number}{of}"),
            *self.details,
        )
        return "\n".join([self.headline(), *(f"{label}: {fact}" for label, fact in facts if fact is not None)])


def read(context: Mapping[str, Any]) -> Occasion:
    """Read a callback's context.

    :param context: Airflow's context of a task's or a DAG's callback or of a deadline; may be empty.
    :return: What it tells. Nothing that it lacks is an error.
    """
    run, ti = context.get("dag_run"), context.get("ti") or context.get("task_instance")
    dag_id = _first(ti, "dag_id") or _first(run, "dag_id") or _first(context.get("dag"), "dag_id")
    run_id = context.get("run_id") or _first(ti, "run_id") or _first(run, "run_id", "dag_run_id")
    if (deadline := context.get("deadline")) is not None:
        due = _first(deadline, "deadline_time")
        return Occasion(
            what="Deadline missed",
            dag_id=dag_id,
            run_id=run_id,
            deadline_id=_as_text(_first(deadline, "id")),
            details=(("Deadline", str(due)),) if due else (),
        )
    if (reason := context.get("reason")) is not None:
        return _of_run(str(reason), dag_id, run_id, ti)
    return Occasion(dag_id=dag_id, run_id=run_id) if ti is None else _of_task(context, ti, dag_id, run_id)


def _of_run(reason: str, dag_id: str | None, run_id: str | None, ti: Any) -> Occasion:
    """Read the context of a DAG's callback, whose task is only the last one that ended."""
    if reason == "success":
        return Occasion(what="Succeeded", dag_id=dag_id, run_id=run_id)
    last = (("Last task", _first(ti, "task_id")), ("Log", _first(ti, "log_url")))
    details = (("Reason", reason), *((label, str(value)) for label, value in last if value))
    return Occasion(what="Failed", dag_id=dag_id, run_id=run_id, details=details)


def _of_task(context: Mapping[str, Any], ti: Any, dag_id: str | None, run_id: str | None) -> Occasion:
    task, error = context.get("task"), context.get("exception")
    state = _as_text(_first(ti, "state"))
    # The DAG processor calls back for tasks that died without a word, and knows neither state nor start of them.
    died = error is not None or _first(ti, "start_date") is None
    ended = _ENDED.get(state or "") or ("Failed" if died else None)
    asks = ended is None and hasattr(task, "generate_link_to_ui")
    answer = _answer_link(task, ti) if asks else None
    map_index, most = _first(ti, "map_index"), _first(ti, "max_tries")
    details = (
        ("Error", type(error).__name__ if isinstance(error, BaseException) else None),
        ("Question", _as_text(_first(task, "subject")) if asks else None),
        ("Answer", answer) if answer else ("Log", _as_text(_first(ti, "log_url"))),
    )
    return Occasion(
        what=ended or ("Waiting for an answer" if asks else "Running"),
        dag_id=dag_id,
        run_id=run_id,
        task_id=_first(ti, "task_id"),
        map_index=map_index if isinstance(map_index, int) and map_index >= 0 else None,
        try_number=_first(ti, "try_number"),
        tries=most + 1 if isinstance(most, int) else None,
        details=tuple((label, fact) for label, fact in details if fact),
    )


def _answer_link(task: Any, ti: Any) -> str | None:
    try:
        return str(task.generate_link_to_ui(task_instance=ti))
    except ValueError:
        # Airflow does not know its own address.
        return None


def _first(thing: Any, *names: str) -> Any:
    """Return the first of these that a mapping or an object has: Airflow hands runs over as either."""
    for name in names:
        found = thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
        if found is not None:
            return found
    return None


def _as_text(value: Any) -> str | None:
    return None if value is None else str(getattr(value, "value", value))


def shortened(text: str, longest: int | None) -> str:
    """Cut a text to what a service takes.

    :param text: The text.
    :param longest: The most characters; None for no limit.
    :return: The text, with :data:`MARK` as its last character if it was cut.
    """
    if longest is None or len(text) <= longest:
        return text
    return text[: max(longest - len(MARK), 0)] + MARK
