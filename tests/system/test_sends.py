"""Tasks that are killed between request and answer, and cleared later, do not send again."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from .stack import SERVICES, System

pytestmark = [pytest.mark.system, pytest.mark.newest, pytest.mark.timeout(600)]

CANNOT_LOOK = {"go_integrate"}
SEND_PATHS = {
    "go_integrate": "*/send-message",
    "liquidfiles": "*/message",
    "mdi": "*/messages.json",
    "serwersms": "*/messages/send_sms*",
    "sendhub": "*/messages/",
}
FINISHED = {"success", "failed"}


def test_a_killed_task_and_a_cleared_one_send_once(system: System, measured: Callable[[str, object], None]) -> None:
    system.wait_for_dags("sends")
    before = {service: len(system.sandbox.messages(service)["sent"]) for service in SERVICES}
    # The answer is held back for longer than it takes to kill the task.
    system.sandbox.faults(
        [
            {"service": service, "path": SEND_PATHS[service], "times": 1, "when": "after", "delay_s": 120}
            for service in SERVICES
        ]
    )
    system.api.unpause("sends")
    run_id = system.api.trigger("sends")

    def tasks() -> dict[str, dict[str, Any]]:
        return {task["task_id"]: task for task in system.api.tasks("sends", run_id)}

    def accepted() -> dict[str, int]:
        return {name: len(system.sandbox.messages(name)["sent"]) - before[name] for name in SERVICES}

    killed: set[str] = set()

    def kill_what_was_accepted() -> bool:
        for service, task in tasks().items():
            if service not in killed and accepted()[service] and task["state"] == "running" and task["pid"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(task["pid"], signal.SIGKILL)
                killed.add(service)
        return killed == set(SERVICES)

    def ended() -> dict[str, tuple[str, int]]:
        return {service: (task["state"], task["try_number"]) for service, task in tasks().items()}

    def run_has_ended() -> bool:
        # Not merely its tasks: a run that is cleared before the scheduler has ended it is ended all the same.
        (run,) = [run for run in system.api.runs("sends") if run["dag_run_id"] == run_id]
        return run["state"] in FINISHED

    system.wait_for("all messages are accepted, and their tasks killed", kill_what_was_accepted, 120)
    system.sandbox.clear_faults()
    system.wait_for("the run has ended", run_has_ended, 120)
    assert accepted() == dict.fromkeys(SERVICES, 1)
    expected = {service: ("failed" if service in CANNOT_LOOK else "success", 2) for service in SERVICES}
    assert ended() == expected

    def returned() -> dict[str, str]:
        return {receipt["service"]: receipt["id"] for receipt in system.api.returned("sends", run_id)}

    ids = returned()
    assert set(ids) == set(SERVICES) - CANNOT_LOOK
    clear = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
    system.api.call("POST", "/dags/sends/clearTaskInstances", json=clear)
    system.wait_for("all have been tried again", lambda: min(number for _, number in ended().values()) == 3, 120)
    system.wait_for("the run has ended again", run_has_ended, 120)
    assert accepted() == dict.fromkeys(SERVICES, 1)
    assert returned() == ids
    measured("killed and cleared", f"{len(killed)} tasks, each message accepted once")
