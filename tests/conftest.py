"""What all tests share: an Airflow home of their own, no way out of this machine, and one sandbox."""

import atexit
import ipaddress
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

# Before anything imports Airflow, which reads its configuration once.
_HOME = tempfile.mkdtemp(prefix="airflow-messaging-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for _name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("AIRFLOW_CONN_")]:
    del os.environ[_name]

import pytest  # noqa: E402

from airflow_messaging.sandbox import RunningSandbox, running  # noqa: E402
from airflow_messaging.transport import pacing  # noqa: E402

ECHO_DELAY_S = 0.3


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine."""

    def guarded(real: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and not _is_loopback(address[0]):
                raise AssertionError(f"a test wants to connect to {address[0]}")
            return real(self, address)

        return connect

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


def _is_loopback(host: str) -> bool:
    try:
        return host in ("localhost", "") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def nobody_was_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no pause of one test hold up the next: all of them use the same accounts."""
    monkeypatch.setattr(pacing, "_lanes", {})


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[RunningSandbox]:
    with running(hold_s=1.0, echo_delay_s=ECHO_DELAY_S) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: RunningSandbox) -> Iterator[RunningSandbox]:
    """The five services, in the state just after the start."""
    running_sandbox.reset()
    yield running_sandbox
    running_sandbox.reset()


@pytest.fixture
def connections(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The five default connections in Airflow's environment, all leading to the sandbox."""
    found = sandbox.connections
    for conn_id, connection in found.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return found
