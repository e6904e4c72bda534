"""Run every DAG once and follow the runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.demo.report import Progress
from scripts.harness.api import Api, Dag
from scripts.harness.processes import HarnessError, Signals
from scripts.harness.sandbox import Sandbox

PARSE_TIMEOUT = 120
ASSET_RUN_TIMEOUT = 60
MOST_LOGS = 3
FINAL = ("success", "failed")
ACTIVE = ("running", "deferred", "up_for_reschedule", "up_for_retry")


@dataclass
class Run:
    """One DAG's run, or the reason why there is none."""

    dag: Dag
    run_id: str | None = None
    state: str = "waiting"
    seconds: float = 0.0
    tasks: list[dict[str, Any]] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)
    problem: str = ""

    @property
    def done(self) -> bool:
        return self.state in FINAL

    def fail(self, problem: str) -> None:
        self.state, self.problem = "failed", problem

    def refresh(self, api: Api) -> None:
        """Ask Airflow how far it is; a run that an asset event makes appears by itself."""
        if self.done:
            return
        runs = api.runs(self.dag.dag_id)
        mine = [run for run in runs if run["dag_run_id"] == self.run_id]
        if not self.run_id:
            mine = [run for run in runs if run["run_type"] == "asset_triggered"][:1]
        if mine:
            self.run_id, self.state = mine[0]["dag_run_id"], mine[0]["state"]
            self.seconds = _seconds(mine[0])
            self.tasks = api.tasks(self.dag.dag_id, mine[0]["dag_run_id"])
            if self.done:
                self.returned = api.returned(self.dag.dag_id, mine[0]["dag_run_id"])

    def activity(self) -> str:
        """Name what it is doing, for the progress line."""
        active = [t for t in self.tasks if t["state"] in ACTIVE]
        if active:
            return f"{self.dag.dag_id} ({active[0]['task_id']} {active[0]['state'].replace('_', ' ')})"
        return f"{self.dag.dag_id} ({self.state})"


def _seconds(run: dict[str, Any]) -> float:
    if not run["start_date"]:
        return 0.0
    end = datetime.fromisoformat(run["end_date"]) if run["end_date"] else datetime.now(UTC)
    return (end - datetime.fromisoformat(run["start_date"])).total_seconds()


def dag_files(folder: Path) -> set[str]:
    """Every file is expected to bring a DAG, but those that are named as private."""
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*.py")
        if not any(part.startswith(("_", ".")) for part in file.relative_to(folder).parts)
    }


def wait_for_dags(api: Api, folder: Path, signals: Signals, progress: Progress) -> list[Dag]:
    """Wait until every file of the folder has been parsed; an import error is the end."""
    expected = dag_files(folder)
    if not expected:
        raise HarnessError(f"no DAG files in {folder}")
    deadline = time.monotonic() + PARSE_TIMEOUT
    while True:
        if errors := api.import_errors():
            raise HarnessError("DAG files that do not import:\n\n" + "\n\n".join(errors))
        dags = api.dags()
        missing = expected - {dag.file for dag in dags}
        if not missing:
            return sorted(dags, key=lambda dag: dag.dag_id)
        if time.monotonic() > deadline:
            raise HarnessError(f"these files gave no DAG within {PARSE_TIMEOUT} s: {', '.join(sorted(missing))}")
        progress.update(f"waiting for DAG files: {len(expected) - len(missing)} of {len(expected)} parsed")
        signals.pause(0.5)


class Runner:
    """Starts the runs and waits for them.

    DAGs without an asset in their schedule are started together. Those that wait for messages as asset events are
    given one when the others have finished (whose sensors might take it from them otherwise), if none has come.
    """

    def __init__(self, api: Api, sandbox: Sandbox, services: Sequence[str], check: Callable[[], None]) -> None:
        self._api = api
        self._sandbox = sandbox
        self._services = services
        self._check = check

    def run(self, dags: Sequence[Dag], timeout: float, signals: Signals, progress: Progress) -> list[Run]:
        """Run all of them; whatever is not done in time has failed."""
        runs = [Run(dag) for dag in dags]
        deadline = time.monotonic() + timeout
        waiting = [run for run in runs if self._inboxes(run.dag)]
        started = [run for run in runs if run not in waiting]
        for dag in dags:
            if dag.paused:
                self._api.unpause(dag.dag_id)
        for run in started:
            self._trigger(run)
        self._follow(runs, started, deadline, signals, progress)
        for run in waiting:
            if not run.run_id:
                for service in self._inboxes(run.dag):
                    self._sandbox.simulate_inbound(service)
        self._follow(runs, waiting, min(deadline, time.monotonic() + ASSET_RUN_TIMEOUT), signals, progress)
        return runs

    def _inboxes(self, dag: Dag) -> list[str]:
        """Name the services whose messages start the DAG: its tags say so."""
        return [service for service in self._services if service in dag.tags] if dag.waits_for_asset else []

    def _trigger(self, run: Run) -> None:
        try:
            run.run_id = self._api.trigger(run.dag.dag_id)
        except HarnessError as error:
            run.fail(str(error))

    def _follow(
        self, runs: Sequence[Run], until: Sequence[Run], deadline: float, signals: Signals, progress: Progress
    ) -> None:
        while True:
            self._check()
            for run in runs:
                run.refresh(self._api)
            if all(run.done for run in until):
                return
            if time.monotonic() > deadline:
                break
            done = sum(run.done for run in runs)
            active = ", ".join(run.activity() for run in runs if not run.done)
            progress.update(f"{done} of {len(runs)} runs done; {active}")
            signals.pause(1)
        for run in until:
            if not run.done:
                run.fail(f"still {run.state} when the time was up")


def explain(run: Run, api: Api) -> str:
    """Say what went wrong, with the end of the log of each task that did."""
    parts = [f"── {run.dag.dag_id}: {run.problem or run.state}"]
    culprits = [task for task in run.tasks if task["state"] in ("failed", *ACTIVE)]
    for task in culprits[:MOST_LOGS]:
        parts += [f"task {task['task_id']} ({task['state']}), the end of its log:", api.log(task)]
    if len(culprits) > MOST_LOGS:
        parts.append(f"and {len(culprits) - MOST_LOGS} tasks more")
    return "\n".join(parts)
