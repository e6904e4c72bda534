"""One wait for all: every wait of this process on one inbox shares one poll, one client and one connection look-up.

Each waiter has its own cursor and its own idea of which messages it wants. The inbox is asked on behalf of the one that
began earliest, and what comes is offered to all of them. Ten thousand waits make the requests of one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_messaging.exceptions import AuthenticationFailed, MessagingError, is_passing

if TYPE_CHECKING:
    from airflow_messaging.messages import Message
    from airflow_messaging.services.receiving import Cursor

log = logging.getLogger(__name__)

Wanted = Callable[["Message"], bool]

AUTHENTICATION_TRIES = 3
LONGEST_BACKOFF_S = 60.0
LONGEST_RETRY_AFTER_S = 3600.0
SHORTEST_PAUSE_S = 0.2
OFFERS_AT_ONCE = 500
"""After so many offers the event loop gets its turn."""

_inboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, SharedInbox]] = weakref.WeakKeyDictionary()


def join(
    conn_id: str, cursor: Cursor, *, poll_interval: float, wanted: Wanted | None = None, limit: int | None = 1
) -> Waiter:
    """Join the wait on a connection's inbox; the caller must call ``leave()`` in the end.

    :param conn_id: The connection.
    :param cursor: How far this waiter has come.
    :param poll_interval: Seconds between two questions; the shortest of all waiters counts.
    :param wanted: Says of a message whether this waiter wants it. Default: all.
    :param limit: The most messages to be given at once. Default 1.
    """
    inboxes = _inboxes.setdefault(asyncio.get_running_loop(), {})
    inbox = inboxes.get(conn_id)
    if inbox is None:
        inbox = inboxes[conn_id] = SharedInbox(conn_id, inboxes)
    return inbox.join(Waiter(inbox, cursor, poll_interval, wanted, limit))


class Waiter:
    """One wait among those that share an inbox."""

    __slots__ = ("_future", "_inbox", "cursor", "limit", "poll_interval", "wanted")

    def __init__(
        self, inbox: SharedInbox, cursor: Cursor, poll_interval: float, wanted: Wanted | None, limit: int | None
    ) -> None:
        self._inbox = inbox
        self._future: asyncio.Future[list[Message]] | None = None
        self.cursor = cursor
        self.poll_interval = poll_interval
        self.wanted = wanted
        self.limit = limit

    async def next(self) -> list[Message]:
        """Wait for the next messages that this waiter wants, oldest first, and move its cursor past them.

        **Delivery**: nothing is acknowledged. A wait that is interrupted begins again where its stored cursor stands.

        :raises MessagingError: If the inbox cannot be read and this will not change by itself.
        """
        self._future = asyncio.get_running_loop().create_future()
        self._inbox.serve(self)
        try:
            messages = await self._future
        finally:
            self._future = None
        self.cursor = self.cursor.past(messages)
        return messages

    def leave(self) -> None:
        """Leave; the last one closes everything."""
        self._inbox.leave(self)

    def offer(self, messages: Iterable[Message]) -> None:
        """Offer messages, oldest first; the waiter takes what it wants."""
        if self._future is None or self._future.done():
            return
        try:
            taken = [message for message in messages if self._takes(message)]
        except Exception as error:
            self._future.set_exception(MessagingError(f"the filter failed: {type(error).__name__}"))
            return
        if taken:
            self._future.set_result(taken[: self.limit])

    def fail(self, error: MessagingError) -> None:
        """End the wait with an error."""
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)

    def _takes(self, message: Message) -> bool:
        cursor = self.cursor
        if message.id in cursor.seen:
            return False
        early = cursor.floor is not None and message.received_at is not None and message.received_at < cursor.floor
        return not early and (self.wanted is None or self.wanted(message))


class SharedInbox:
    """The one reader of a connection's inbox in this process."""

    def __init__(self, conn_id: str, registry: dict[str, SharedInbox]) -> None:
        self._conn_id = conn_id
        self._registry = registry
        self._waiters: dict[Waiter, None] = {}
        self._late: dict[Waiter, None] = {}
        self._intervals: Counter[float] = Counter()
        self._called = asyncio.Event()
        self._error: MessagingError | None = None
        self._task: asyncio.Task[None] | None = None
        self._view: Any = None

    def join(self, waiter: Waiter) -> Waiter:
        """Take a waiter in."""
        self._waiters[waiter] = None
        self._intervals[waiter.poll_interval] += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"inbox of {self._conn_id}")
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Let a waiter go; the last one takes everything with it."""
        if self._waiters.pop(waiter, self) is self:
            return
        self._late.pop(waiter, None)
        self._intervals[waiter.poll_interval] -= 1
        if not self._intervals[waiter.poll_interval]:
            del self._intervals[waiter.poll_interval]
        if not self._waiters:
            self._close()

    def serve(self, waiter: Waiter) -> None:
        """Offer a waiter what is known, where that is enough for its cursor, or else ask the service for it."""
        if self._error is not None:
            waiter.fail(self._error)
        elif self._view is not None and self._view.covers(waiter.cursor):
            waiter.offer(self._view.messages())
        else:
            self._late[waiter] = None
            self._called.set()

    def _close(self) -> None:
        if self._registry.get(self._conn_id) is self:
            del self._registry[self._conn_id]
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._read_on()
        except MessagingError as error:
            self._end(error)
        except Exception as error:
            self._end(MessagingError(f"the inbox cannot be read: {type(error).__name__}"))

    def _end(self, error: MessagingError) -> None:
        self._error = error
        if self._registry.get(self._conn_id) is self:
            del self._registry[self._conn_id]
        for waiter in list(self._waiters):
            waiter.fail(error)

    async def _read_on(self) -> None:
        # The first import of the HTTP libraries takes a while: it must not hold up the event loop.
        registry = await asyncio.to_thread(import_module, "airflow_messaging.hooks.registry")
        refused = 0
        while True:
            try:
                async with await registry.async_hook_for(self._conn_id) as hook:
                    await self._read_with(hook)
            except AuthenticationFailed:
                # The connection may have been changed meanwhile: it is looked up again, but not for ever.
                refused += 1
                if refused >= AUTHENTICATION_TRIES:
                    raise
                await asyncio.sleep(_backoff(refused, self._interval(), None))

    async def _read_with(self, hook: Any) -> None:
        from airflow_messaging.services.view import InboxView

        self._view = self._view or InboxView(has_read_flag=hook.service.has_read_flag)
        failures = 0
        while True:
            self._called.clear()
            late, self._late = self._late, {}
            began = asyncio.get_running_loop().time()
            try:
                fresh = await self._ask(hook, late)
            except MessagingError as error:
                self._late = {**late, **self._late}
                if not is_passing(error):
                    raise
                failures += 1
                if failures == 1:
                    log.warning("%s cannot be asked now, the wait goes on: %s", self._conn_id, error)
                await asyncio.sleep(_backoff(failures, self._interval(), getattr(error, "retry_after", None)))
                continue
            if failures:
                log.info("%s answers again", self._conn_id)
            failures = 0
            await self._offer([waiter for waiter in self._waiters if waiter not in late], fresh)
            await self._offer(list(late), self._view.messages())
            await self._pause(began)

    async def _ask(self, hook: Any, late: Iterable[Waiter]) -> list[Message]:
        listed = await hook.arun(self._view.question(hook.service, [waiter.cursor for waiter in late]))
        fresh: list[Message] = self._view.update(hook.service, listed)
        if fresh or late or not hook.service.long_poll or not hook.service.listed:
            return fresh
        held = hook.arun(self._view.hold(hook.service))
        taken: list[Message] = self._view.take(await self._until_called(held))
        return taken

    async def _until_called(self, held: Any) -> list[Message]:
        """Wait on the open connection, unless somebody comes who needs another answer."""
        holding = asyncio.ensure_future(held)
        called = asyncio.ensure_future(self._called.wait())
        try:
            await asyncio.wait((holding, called), return_when=asyncio.FIRST_COMPLETED)
            came: list[Message] = holding.result() if holding.done() else []
            return came
        finally:
            holding.cancel()
            called.cancel()
            await asyncio.gather(holding, called, return_exceptions=True)

    async def _offer(self, waiters: list[Waiter], messages: list[Message]) -> None:
        for number, waiter in enumerate(waiters if messages else (), 1):
            waiter.offer(messages)
            if number % OFFERS_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _pause(self, began: float) -> None:
        spent = asyncio.get_running_loop().time() - began
        await asyncio.sleep(SHORTEST_PAUSE_S)
        try:
            async with asyncio.timeout(max(0.0, self._interval() - spent - SHORTEST_PAUSE_S)):
                await self._called.wait()
        except TimeoutError:
            pass

    def _interval(self) -> float:
        return min(self._intervals, default=1.0)


def _backoff(failures: int, interval: float, retry_after: float | None) -> float:
    longest = min(LONGEST_BACKOFF_S, max(1.0, interval) * 2 ** min(failures, 6))
    return max(random.uniform(longest / 2, longest), min(retry_after or 0.0, LONGEST_RETRY_AFTER_S))
