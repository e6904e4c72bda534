"""What a task knows of each message of a list: a record in pages, in Airflow's task state store where there is one."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_messaging.exceptions import may_have_had_effect
from airflow_messaging.messages import Draft, Outcome, Receipt
from airflow_messaging.operators.once import Record

PAGE_SIZE = 200
"""Messages on a page. Airflow warns of values over 64 KiB; a message takes about 150 bytes."""
INTERVAL_S = 1.0
"""Seconds between two writes of answers. A write takes 10 to 20 ms, and each is a request to Airflow's API server."""
_KEY_LENGTH = 16
_MILLISECONDS = 3

log = logging.getLogger(__name__)

Row = dict[str, Any]


class Ledger:
    """The record of a list of messages: what has begun, what has ended, and what the service answered.

    :param store: Airflow's task state store. Default: none, before Airflow 3.3.
    :param name: What tells this list from others of the same task.
    """

    def __init__(self, store: Any, name: str) -> None:
        self._store = store
        self._name = name
        self._pages: list[dict[str, Row]] = []
        self._changed: set[int] = set()
        while store is not None and (page := store.get(self._key(len(self._pages)))) is not None:
            self._pages.append(page)

    @property
    def outlives_the_process(self) -> bool:
        """Whether the next try will find it."""
        return self._store is not None

    def row(self, key: str) -> Row:
        """Return what is known of a message; empty if that is nothing."""
        return next((page[key] for page in self._pages if key in page), {})

    def put(self, key: str, row: Row) -> None:
        """Change what is known of a message; with an empty row, forget it."""
        number = next((number for number, page in enumerate(self._pages) if key in page), None)
        if number is None:
            if not row:
                return
            if not self._pages or len(self._pages[-1]) >= PAGE_SIZE:
                self._pages.append({})
            number = len(self._pages) - 1
        if row:
            self._pages[number][key] = row
        else:
            del self._pages[number][key]
        self._changed.add(number)

    def is_taken(self, message_id: str, key: str) -> bool:
        """Say whether another message of the list is known to be the one that the service knows by this id."""
        rows = (row for page in self._pages for other, row in page.items() if other != key)
        return any(row.get("receipt", {}).get("id") == message_id for row in rows)

    def take_changes(self) -> list[tuple[str, dict[str, Row]]]:
        """Return the pages that have changed, to be written in this order."""
        numbers, self._changed = sorted(self._changed), set()
        return [(self._key(number), dict(self._pages[number])) for number in numbers]

    def write(self, pages: Iterable[tuple[str, dict[str, Row]]]) -> None:
        """Write pages, where there is a store."""
        for key, page in pages:
            if self._store is not None:
                self._store.set(key, page)

    def save(self) -> None:
        """Write all that has changed."""
        self.write(self.take_changes())

    def save_all(self) -> None:
        """Write all, whether it has changed or not: a write before may have failed."""
        self._changed = set(range(len(self._pages)))
        self.save()

    def _key(self, number: int) -> str:
        return f"airflow_messaging.{self._name}.list.{number}"


class Line:
    """The record of one message of the list.

    :param ledger: The whole list.
    :param identity: What tells the message from the others, the same on every try.
    :param draft: The message.
    :param service: Connection type of the service.
    """

    def __init__(self, ledger: Ledger, identity: str, draft: Draft, service: str) -> None:
        self.draft = draft
        self.key = identity.replace("-", "")[:_KEY_LENGTH]
        self._ledger = ledger
        row = ledger.row(self.key)
        self.record = Record(
            message_id=draft.message_id,
            digest=identity,
            began=_time(row.get("began")),
            ended=_time(row.get("ended")),
            receipt=Receipt.from_dict({"service": service, **row["receipt"]}) if "receipt" in row else None,
        )

    @property
    def outlives_the_process(self) -> bool:
        """Whether the next try will find it."""
        return self._ledger.outlives_the_process

    @property
    def in_doubt(self) -> bool:
        """Whether the message may have been sent."""
        return self.record.began is not None and self.record.receipt is None

    def is_taken(self, receipt: Receipt) -> bool:
        """Say whether a receipt is known to be that of another message of the list."""
        return self._ledger.is_taken(receipt.id, self.key)

    def note(self, **changes: Any) -> None:
        """Change the record; it is kept with the next write."""
        self.record = dataclasses.replace(self.record, **changes)
        receipt = {} if self.record.receipt is None else self.record.receipt.to_dict()
        known = {name: value for name, value in receipt.items() if value and name != "service"}
        row = {"began": _seconds(self.record.began), "ended": _seconds(self.record.ended), "receipt": known}
        self._ledger.put(self.key, {name: value for name, value in row.items() if value})

    def write(self, **changes: Any) -> None:
        """Change the record and keep it."""
        self.note(**changes)
        self._ledger.save()

    def forget(self) -> None:
        """Keep no record: the message has not been sent."""
        self.write(began=None, ended=None, receipt=None)


