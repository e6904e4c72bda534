"""The harness and the demo: they must leave no process behind, whatever their children do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.demo.report import WIDTH, messages_in, table, went_through
from scripts.harness.processes import Child, HarnessError, Home, Interrupted, Signals, free_ports, session_members
from scripts.harness.sandbox import Traffic, endpoint

# Starts two grandchildren, of which one leaves the process group, says so, and waits.
FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.{on_sigint})
signal.signal(signal.SIGTERM, signal.{on_sigterm})
grandchild = "import time; print('up', flush=True); time.sleep(600)"
for group in (None, 0):
    subprocess.Popen([sys.executable, "-c", grandchild], process_group=group)
time.sleep(600)
"""


def family(tmp_path: Path, on_sigint: str, on_sigterm: str) -> Child:
    code = FAMILY.format(on_sigint=on_sigint, on_sigterm=on_sigterm)
    log = tmp_path / "family.log"
    child = Child([sys.executable, "-c", code], env=dict(os.environ), cwd=tmp_path, log=log)
    deadline = time.monotonic() + 20
    while log.read_text().count("up") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(child.survivors()) == 3
    return child


@pytest.mark.parametrize("on_sigterm", ["SIG_DFL", "SIG_IGN"])
@pytest.mark.parametrize("on_sigint", ["SIG_DFL", "SIG_IGN"])
def test_stop_leaves_no_descendant(tmp_path: Path, on_sigint: str, on_sigterm: str) -> None:
    child = family(tmp_path, on_sigint, on_sigterm)
    child.stop(Signals(), first=signal.SIGINT, grace=0.5, patience=0.5)
    assert session_members(child.pid) == []
    assert child.exit_code is not None


def test_a_kill_leaves_no_descendant(tmp_path: Path) -> None:
    child = family(tmp_path, "SIG_IGN", "SIG_IGN")
    child.kill()
    assert session_members(child.pid) == []
    assert child.exit_code == -signal.SIGKILL


def test_who_is_asked_twice_to_end_is_signalled_once(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True)); time.sleep(600)"
    child = Child([sys.executable, "-c", code], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "deaf.log")
    time.sleep(0.5)
    child.ask_to_end(signal.SIGTERM)
    child.ask_to_end(signal.SIGTERM)
    time.sleep(0.5)
    child.kill()
    assert child.tail() == "asked"


def test_a_clean_end_is_told_from_force(tmp_path: Path) -> None:
    child = Child(["sleep", "600"], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "sleep.log")
    assert child.stop(Signals(), first=signal.SIGTERM, grace=5)


def test_a_child_that_ended_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "echo oh no; exit 3"], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "child.log")
    child.process.wait(10)
    with pytest.raises(HarnessError, match="child ended with exit code 3:\noh no"):
        child.require_alive()


def test_taken_ports_are_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first, second = free_ports([port, port])
    assert port not in (first, second)
    assert first != second


def test_a_second_demo_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = Home.acquire(tmp_path), Home.acquire(tmp_path)
    assert first.path != second.path


def test_what_a_killed_demo_left_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home.acquire(tmp_path)
    left = subprocess.Popen(["sleep", "600"], cwd=home.path, start_new_session=True)
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        home.remember([_Started(left.pid, home.path), _Started(stranger.pid, home.path)])  # type: ignore[list-item]
        home._lock.close()
        Home.acquire(tmp_path)
        assert left.wait(10) == -signal.SIGTERM
        assert stranger.poll() is None
        assert "killed" in capsys.readouterr().err
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


@dataclass
class _Started:
    pid: int
    cwd: Path


def test_waiting_ends_with_a_signal() -> None:
    signals = Signals()
    signals.pause(0)
    signals._handle(signal.SIGINT, None)
    with pytest.raises(Interrupted):
        signals.pause(60)
    assert not signals.impatient
    signals._handle(signal.SIGINT, None)
    assert signals.impatient


@pytest.mark.parametrize(
    ("path", "service", "expected"),
    [
        ("/sendhub/v1/messages/1234/", "sendhub", "/v1/messages/…"),
        ("/go-integrate/1/messages", "go_integrate", "/1/messages"),
        ("/liquidfiles/attachments/upload", "liquidfiles", "/attachments/upload"),
        ("/liquidfiles/message/x/manual__2026-11-22T10.txt", "liquidfiles", "/message/x/…"),
        ("/liquidfiles/message/0sIxkHL1UqZFYB7bBvEyEf", "liquidfiles", "/message/…"),
    ],
)
def test_endpoint(path: str, service: str, expected: str) -> None:
    assert endpoint(path, service) == expected


def test_traffic_counts_refused_and_held() -> None:
    traffic = Traffic()
    for status in (200, 401, None):
        traffic.add({"method": "GET", "path": "/mdi/x", "status": status}, "mdi")
    assert (traffic.requests, traffic.refused, traffic.held) == (3, 1, 1)


def test_table_keeps_to_its_width() -> None:
    text = table(("DAG", "state", "what"), [("a_dag", "success", "word " * 50), ("b", "failed", "")])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "a_dag  success  word" in text


def test_tasks_are_told_apart_by_operator_connection_and_dag() -> None:
    tasks = [
        {"task_id": "send", "operator_name": "SendHubSendMessageOperator"},
        {"task_id": "send", "operator_name": "SendHubSendMessageOperator"},
        {"task_id": "wait", "operator_name": "NextMessageSensor", "rendered_fields": {"conn_id": "go_integrate_x"}},
        {"task_id": "decide", "operator_name": "@task", "rendered_fields": {}},
    ]
    services = ["go_integrate", "sendhub"]
    assert went_through(tasks, [], services, []) == "sendhub (send ×2); go_integrate (wait); no service (decide)"
    assert went_through(tasks[3:], [], services, ["sendhub_example"]) == "sendhub (decide)"
    assert went_through([{**tasks[3], "state": "skipped"}], [], services, []) == "no service (decide skipped)"
    assert went_through([{**tasks[3], "try_number": 2}], [], services, []) == "no service (decide after 2 tries)"


def test_messages_are_counted_from_what_tasks_return() -> None:
    receipt = {"service": "mdi", "id": "1", "status": "accepted"}
    message = {"service": "mdi", "id": "2", "recipients": [], "text": "hi"}
    returned = [receipt, message, [message, message | {"id": "3"}], None, 5, {"id": "4"}, {"service": 1, "id": "5"}]
    assert messages_in(returned) == {"mdi": {"sent": 1, "received": 2}}
    tasks = [{"task_id": "send", "operator_name": "MdiSendMessageOperator"}]
    assert went_through(tasks, returned, ["mdi"], []) == "mdi 1 sent, 2 received (send)"
