"""Airflow's components, each a process of its own, so that one can be killed without the others."""

from __future__ import annotations

import base64
import itertools
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.harness.api import Api
from scripts.harness.processes import Child, HarnessError, Signals

START_TIMEOUT = 180
NEEDED = ("api-server", "scheduler", "dag-processor")


def shared_secrets() -> dict[str, str]:
    """Return what `airflow standalone` would give its components in common."""
    return {
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
    }


class Components:
    """API server, scheduler and DAG processor, and as many triggerers as are started.

    :param home: Airflow's home, with a database that has its tables.
    :param env: The environment of all components.
    :param port: Of the API server.
    """

    def __init__(self, *, home: Path, env: Mapping[str, str], port: int) -> None:
        self.api = Api(f"http://127.0.0.1:{port}")
        self.triggerers: list[Child] = []
        self._home = home
        self._env = {**env, **shared_secrets()}
        # Several processes that start at the same time would write this file each, with keys of their own.
        (home / "airflow.cfg").touch()
        self._others: list[Child] = []
        self._numbers: Iterator[int] = itertools.count(1)

    @property
    def children(self) -> list[Child]:
        return [*self.triggerers, *self._others]

    def start(self) -> None:
        for name in NEEDED:
            options = ("--skip-serve-logs",) if name == "scheduler" else ()
            self._others.append(self._child(name, name, *options))

    def start_triggerer(self, **settings: str) -> Child:
        """Start one more; `settings` are environment variables for this one alone."""
        name = f"triggerer-{next(self._numbers)}"
        child = self._child(name, "triggerer", "--skip-serve-logs", **settings)
        self.triggerers.append(child)
        return child

    def kill_triggerer(self, child: Child) -> None:
        """Kill one with its runner: neither can say anything any more."""
        self.triggerers.remove(child)
        child.kill()

    def _child(self, name: str, *command: str, **settings: str) -> Child:
        log = self._home / "logs" / f"{name}.log"
        environment = {**self._env, **settings}
        return Child([sys.executable, "-m", "airflow", *command], env=environment, cwd=self._home, log=log)

    def require_alive(self) -> None:
        for child in self.children:
            child.require_alive()

    def wait_until_up(self, signals: Signals) -> None:
        """Wait for all of them, at least one triggerer among them."""
        deadline = time.monotonic() + START_TIMEOUT
        while missing := self.api.unhealthy():
            self.require_alive()
            if time.monotonic() > deadline:
                tails = "\n".join(f"{child.name}:\n{child.tail()}" for child in self.children)
                raise HarnessError(f"not up after {START_TIMEOUT} s: {', '.join(missing)}\n{tails}")
            signals.pause(0.5)

    def stop(self, signals: Signals) -> list[str]:
        """End all; return the names of those that took force."""
        for child in self.children:
            child.ask_to_end(signal.SIGTERM)
        return [child.name for child in self.children if not child.stop(signals, first=signal.SIGTERM, grace=10)]
