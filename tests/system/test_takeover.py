"""Two triggerers share the waits; when one dies, the other takes its waits over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from .stack import LONG, SERVICES, System

pytestmark = [
    pytest.mark.system,
    pytest.mark.newest,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not LONG, reason="two triggerers are for PostgreSQL: make chaos"),
]

RUNS = 6
# With Airflow's defaults a triggerer is dead after 30 s without a heartbeat.
LONGEST_TAKEOVER_S = 60


def test_waits_are_taken_over(system: System, measured: Callable[[str, object], None]) -> None:
    system.wait_for_dags("waits")
    triggerers = system.new_triggerers(2)
    waits = system.begin_waits(RUNS)

    def holders() -> Counter[int | None]:
        return Counter(job for each in waits for job in each.holders())

    system.wait_for("every wait is with one of the two", lambda: set(holders()) <= set(triggerers), 60)
    held = holders()
    [(doomed, lost)] = held.most_common(1)
    measured("waits with each triggerer", " and ".join(str(held[job]) for job in triggerers))

    system.components.kill_triggerer(triggerers.pop(doomed))
    killed_at = time.monotonic()
    sent = {each.word: each.send() for each in waits[::2]}
    system.wait_for("no wait is with the dead one", lambda: doomed not in holders(), LONGEST_TAKEOVER_S)
    measured(f"{lost} waits taken over after", f"{time.monotonic() - killed_at:.1f} s")

    sent |= {each.word: each.send() for each in waits[1::2]}
    system.wait_for("everything", lambda: all(each.states() == {"success"} for each in waits), 120)
    assert {each.word: each.received() for each in waits} == sent
    measured("messages sent and received", f"{len(waits) * len(SERVICES)}")
    measured("the last one, after the kill", f"{time.monotonic() - killed_at:.1f} s")
    system.api.pause("waits")
