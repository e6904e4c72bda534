"""Every message of a burst reaches a DAG run, and no further message has to come for that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from .inboxes import Inbox, Sender
from .stack import LONG, System

pytestmark = [pytest.mark.system, pytest.mark.newest, pytest.mark.timeout(600)]

MESSAGES = 200
PER_SECOND = 5
LONGEST_S = 30


@pytest.mark.parametrize("service", ["sendhub", "mdi"] if LONG else ["sendhub"])
def test_bursts_reach_dag_runs(system: System, measured: Callable[[str, object], None], service: str) -> None:
    inbox = Inbox(system, service)
    inbox.open()
    # The heralds' own flush has to be over: it would take the burst's first events along.
    system.pause(15)
    with Sender([inbox], MESSAGES, MESSAGES / PER_SECOND) as sender:
        system.wait_for("all are sent", lambda: not sender.busy, 2 * MESSAGES / PER_SECOND)
    last = max(inbox.sent.values())

    def reached() -> set[str]:
        return {id_ for event in inbox.events() if event.runs for id_ in [*event.ids, *event.repeats]}

    def missing() -> set[str]:
        return set(inbox.sent) - reached()

    try:
        system.wait_for("every message has reached a run", lambda: not missing(), LONGEST_S)
    finally:
        runs = sum(event.runs > 0 for event in inbox.events())
        measured("messages; asset events", f"{MESSAGES} at {PER_SECOND}/s; {len(inbox.events())}, {runs} with a run")
        measured("messages without a run", len(missing()))
        measured("the last one's run after", f"{(datetime.now(UTC) - last).total_seconds():.1f} s")
        inbox.close()
