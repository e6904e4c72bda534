"""What a watcher remembers: which messages are on their way, and whether a burst of events is at its end."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from airflow_messaging.messages import Message

MOST_IN_FLIGHT = 1000
"""Messages handed to Airflow and not yet stored: beyond them the reader waits."""

STALE_S = 600.0
"""So long may a list of unread messages still show what was marked read."""

BURST_S = 60.0
"""Events that follow each other within this time may find the scheduler busy with the one before."""


class Flight:
    """The messages on their way between the service and Airflow's database."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._in_flight: set[str] = set()
        self._left_out_until: dict[str, float] = {}
        self._room = asyncio.Event()
        self._room.set()

    def ids(self) -> dict[str, None]:
        """Return the ids in flight, and those that a list may still show although they have been dealt with."""
        now = self._now()
        self._left_out_until = {id_: until for id_, until in self._left_out_until.items() if until > now}
        return dict.fromkeys([*self._in_flight, *self._left_out_until])

    def has(self, message: Message) -> bool:
        """Say whether a message is handed to Airflow and not stored yet."""
        return message.id in self._in_flight

    def takes_off(self, messages: list[Message]) -> None:
        """Note that messages are handed to Airflow."""
        self._in_flight.update(message.id for message in messages)
        if len(self._in_flight) >= MOST_IN_FLIGHT:
            self._room.clear()

    def lands(self, messages: list[Message], *, stale_s: float = STALE_S) -> None:
        """Note that Airflow has stored messages.

        :param messages: The messages.
        :param stale_s: Seconds for which they are left out if they are listed again; infinite where they stay unread,
            and 0 where a cursor leaves them out.
        """
        self._in_flight.difference_update(message.id for message in messages)
        if stale_s > 0:
            until = self._now() + stale_s
            self._left_out_until.update({message.id: until for message in messages})
        if len(self._in_flight) < MOST_IN_FLIGHT:
            self._room.set()

    async def room(self) -> None:
        """Wait until not too many are in flight."""
        await self._room.wait()


class Burst:
    """Events that follow each other so closely that Airflow may leave the last ones without a DAG run.

    :param flush_after: Seconds of quiet after which a burst is over.
    """

    def __init__(self, flush_after: float, now: Callable[[], float] = time.monotonic) -> None:
        self._flush_after = flush_after
        self._now = now
        self._last: float | None = None
        self._tail: deque[str] = deque(maxlen=MOST_IN_FLIGHT)
        self.has_tail = False

    def add(self, messages: list[Message]) -> None:
        """Note an event."""
        now = self._now()
        if self._last is not None and now - self._last < BURST_S:
            self._tail.extend(message.id for message in messages)
            self.has_tail = True
        self._last = now

    def resume(self) -> None:
        """Note that a burst was going on when its reader died."""
        self._last = self._now()
        self.has_tail = True

    def due_in(self) -> float | None:
        """Return the seconds until the burst has to be ended; None if there is none."""
        if not self.has_tail or self._last is None:
            return None
        return max(0.0, self._last + self._flush_after - self._now())

    def end(self) -> list[str]:
        """End it, and return the ids of the messages that may be without a DAG run, as far as they are known."""
        tail = list(self._tail)
        self._tail.clear()
        self.has_tail = False
        self._last = self._now()
        return tail
