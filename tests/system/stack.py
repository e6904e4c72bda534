"""A real Airflow and a sandbox, for the proofs: every component a process that can be killed and started again."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox
from scripts.harness import airflow
from scripts.harness.components import Components
from scripts.harness.postgres import Postgres
from scripts.harness.processes import Child, Home, Interrupted, Signals, free_ports
from scripts.harness.sandbox import Sandbox, connections

CHECKOUT = Path(__file__).resolve().parents[2]
DAGS = Path(__file__).parent / "dags"
SERVICES = ("go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub")
HOLD_S = 5
LONG = os.environ.get("SYSTEM_TESTS") == "long"
# What a triggerer leaves behind is free for the next one so soon after its last heartbeat. Airflow's default is 30 s.
HASTY = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "3",
}


class PatientSignals(Signals):
    """Ends the whole session in order, whichever signal has come: all fixtures are torn down."""

    def pause(self, seconds: float) -> None:
        try:
            super().pause(seconds)
        except Interrupted:
            pytest.exit(f"ended by signal {self.received}", returncode=128 + (self.received or 0))


class System:
    """The running whole."""

    def __init__(self, home: Home, signals: Signals, *, postgresql: bool) -> None:
        self.home = home
        self.signals = signals
        self._postgresql = postgresql
        self._postgres: Postgres | None = None
        self._sandbox: Sandbox | None = None
        self._components: Components | None = None
        self._sandbox_port = 0
        self._base: dict[str, str] = {}
        self._words = (f"word{number}x" for number in itertools.count(1))

    # -- from the start to the end -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until it is up."""
        # Another checkout's proofs may start at the same time, and it takes Airflow a while to listen.
        port, self._sandbox_port = free_ports(random.sample(range(18000, 28000), 2))
        path = self.home.path
        self._base = airflow.clean_environment(path)
        # Their log servers are not started: the API server reads the files.
        env = self._base | airflow.settings(home=path, dags=DAGS, port=port, log_ports=(0, 0))
        env["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] = "True"
        if self._postgresql:
            env |= self._start_postgres(env)
        airflow.fresh_home(path, self.home.base / "templates", env, self.signals)
        if self._postgres:
            airflow.migrate(path, env, self.signals)
        env |= connections(self._sandbox_port, self._base)
        self.start_sandbox()
        self._components = Components(home=path, env=env, port=port)
        self._components.start()
        self.start_triggerer()
        self._components.wait_until_up(self.signals)

    def _start_postgres(self, env: dict[str, str]) -> dict[str, str]:
        self.home.path.mkdir(parents=True, exist_ok=True)
        self._postgres = Postgres(self._base, self.home.base / "postgres.log")
        self._remember()
        self._postgres.wait_until_ready(self.signals)
        return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._postgres.url}

    def stop(self) -> None:
        """End everything; nobody may be left."""
        forced: list[str] = []
        with contextlib.ExitStack() as parts:
            for part in (self._postgres, self._sandbox):
                if part:
                    parts.callback(part.stop, self.signals)
            if self._components:
                forced = self._components.stop(self.signals)
        left = [process for child in self._children() for process in child.survivors()]
        assert not left, f"these processes would not end: {left}"
        self.home.forget()
        if forced:
            print(f"These did not end by themselves, and were made to: {', '.join(forced)}")

    def _children(self) -> list[Child]:
        children = list(self._components.children) if self._components else []
        children += [part.child for part in (self._sandbox, self._postgres) if part and part.child]
        return children

    def _remember(self) -> None:
        self.home.remember(self._children())

    # -- parts ---------------------------------------------------------------------------------------------------

    @property
    def components(self) -> Components:
        assert self._components
        return self._components

    @property
    def api(self) -> Any:
        return self.components.api

    @property
    def sandbox(self) -> RunningSandbox:
        """The control routes."""
        assert self._sandbox
        return RunningSandbox(self._sandbox.url)

    def take_journal(self) -> list[dict[str, Any]]:
        """Return what the sandbox was asked since the last time."""
        assert self._sandbox
        return self._sandbox.take_journal()

    def start_sandbox(self) -> None:
        """Start a sandbox, always on the same port. It remembers nothing of the one before."""
        self._sandbox = Sandbox(
            port=self._sandbox_port,
            env=self._base,
            cwd=self.home.path,
            log=self.home.path / "logs" / "sandbox.log",
            options=("--no-echo", "--hold", str(HOLD_S)),
        )
        self._remember()
        self._sandbox.wait_until_ready(self.signals)

    def stop_sandbox(self) -> None:
        assert self._sandbox
        self._sandbox.stop(self.signals)
        self._sandbox = None

    def start_triggerer(self, **settings: str) -> Child:
        child = self.components.start_triggerer(**settings)
        self._remember()
        return child

    def new_triggerers(self, number: int = 1, **settings: str) -> dict[int, Child]:
        """Kill all there are and start others with these settings; return them by the ids of their jobs."""
        for child in list(self.components.triggerers):
            self.components.kill_triggerer(child)
        started = {}
        for _ in range(number):
            known = self._triggerer_jobs()
            child = self.start_triggerer(**settings)
            self.wait_for("the triggerer's job", lambda known=known: self._triggerer_jobs() - known, 60)
            [job] = self._triggerer_jobs() - known
            started[job] = child
        self.components.wait_until_up(self.signals)
        return started

    def _triggerer_jobs(self) -> set[int]:
        return {job["id"] for job in self.api.pages("/jobs", "jobs", job_type="TriggererJob")}

    # -- waiting -------------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        self.signals.pause(seconds)

    def wait_for(self, what: str, condition: Callable[[], Any], seconds: float, every: float = 0.5) -> float:
        """Wait until a condition holds; return the seconds it took."""
        began = time.monotonic()
        while not condition():
            self.components.require_alive()
            passed = time.monotonic() - began
            assert passed < seconds, f"not within {seconds:g} s: {what}"
            self.pause(every)
        return time.monotonic() - began

    def wait_for_dags(self, *dag_ids: str) -> None:
        """Wait until these have been parsed."""

        def parsed() -> bool:
            errors = self.api.import_errors()
            assert not errors, "\n".join(errors)
            return set(dag_ids) <= {dag.dag_id for dag in self.api.dags()}

        self.wait_for(f"DAGs {dag_ids}", parsed, 120)

    # -- waits ---------------------------------------------------------------------------------------------------

    def begin_waits(self, number: int) -> list[Waits]:
        """Start runs of the DAG `waits`, and wait until all their sensors are deferred."""
        self.api.unpause("waits")
        waits = [Waits(self, next(self._words)) for _ in range(number)]
        for each in waits:
            each.begin()
        self.wait_for(
            "all sensors are deferred", lambda: all(each.states() == {"deferred"} for each in waits), 60 + 10 * number
        )
        return waits


class Waits:
    """One run of the DAG `waits`: a deferred sensor per service."""

    def __init__(self, system: System, word: str) -> None:
        self._system = system
        self.word = word
        self.run_id = ""

    def begin(self) -> None:
        self.run_id = self._system.api.trigger("waits", word=self.word)

    def tasks(self) -> list[dict[str, Any]]:
        return self._system.api.tasks("waits", self.run_id)

    def states(self) -> set[str]:
        found = {task["state"] or "none" for task in self.tasks()}
        assert not found & {"failed", "upstream_failed"}, f"a wait has failed: {self.tasks()}"
        return found

    def holders(self) -> list[int | None]:
        """Return the ids of the triggerer jobs that these waits are with."""
        return [(task["triggerer_job"] or {}).get("id") for task in self.tasks()]

    def send(self, services: Sequence[str] = SERVICES) -> dict[str, str]:
        """Let the message arrive at each service; return the ids."""
        return {name: self._system.sandbox.inbound(name, text=f"{self.word} arrives") for name in services}

    def received(self) -> dict[str, str]:
        """Return the id of the message that each wait has returned."""
        returned = self._system.api.returned("waits", self.run_id)
        return {message["service"]: message["id"] for message in returned}
