"""What a watcher has made of an inbox: what Airflow has stored, what reached a DAG run, what was acknowledged."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .stack import System

WITH_READ_FLAG = ("serwersms", "sendhub")


@dataclass(frozen=True)
class Stored:
    """One asset event."""

    at: datetime
    ids: list[str]
    repeats: list[str]
    runs: int


class Inbox:
    """One service's inbox, the DAG that is triggered by it, and the messages we let arrive there."""

    def __init__(self, system: System, service: str) -> None:
        self.service = service
        self.dag_id = f"inbox_{service}"
        self.sent: dict[str, datetime] = {}
        self.arrived: set[str] = set()
        self._acknowledged: set[str] = set()
        self._system = system
        self._asset_id = 0

    def open(self) -> None:
        """Start watching, and wait until a message that arrives is stored."""
        self._system.wait_for_dags(self.dag_id)
        self._asset_id = self._system.api.asset_id(self.dag_id)
        self._system.api.unpause(self.dag_id)
        # A new reader begins now, whenever that is: what arrives before is not for it.
        heralds: set[str] = set()

        def announced() -> bool:
            heralds.add(self._arrives())
            return not heralds.isdisjoint(self.stored_ids())

        self._system.wait_for(f"{self.service} is watched", announced, 90, every=2)

    def close(self) -> None:
        self._system.api.pause(self.dag_id)

    def send(self) -> None:
        """Let a message arrive."""
        self.sent[self._arrives()] = datetime.now(UTC)

    def _arrives(self) -> str:
        id_ = self._system.sandbox.inbound(self.service, text="One of many")
        self.arrived.add(id_)
        return id_

    def events(self) -> list[Stored]:
        """Return what Airflow has stored, oldest first."""
        found = []
        for event in self._system.api.asset_events(self._asset_id):
            payload = event["extra"]["payload"]
            ids = [message["id"] for message in payload["messages"]]
            at = datetime.fromisoformat(event["timestamp"])
            found.append(Stored(at, ids, payload["repeats"], len(event["created_dagruns"])))
        return found

    def stored_ids(self) -> set[str]:
        return {id_ for event in self.events() for id_ in event.ids}

    def acknowledged(self) -> set[str]:
        """Return those that would not come again: marked read, or behind the stored cursor."""
        if self.service in WITH_READ_FLAG:
            arrived = set(self.arrived)
            waiting = {message["id"] for message in self._system.sandbox.messages(self.service)["waiting"]}
            self._acknowledged |= arrived - waiting
        else:
            # A cursor forgets, after some minutes, what it has long passed.
            self._acknowledged |= set(json.loads(self._variable(self._variable_name("watch")) or "{}").get("seen", ()))
        return set(self._acknowledged)

    def _variable_name(self, kind: str) -> str:
        return f"airflow_messaging.{kind}.{self.service}_default:{self.dag_id}"

    def _variable(self, name: str) -> str:
        """Return a variable's text, empty if there is none."""
        found = self._system.api.pages("/variables", "variables", variable_key_pattern=name)
        return next((variable["value"] for variable in found if variable["key"] == name), "")

    def kept(self) -> set[str]:
        """Return those that were marked read along with others, and are kept until they are stored."""
        return {message["id"] for message in json.loads(self._variable(self._variable_name("watch_marked")) or "[]")}


@dataclass
class Moment:
    """What was true just after a kill, when nothing moved."""

    at: datetime
    acknowledged: dict[str, set[str]]
    stored: dict[str, set[str]]

    def in_flight(self) -> dict[str, set[str]]:
        """Return what was stored and not acknowledged: it comes again."""
        return {service: ids - self.acknowledged[service] for service, ids in self.stored.items()}


@dataclass
class Ledger:
    """Everything noted while messages arrive and triggerers die."""

    system: System
    inboxes: Sequence[Inbox]
    moments: list[Moment] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)

    def note(self) -> None:
        """Note the moment. What was acknowledged must be stored: therefore that is looked at first."""
        at = datetime.now(UTC)
        acknowledged = {inbox.service: inbox.acknowledged() for inbox in self.inboxes}
        kept = {inbox.service: inbox.kept() for inbox in self.inboxes}
        stored = {inbox.service: inbox.stored_ids() for inbox in self.inboxes}
        for service, ids in acknowledged.items():
            assert ids <= stored[service] | kept[service], f"{service}: acknowledged, but not stored"
        self.journal += self.system.take_journal()
        ours = {inbox.service: stored[inbox.service] & inbox.arrived for inbox in self.inboxes}
        self.moments.append(Moment(at, acknowledged, ours))

    def acknowledged_after_stored(self, sendhub: Inbox) -> int:
        """Return the number of acknowledgements in the journal, after seeing that none came before its message."""
        self.journal += self.system.take_journal()
        stored_at = {id_: event.at for event in reversed(sendhub.events()) for id_ in event.ids}
        requests = [
            (record["path"].rstrip("/").rsplit("/", 1)[-1], datetime.fromisoformat(record["at"]))
            for record in self.journal
            if record["method"] == "PUT" and record["path"].startswith("/sendhub/v1/messages/")
        ]
        assert set(sendhub.sent) <= {id_ for id_, _ in requests}
        for id_, at in requests:
            assert id_ in stored_at and stored_at[id_] < at, f"{id_} was acknowledged before it was stored"
        return len(requests)

    def duplicates(self, inbox: Inbox) -> set[str]:
        """Return what was stored more than once, after seeing that each had been in flight at a kill."""
        events = inbox.events()
        for event in events:
            assert len(event.ids) == len(set(event.ids)), f"{inbox.service}: twice in one event: {event.ids}"
        times = Counter(id_ for event in events for id_ in event.ids)
        # What an earlier proof has sent may have been in flight when this one began with new triggerers.
        twice = {id_ for id_, number in times.items() if number > 1 and id_ in inbox.sent}
        for id_ in twice:
            stored_at = [event.at for event in events if id_ in event.ids]
            for first, second in itertools.pairwise(stored_at):
                in_flight = [
                    moment
                    for moment in self.moments
                    if first < moment.at < second and id_ in moment.in_flight()[inbox.service]
                ]
                kills = [moment.at for moment in self.moments]
                assert in_flight, f"{inbox.service}: {id_} was stored at {first} and {second}; kills at {kills}"
        return twice


class Sender:
    """Lets messages arrive at all inboxes in turn, at a steady pace, on a thread of its own."""

    def __init__(self, inboxes: Sequence[Inbox], number: int, seconds: float) -> None:
        self._inboxes = inboxes
        self._number = number
        self._interval = seconds / number
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def busy(self) -> bool:
        if self._error:
            raise self._error
        return self._thread.is_alive()

    def _run(self) -> None:
        due = time.monotonic()
        try:
            for _ in range(self._number):
                for inbox in self._inboxes:
                    inbox.send()
                due += self._interval
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
        except BaseException as error:
            self._error = error