class Keeper:
    """Keeps the record while many messages are sent at once.

    A message is noted before it is sent, but not each with a write of its own: so many are noted with one write as were
    sent in the last second or so. If the process is killed, no more than these are in doubt.

    :param ledger: The list.
    :param lines: The messages that are sent, in order.
    :param clock: Returns the present time, aware, as records have it.
    :param concurrency: How many are on their way at a time.
    """

    def __init__(self, ledger: Ledger, lines: Sequence[Line], clock: Callable[[], datetime], concurrency: int) -> None:
        self._ledger = ledger
        self._lines = lines
        self._clock = clock
        self._concurrency = concurrency
        self._noted = 0
        self._to_be_noted = 0
        self._ahead = 0
        self._begun: set[int] = set()
        self._written_at = -INTERVAL_S
        self._writing = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None

    async def begin(self, position: int) -> None:
        """Take note that a message is about to be sent."""
        while position >= self._noted:
            async with self._writing:
                if position >= self._noted:
                    await self._note_some()
        self._begun.add(position)

    def end(self, position: int, outcome: Outcome) -> None:
        """Take note of an outcome."""
        line = self._lines[position]
        if outcome.receipt is not None:
            line.note(receipt=dataclasses.replace(outcome.receipt, raw={}))
        elif outcome.error is not None and may_have_had_effect(outcome.error):
            line.note(ended=self._clock())
        else:
            line.note(began=None, ended=None)
        if time.monotonic() - self._written_at >= INTERVAL_S and (self._background is None or self._background.done()):
            self._background = asyncio.create_task(self._write_answers())

    def close(self) -> None:
        """Take note of what was not sent after all, and of what nobody knows; write all that is left to write."""
        for position, line in enumerate(self._lines[: self._to_be_noted]):
            if position not in self._begun:
                line.note(began=None, ended=None)
            elif line.in_doubt and line.record.ended is None:
                line.note(ended=self._clock())
        save_or_warn(self._ledger.save_all)

    async def _note_some(self) -> None:
        quick = time.monotonic() - self._written_at < INTERVAL_S
        self._ahead = 2 * self._ahead if quick else self._concurrency
        noted = min(self._noted + self._ahead, len(self._lines))
        # Known before the write: if that fails, what was not kept was not sent either.
        self._to_be_noted = noted
        for line in self._lines[self._noted : noted]:
            line.note(began=self._clock())
        await self._write()
        self._noted = noted

    async def _write(self) -> None:
        self._written_at = time.monotonic()
        await asyncio.to_thread(self._ledger.write, self._ledger.take_changes())

    async def _write_answers(self) -> None:
        async with self._writing:
            pages = self._ledger.take_changes()
            self._written_at = time.monotonic()
            await asyncio.to_thread(save_or_warn, functools.partial(self._ledger.write, pages))


def save_or_warn(save: Callable[[], None]) -> None:
    """Save answers. The messages are out: to fail now would bring about the very retry that is to be avoided."""
    try:
        save()
    except Exception as error:
        log.warning("The answers could not be kept: %s", type(error).__name__)


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else round(when.timestamp(), _MILLISECONDS)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
