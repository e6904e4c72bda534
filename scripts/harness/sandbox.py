"""The sandbox: the process, Airflow's connections to it, and what it has seen."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from scripts.harness.processes import Child, HarnessError, Signals

START_TIMEOUT = 60
COMMAND = (sys.executable, "-m", "airflow_messaging.sandbox")
_ID = re.compile(r"\d+|[0-9a-fA-F-]{16,}|(?=.*\d).{12,}")


def connections(port: int, env: Mapping[str, str]) -> dict[str, str]:
    """Return Airflow's connections to a sandbox on that port, as environment variables."""
    shown = subprocess.run(
        [*COMMAND, "--print-connections", "--port", str(port)],
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
        start_new_session=True,
    )
    if shown.returncode != 0:
        raise HarnessError(f"the sandbox does not name its connections:\n{shown.stderr}")
    return dict(
        word.split("=", 1)
        for word in shlex.split(shown.stdout, comments=True)
        if word.startswith("AIRFLOW_CONN_") and "=" in word
    )


@dataclass
class Traffic:
    """What one service has seen: the requests of its journal, and its messages.

    A held request is a long poll that has not been answered yet; a waiting message is one that nobody has read.
    """

    requests: int = 0
    refused: int = 0
    held: int = 0
    sent: int = 0
    waiting: int = 0
    endpoints: Counter[str] = field(default_factory=Counter)

    def add(self, record: Mapping[str, Any], service: str) -> None:
        status = record.get("status")
        self.requests += 1
        self.held += status is None
        self.refused += status is not None and status >= 400
        self.endpoints[f"{record['method']} {endpoint(record['path'], service)}"] += 1


def endpoint(path: str, service: str) -> str:
    """Shorten a path to its kind: without the service's prefix, ids as ``…``.

    >>> endpoint("/sendhub/v1/messages/1234/", "sendhub")
    '/v1/messages/…'
    """
    parts = [part for part in path.split("/") if part]
    if parts and parts[0].replace("-", "_") == service:
        parts = parts[1:]
    # The first part may be a version, which looks like an id.
    return "/" + "/".join([*parts[:1], *("…" if _ID.fullmatch(part) else part for part in parts[1:])])


class Sandbox:
    """The running sandbox. `options` are those of its command."""

    def __init__(self, *, port: int, env: Mapping[str, str], cwd: Path, log: Path, options: Sequence[str] = ()) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.child = Child([*COMMAND, "--port", str(port), *options], env=env, cwd=cwd, log=log)
        self._session = requests.Session()
        self._session.trust_env = False

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        try:
            response = self._session.request(method, f"{self.url}/_sandbox/{path}", timeout=10, **kwargs)
            response.raise_for_status()
            return response.json()
        except requests.RequestException as error:
            raise HarnessError(f"the sandbox: {error}") from None

    def require_alive(self) -> None:
        self.child.require_alive()

    def wait_until_ready(self, signals: Signals) -> list[str]:
        """Return the names of its services."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            self.require_alive()
            try:
                return sorted(self._call("GET", "credentials"))
            except HarnessError:
                if time.monotonic() > deadline:
                    raise
            signals.pause(0.2)

    def simulate_inbound(self, service: str) -> None:
        """Let a message arrive from outside."""
        self._call("POST", f"inbound/{service}", json={"text": "Hello from the demo"})

    def take_journal(self) -> list[dict[str, Any]]:
        """Return the requests received, and forget them: the journal holds the newest only."""
        journal: list[dict[str, Any]] = self._call("GET", "journal")
        self._call("DELETE", "journal")
        return journal

    def traffic(self) -> dict[str, Traffic]:
        """Count what each service has seen."""
        seen = {}
        for service, messages in self._call("GET", "messages").items():
            seen[service] = Traffic(sent=len(messages["sent"]), waiting=len(messages["waiting"]))
            for record in self._call("GET", "journal", params={"service": service}):
                seen[service].add(record, service)
        return seen

    def stop(self, signals: Signals) -> bool:
        return self.child.stop(signals, first=signal.SIGTERM, grace=10)
