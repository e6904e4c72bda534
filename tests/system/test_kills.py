"""A triggerer that is killed, again and again, loses nothing."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from .inboxes import Inbox, Ledger, Sender
from .stack import HASTY, LONG, System

pytestmark = [pytest.mark.system, pytest.mark.newest, pytest.mark.timeout(3000)]

KILLS = 50 if LONG else 10
KILL_EVERY_S = 20
MESSAGES = 500
# From a triggerer's first question on: messages are gathered for two seconds, and stored up to two seconds later.
LONGEST_LIFE_S = 8


def test_kills_lose_nothing(system: System, measured: Callable[[str, object], None]) -> None:
    services = ["sendhub", "mdi"] + (["serwersms", "go_integrate"] if LONG else [])
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    inboxes = [Inbox(system, service) for service in services]
    ledger = Ledger(system, inboxes)
    [triggerer] = system.new_triggerers(**HASTY).values()
    for inbox in inboxes:
        inbox.open()

    def reading_since(start: datetime) -> bool:
        return all(
            any(datetime.fromisoformat(record["at"]) > start for record in system.sandbox.journal(service))
            for service in services
        )

    with Sender(inboxes, MESSAGES, KILLS * KILL_EVERY_S) as sender:
        while len(ledger.moments) < KILLS or sender.busy:
            system.pause(chance.uniform(0, LONGEST_LIFE_S))
            system.components.kill_triggerer(triggerer)
            ledger.note()
            print(f"kill {len(ledger.moments)}, {len(inboxes[0].sent)} of {MESSAGES} messages sent", flush=True)
            started = datetime.now(UTC)
            triggerer = system.start_triggerer(**HASTY)
            system.wait_for("the new triggerer reads", lambda since=started: reading_since(since), 60)

    def missing() -> dict[str, int]:
        lost = {inbox.service: len(set(inbox.sent) - inbox.stored_ids()) for inbox in inboxes}
        return {service: count for service, count in lost.items() if count}

    try:
        system.wait_for("everything is stored", lambda: not missing(), 120)
        system.wait_for("everything is acknowledged", lambda: all(set(i.sent) <= i.acknowledged() for i in inboxes), 60)
    finally:
        caught = [sum(map(len, moment.in_flight().values())) for moment in ledger.moments]
        measured("kills; seed", f"{len(caught)}; {seed}")
        measured("kills between storing and acknowledging", f"{sum(map(bool, caught))}, of {sum(caught)} messages")
        measured("messages that were lost", missing() or "none")
    for inbox in inboxes:
        first_stored = {id_: event.at for event in reversed(inbox.events()) for id_ in event.ids}
        latencies = sorted((first_stored[id_] - at).total_seconds() for id_, at in inbox.sent.items())
        stranded = set(inbox.sent) - {
            id_ for event in inbox.events() if event.runs for id_ in [*event.ids, *event.repeats]
        }
        measured(
            inbox.service,
            f"{len(inbox.sent)} messages, {len(ledger.duplicates(inbox))} of them stored twice, stored after "
            f"{statistics.median(latencies):.1f} s (median), {latencies[-1]:.1f} s (longest); "
            f"{len(stranded)} without a DAG run",
        )
        inbox.close()
    measured("acknowledgements in the journal, all after storing", ledger.acknowledged_after_stored(inboxes[0]))
