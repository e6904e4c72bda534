"""What all sandbox services share: the clock, the timers, random ids and the spool directory."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

ALPHANUMERICS = string.ascii_letters + string.digits


class Clock:
    """The sandbox's time: the machine's, moved by an offset, and standing still on request."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Show the machine's time again."""
        self._offset = timedelta()
        self._frozen_at: datetime | None = None

    @property
    def offset_s(self) -> float:
        """Seconds by which this clock is ahead of the machine's."""
        return self._offset.total_seconds()

    @property
    def frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._frozen_at is not None

    def move(self, offset_s: float, *, frozen: bool = False) -> None:
        """Set the offset from the machine's time; a frozen clock keeps the moment of this call."""
        offset = timedelta(seconds=offset_s)
        machine = datetime.now(UTC)
        machine + offset  # an offset beyond the calendar must fail here, not at the next request
        self._offset = offset
        self._frozen_at = machine if frozen else None

    def now(self) -> datetime:
        """Aware, UTC."""
        return (self._frozen_at or datetime.now(UTC)) + self._offset


@dataclass(order=True)
class _Appointment:
    due: datetime
    order: int
    action: Callable[[], object] = field(compare=False)


class Timers:
    """Things to happen later: after some real seconds, or when the sandbox's clock shows a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handles: set[asyncio.TimerHandle] = set()
        self._appointments: list[_Appointment] = []
        self._order = itertools.count()
        self._next: asyncio.TimerHandle | None = None

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Run `action` when this many real seconds have passed."""

        def run() -> None:
            self._handles.discard(handle)
            action()

        handle = asyncio.get_running_loop().call_later(seconds, run)
        self._handles.add(handle)

    def at(self, due: datetime, action: Callable[[], object]) -> None:
        """Run `action` when the sandbox's clock shows `due`, also if it is moved there."""
        heapq.heappush(self._appointments, _Appointment(due, next(self._order), action))
        self.clock_moved()

    def clock_moved(self) -> None:
        """Run what is due by now and wait for the next appointment."""
        if self._next:
            self._next.cancel()
            self._next = None
        while self._appointments and self._appointments[0].due <= self._clock.now():
            heapq.heappop(self._appointments).action()
        if self._appointments:
            wait = (self._appointments[0].due - self._clock.now()).total_seconds()
            # A day at most: the event loop refuses waits beyond some years.
            self._next = asyncio.get_running_loop().call_later(max(0.01, min(wait, 86400.0)), self.clock_moved)

    def cancel_all(self) -> None:
        """Forget everything that has not happened yet."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
        self._appointments.clear()
        self.clock_moved()


@dataclass
class World:
    """One running sandbox, as the services see it."""

    spool_dir: Path
    echo: bool = True
    hold_s: float = 50.0
    echo_delay_s: float = 1.0

    def __post_init__(self) -> None:
        """Start the clock."""
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.closing = asyncio.Event()

    def now(self) -> datetime:
        """Tell the sandbox's time."""
        return self.clock.now()

    def echo_soon(self, action: Callable[[], object], *, not_before: datetime | None = None) -> None:
        """Let the peer answer about a second from now, or a second after a scheduled message goes out."""
        if not self.echo:
            return
        if not_before is not None and not_before > self.now():
            self.timers.at(not_before, lambda: self.timers.after(self.echo_delay_s, action))
        else:
            self.timers.after(self.echo_delay_s, action)


def random_text(length: int, alphabet: str = ALPHANUMERICS) -> str:
    """Random characters, for ids and tokens."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def random_hex(length: int) -> str:
    """Random lower-case hexadecimal digits."""
    return random_text(length, "0123456789abcdef")


def compact(moment: datetime) -> str:
    """`2024-10-28 20:11:57`: how three of the five services write a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
