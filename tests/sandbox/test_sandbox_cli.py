import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from airflow_messaging.cli import main
from airflow_messaging.sandbox import RunningSandbox, connections

from .clients import Go, eventually

MODULE = [sys.executable, "-m", "airflow_messaging.sandbox"]
CLI = [sys.executable, "-m", "airflow_messaging.cli", "sandbox"]


@contextmanager
def process(
    *arguments: str, command: list[str] = MODULE, tmp: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {**os.environ, **({"TMPDIR": str(tmp)} if tmp else {})}
    child = subprocess.Popen(
        [*command, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert child.stdout
        line = child.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield child, found[0]
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.mark.parametrize("command", [MODULE, CLI])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_prints_one_line_and_ends_on_signals(command: list[str], number: signal.Signals, tmp_path: Path) -> None:
    with process(command=command, tmp=tmp_path) as (child, url):
        assert requests.get(f"{url}/_sandbox/credentials", timeout=5).json()
        child.send_signal(number)
        out, err = child.communicate(timeout=5)
        assert (out, err, child.returncode) == ("", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_ends_while_requests_are_held_and_bodies_are_spooled(tmp_path: Path) -> None:
    with process(tmp=tmp_path) as (child, url):
        sandbox = RunningSandbox(url)
        go = Go(sandbox, requests.Session())
        go.send(b"x" * (2 << 20))
        sandbox.reset()
        go.send(b"x" * (2 << 20), to=go.route)
        assert len(list(tmp_path.rglob("*"))) == 2  # the directory and one file: a reset deletes what was spooled
        [link] = go.links()
        outcome: list[int] = []

        def wait() -> None:
            outcome.append(Go(sandbox, requests.Session()).get(f"wait-next-message/{link}").status_code)

        waiter = threading.Thread(target=wait)
        waiter.start()
        eventually(lambda: sandbox.journal()[-1]["path"].endswith(link))
        begun = time.monotonic()
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=5)
        assert time.monotonic() - begun < 2
        waiter.join()
        assert (child.returncode, outcome) == (0, [204])
    assert list(tmp_path.iterdir()) == []


def test_the_peer_echoes_after_a_second() -> None:
    with process() as (_, url):
        sandbox = RunningSandbox(url)
        begun = time.monotonic()
        Go(sandbox, requests.Session()).send()
        eventually(lambda: len(sandbox.messages("go_integrate")["waiting"]) == 2)
        assert 0.9 < time.monotonic() - begun < 1.6


def test_hold_is_configurable() -> None:
    with process("--hold", "0.2", "--no-echo") as (_, url):
        sandbox = RunningSandbox(url)
        link = sandbox.inbound("go_integrate", text="x")
        begun = time.monotonic()
        assert Go(sandbox, requests.Session()).get(f"wait-next-message/{link}").status_code == 204
        assert time.monotonic() - begun < 1


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = subprocess.run(
            [*MODULE, "--port", str(port)], capture_output=True, text=True, timeout=10, check=False
        )
    assert finished.returncode == 1
    assert str(port) in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.stdout == ""


def test_print_connections(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--print-connections", "--port", "9999"]) == 0
    expected = connections("http://127.0.0.1:9999")
    found = {}
    for line in capsys.readouterr().out.splitlines():
        export, assignment = shlex.split(line)
        assert export == "export"
        name, _, value = assignment.partition("=")
        found[name] = json.loads(value)
    assert found == {f"AIRFLOW_CONN_{connection_id.upper()}": value for connection_id, value in expected.items()}


@pytest.mark.parametrize(
    "arguments", [["sandbox", "--port", "x"], ["sandbox", "--port", "65536"], [], ["sandbox", "--hold", "-1"]]
)
def test_wrong_arguments_are_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("value", ['{"conn_type": "sendhub", "login" "a"}', '{"conn_type": "sendhub", "port": "x"}'])
def test_a_connection_that_cannot_be_read_is_not_called_missing(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "nowhere"]) == 1
    assert "isn't defined" in capsys.readouterr().err
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", value)
    assert main(["check", "nowhere"]) == 1
    assert "AIRFLOW_CONN_NOWHERE is set, but Airflow cannot read it" in capsys.readouterr().err


def test_starts_quickly_and_without_airflow() -> None:
    code = (
        "import sys, airflow_messaging.sandbox, airflow_messaging.cli\n"
        "banned = ('airflow', 'airflow_messaging.services', 'airflow_messaging.transport', 'airflow_messaging.hooks')\n"
        "print([name for name in sys.modules if name in banned])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=10, check=True)
    assert finished.stdout == "[]\n"
