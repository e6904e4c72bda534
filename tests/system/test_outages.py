"""Waits survive whatever happens between them and the service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from .stack import SERVICES, System, Waits

pytestmark = [pytest.mark.system, pytest.mark.newest, pytest.mark.timeout(900)]

LONGEST_RECOVERY_S = 100
OUTAGE_S = 60
THROTTLED_S = 30
LONG_POLL = "/go-integrate/1/wait-next-message/"


def test_waits_survive_outages(system: System, measured: Callable[[str, object], None]) -> None:
    """Each outage finds all waits that are left open, and ends with one message for each service."""
    system.wait_for_dags("waits")
    outages = {
        "sandbox stopped and started again": stopped,
        "connections reset": reset_in_the_middle,
        "sessions expired": sessions_expired,
        "too many requests": too_many_requests,
    }
    waits = system.begin_waits(len(outages))
    open_waits = dict(zip(outages, waits, strict=True))
    for name, outage in outages.items():
        outage(system)
        latency = deliver(system, open_waits.pop(name))
        assert all(each.states() == {"deferred"} for each in open_waits.values())
        measured(name, f"{len(SERVICES) * (1 + len(open_waits))} waits survive, the message {latency:.1f} s later")
    system.api.pause("waits")


def deliver(system: System, waits: Waits) -> float:
    """Send to every service, and see that every wait returns what was sent; return the seconds until the last."""
    began = time.monotonic()
    sent = waits.send()
    system.wait_for(f"{waits.word} at all five", lambda: waits.states() == {"success"}, LONGEST_RECOVERY_S)
    latency = time.monotonic() - began
    assert waits.received() == sent
    return latency


def stopped(system: System) -> None:
    before = int(system.sandbox.inbound("mdi", text="The last of the old sandbox"))
    system.stop_sandbox()
    system.pause(OUTAGE_S)
    system.start_sandbox()
    # A new sandbox counts from the beginning, as no service does: what is known by its id already would not be new.
    while int(system.sandbox.inbound("mdi", text="One that uses up an id")) < before:
        pass


def reset_in_the_middle(system: System) -> None:
    """Cut every service's next connections after two seconds; at Go Integrate Me those that are held open."""
    system.wait_for("a long poll is open", lambda: [r for r in polls(system) if r["status"] is None], 30)
    paths = dict.fromkeys(SERVICES) | {"go_integrate": LONG_POLL}
    cuts = [{"service": name, "path": path, "delay_s": 2, "reset": True, "times": 2} for name, path in paths.items()]
    system.sandbox.faults(cuts)

    def cut() -> set[str]:
        return {record["service"] for record in system.sandbox.journal() if record["fault"] == "reset"}

    system.wait_for("every service has cut a connection", lambda: cut() == set(SERVICES), 60)


def polls(system: System) -> list[dict[str, Any]]:
    return [record for record in system.sandbox.journal("go_integrate") if record["path"].startswith(LONG_POLL)]


def sessions_expired(system: System) -> None:
    before = logins(system)
    assert system.sandbox.expire_sessions() >= 1
    system.wait_for("a new login", lambda: logins(system) > before, 30)


def logins(system: System) -> int:
    journal = system.sandbox.journal("mdi")
    return sum(record["method"] == "POST" and "session" in record["path"] for record in journal)


def too_many_requests(system: System) -> None:
    system.sandbox.faults([{"service": name, "status": 429} for name in SERVICES])
    system.pause(THROTTLED_S)
    refused = {record["service"] for record in system.sandbox.journal() if record["status"] == 429}
    system.sandbox.clear_faults()
    assert refused == set(SERVICES)
