"""Reads an inbox for a watcher: what has come, in events; and how these are acknowledged once they are stored."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
import weakref
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_messaging.exceptions import MessagingError, is_passing
from airflow_messaging.messages import JsonDict, Message
from airflow_messaging.services.base import Service
from airflow_messaging.services.receiving import OVERLAP, Cursor, read_along, start
from airflow_messaging.services.selecting import Selection, Wanted
from airflow_messaging.triggers import inbox_messages, inbox_places, shared
from airflow_messaging.triggers.failures import as_messaging_error, pause_after, until_it_passes
from airflow_messaging.triggers.inbox_flight import Burst, Flight
from airflow_messaging.triggers.shared_client import AccountChanged

if TYPE_CHECKING:
    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.triggers.waiter import Waiter

log = logging.getLogger(__name__)

COMES_AGAIN_S = 60.0
"""So long is left out what could not be acknowledged, where nobody else sees to its coming again."""

WELL_AFTER_S = 60.0
"""A watcher that failed only after so long had been well meanwhile, even if no message came."""

_reading: weakref.WeakValueDictionary[tuple[str, str], InboxReader] = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """What it takes to acknowledge an event.

    :param messages: Its messages.
    :param cursor: The cursor that has them behind it.
    :param has_tail: Whether a burst was going on when it was made, so that its end must not be forgotten.
    :param marked: Whether they have been marked read before, and are kept until they are handed over.
    :param partial: Ids of those of which nobody has everything that the service gives out only while they are unread.
    """

    messages: list[Message]
    cursor: Cursor
    has_tail: bool
    marked: bool = False
    partial: frozenset[str] = frozenset()


class InboxReader:
    """The one reader of an inbox under a reader's name.

    :param conn_id: The connection.
    :param reader: The name under which the place is kept.
    :param options: The other arguments of :class:`~airflow_messaging.triggers.inbox.InboxTrigger`.
    """

    def __init__(self, *, conn_id: str, reader: str, **options: Any) -> None:
        self.conn_id = conn_id
        self.reader = reader
        self._places = inbox_places.places(conn_id, reader)
        self._asset: str | None = options["asset"]
        self._after = options["after"]
        self._poke_interval: float = options["poke_interval"]
        self._gather: float = options["gather"]
        self._max_messages: int = options["max_messages"]
        self._spool: str | None = options["spool"]
        self._selection = Selection(**{field.name: options[field.name] for field in dataclasses.fields(Selection)})
        self._wanted: Wanted | None = None
        self._waiter: Waiter | None = None
        self._waiting: asyncio.Future[list[Message]] | None = None
        self._stirred = asyncio.Event()
        self._has_to_ask_anew = False
        self._flight = Flight()
        self._burst = Burst(options["flush_after"])
        self._marked: dict[str, Message] = {}
        self._to_hand_over: list[Message] = []
        self._ended = asyncio.Event()
        self._placed = False
        self._tail_remembered = False
        self._cursor: Cursor
        self._service: Service
        self._head: JsonDict

    async def stream(self) -> AsyncIterator[tuple[JsonDict, Receipt]]:
        """Yield events for ever, each with what it takes to acknowledge it. A failing service is asked again."""
        failures = 0
        try:
            while True:
                tried_at = time.monotonic()
                try:
                    self._waiter = await self._open()
                    async for item in self._events(self._waiter):
                        failures = 0
                        yield item
                except AccountChanged:
                    # What is under way belongs to the account before: Airflow begins anew with nothing in flight.
                    raise
                except Exception as error:
                    was_well = time.monotonic() - tried_at > WELL_AFTER_S
                    failures = 1 if was_well else failures + 1
                    problem = as_messaging_error(error)
                    if failures == 1:
                        log.error("%s cannot be watched now, it is tried again: %s", self.conn_id, problem)
                    self._leave()
                    await asyncio.sleep(pause_after(failures, 5.0, problem))
        finally:
            self._ended.set()

    async def pause(self, seconds: float) -> None:
        """Pause, but no longer than until the stream ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    async def settle(self, receipts: list[Receipt]) -> None:
        """Acknowledge events that are stored, oldest first. While the service is out of reach, this goes on trying.

        Nothing is acknowledged any more once the stream has ended: a triggerer that stops must not wait for a service,
        nor for an Airflow that answers no more. The messages come again.

        :raises MessagingError: If that cannot be done; the messages will come again.
        """
        await until_it_passes(
            lambda: self._settle(receipts),
            interval=self._poke_interval,
            pause=self.pause,
            on_first=lambda error: log.warning(
                "%s cannot take acknowledgements now, they are tried again: %s", self.conn_id, error
            ),
        )

    async def settle_later(self, receipt: Receipt, seconds: float) -> None:
        """Acknowledge an event after some time, where nobody says when it is stored."""
        await asyncio.sleep(seconds)
        try:
            await self.settle([receipt])
        except Exception as error:
            problem = as_messaging_error(error)
            log.error("%s: messages could not be acknowledged and will come again: %s", self.conn_id, problem)
            self._flight.lands(receipt.messages, stale_s=COMES_AGAIN_S)
            await asyncio.sleep(COMES_AGAIN_S)
            self._has_to_ask_anew = True
            self._stirred.set()

    def close(self) -> None:
        """Leave the inbox."""
        self._leave()
        if _reading.get((self.conn_id, self.reader)) is self:
            del _reading[self.conn_id, self.reader]

    # -- where the reader stands ------------------------------------------------------------------------------------

    async def _open(self) -> Waiter:
        if _reading.setdefault((self.conn_id, self.reader), self) is not self:
            raise MessagingError(f"another watcher reads as '{self.reader}': each needs a reader of its own")
        client = shared.join_without_reading(self.conn_id)
        try:
            self._service, account = await client.use(_service_and_account)
            self._head = {
                "service": self._service.name,
                "conn_id": self.conn_id,
                "account": account,
                "messages": [],
                "repeats": [],
            }
            holder = inbox_places.Holder(self.reader, self.conn_id, self._asset)
            if self._service.has_read_flag:
                await inbox_places.claim_inbox(self._service.name, account, holder)
            else:
                await inbox_places.claim_place(holder)
            self._cursor = await self._place(client)
            self._placed = True
            kept = await inbox_places.load(self._places.marked) or []
            self._marked = {message.id: message for message in map(Message.from_dict, kept)}
            self._to_hand_over = list(self._marked.values())
            if not self._tail_remembered and await inbox_places.load(self._places.tail):
                self._tail_remembered = True
                self._burst.resume()
            wanted = self._wanted = self._wanted or inbox_messages.lenient(self._selection, self.conn_id)
            return shared.join(self.conn_id, self._cursor, poll_interval=self._poke_interval, wanted=wanted, limit=None)
        finally:
            client.leave()

    async def _place(self, client: Waiter) -> Cursor:
        if self._placed:
            return self._cursor
        kept = await inbox_places.load(self._places.cursor)
        if kept is not None:
            return Cursor.from_dict(kept)
        now = datetime.now(UTC)
        try:
            cursor: Cursor = await client.run(lambda service: start(service, self._after, run_started=now, now=now))
        except MessagingError as error:
            if not is_passing(error) or self._after not in (None, "now"):
                raise
            # Its clock is not known: rather too early than too late.
            cursor = Cursor(floor=now.replace(microsecond=0) - OVERLAP)
        await self._save_cursor(cursor)
        return cursor

    # -- from messages to events ------------------------------------------------------------------------------------

    async def _events(self, waiter: Waiter) -> AsyncIterator[tuple[JsonDict, Receipt]]:
        while True:
            if self._to_hand_over:
                marked, self._to_hand_over = self._to_hand_over, []
                async for item in self._handed_over(waiter, marked, marked=True):
                    yield item
            messages = await self._next(waiter, self._burst.due_in(), beyond=[])
            if not messages and self._burst.due_in() == 0:
                yield {**self._head, "repeats": self._burst.end()}, Receipt([], self._cursor, has_tail=False)
            until = time.monotonic() + self._gather
            while messages and len(messages) < self._max_messages and (left := until - time.monotonic()) > 0:
                messages += await self._next(waiter, left, beyond=messages)
            async for item in self._handed_over(waiter, messages):
                yield item

    async def _next(self, waiter: Waiter, seconds: float | None, *, beyond: list[Message]) -> list[Message]:
        """Return what comes next; nothing if the time is over, or something else is to be done."""
        if self._has_to_ask_anew:
            self._has_to_ask_anew = False
            await self._stop_waiting()
        if self._waiting is None:
            if self._service.has_read_flag:
                # Time says nothing about what is unread; what is in flight or about to be is left out.
                seen = {**self._flight.ids(), **dict.fromkeys(message.id for message in beyond)}
                waiter.cursor = dataclasses.replace(self._cursor, since=None, seen=seen)
            self._waiting = asyncio.ensure_future(waiter.next())
        stirred = asyncio.ensure_future(self._stirred.wait())
        either: set[asyncio.Future[Any]] = {self._waiting, stirred}
        try:
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stirred.cancel()
        self._stirred.clear()
        if not self._waiting.done():
            return []
        came, self._waiting = self._waiting, None
        return came.result()

    async def _stop_waiting(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.cancel()
            await asyncio.wait([self._waiting])
            self._waiting = None

    async def _handed_over(
        self, waiter: Waiter, messages: list[Message], *, marked: bool = False
    ) -> AsyncIterator[tuple[JsonDict, Receipt]]:
        for begin in range(0, len(messages), self._max_messages):
            part = messages[begin : begin + self._max_messages]
            packed = [await self._packed(message, waiter) for message in part]
            for pairs in inbox_messages.parts(zip(packed, part, strict=True)):
                await self._flight.room()
                together = [message for _, message in pairs]
                if not (marked or self._service.has_read_flag):
                    self._cursor = self._cursor.past(together, self._service)
                self._flight.takes_off(together)
                self._burst.add(together)
                payload = {**self._head, "messages": [carried for carried, _ in pairs]}
                partial = inbox_messages.partial(pairs, self._service)
                yield payload, Receipt(together, self._cursor, self._burst.has_tail, marked, partial)

    async def _packed(self, message: Message, waiter: Waiter) -> JsonDict:
        return await inbox_messages.packed(message, waiter, spool=self._spool, conn_id=self.conn_id)

    # -- acknowledging ----------------------------------------------------------------------------------------------

    async def _settle(self, receipts: list[Receipt]) -> None:
        if self._ended.is_set():
            return
        await self._remember_tail(receipts[-1].has_tail)
        await self._forget_marked([message for receipt in receipts for message in receipt.messages])
        self._flight.lands([message for receipt in receipts if receipt.marked for message in receipt.messages])
        messages = [message for receipt in receipts if not receipt.marked for message in receipt.messages]
        if not messages:
            return
        if self._service.has_read_flag:
            await self._mark_read(messages, frozenset().union(*(receipt.partial for receipt in receipts)))
        else:
            await self._save_cursor(receipts[-1].cursor)
            self._flight.lands(messages, stale_s=0)

    async def _remember_tail(self, has_tail: bool) -> None:
        if has_tail is not self._tail_remembered:
            said = "Whether a burst of messages has to be followed by an event"
            await inbox_places.save(self._places.tail, has_tail, said)
            self._tail_remembered = has_tail

    async def _mark_read(self, messages: list[Message], partial: frozenset[str]) -> None:
        waiter = self._waiter
        if waiter is None:
            raise MessagingError("the inbox has been left")
        unready = [message for message in messages if message.id in partial]
        ready = inbox_messages.apart_from(messages, unready)
        along = await waiter.run(lambda service: read_along(service, ready))
        packed = [(await self._packed(message, waiter), message) for message in along]
        at_stake = inbox_messages.partial(packed, self._service)
        unready += [message for message in along if message.id in at_stake]
        ready = inbox_messages.apart_from(ready, unready)
        # The answer to marking may be lost, or a stop may come before it: what it would bring is kept before.
        await self._keep_marked(inbox_messages.apart_from(along, unready), until_stopped=True)
        await self._keep_marked(await waiter.run(lambda service: service.mark_read(ready)))
        self._flight.lands(ready)
        marked = {message.id for message in ready}
        self._flight.lands([message for message in messages if message.id not in marked], stale_s=math.inf)

    async def _keep_marked(self, handed_out: list[Message], *, until_stopped: bool = False) -> None:
        """Keep what is marked read along with others, and not stored: nobody will get it from the service again."""
        known = self._flight.ids()
        new = [message for message in handed_out if message.id not in known]
        under_way = [message for message in handed_out if self._flight.has(message) and message.id not in self._marked]
        if not (new or under_way):
            return
        log.warning("%s: %d more messages are marked read along with others", self.conn_id, len(new) + len(under_way))
        self._marked |= {message.id: message for message in (*new, *under_way)}
        self._flight.takes_off(new)
        failures = 0
        while not await self._saved_marked():
            if until_stopped and self._ended.is_set():
                raise MessagingError("the watcher was stopped before it could mark anything read")
            failures += 1
            pause = self.pause if until_stopped else asyncio.sleep
            await pause(min(2.0**failures, 60.0))
        self._to_hand_over += new
        self._stirred.set()

    async def _forget_marked(self, messages: list[Message]) -> None:
        stored = [message for message in messages if self._marked.pop(message.id, None) is not None]
        if stored:
            await self._saved_marked()

    async def _saved_marked(self) -> bool:
        value = [message.to_dict() for message in self._marked.values()]
        try:
            said = "Messages marked read that Airflow has not stored yet"
            await inbox_places.save(self._places.marked, value, said)
        except Exception as error:
            log.error("%s: messages cannot be kept: %s", self.conn_id, type(error).__name__)
            return False
        return True

    async def _save_cursor(self, cursor: Cursor) -> None:
        said = f"How far the watcher '{self.reader}' has come"
        await inbox_places.save(self._places.cursor, cursor.to_dict(), said)

    def _leave(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._waiter is not None:
            self._waiter.leave()
            self._waiter = None


async def _service_and_account(hook: MessagingHook[Any]) -> tuple[Service, str]:
    return hook.service, inbox_places.account_of(hook.service.name, hook.settings.base_url, hook.settings.login)
