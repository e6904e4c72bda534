"""One wait for all: every wait of this process on one inbox shares one poll, one client and one connection look-up.

Each waiter has its own cursor and its own filter. The inbox is asked on behalf of the one that began earliest, and what
comes is offered to all. Ten thousand waits make the requests of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import weakref
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_messaging.exceptions import AuthenticationFailed, MessagingError, is_passing
from airflow_messaging.triggers.failures import as_messaging_error, pause_after
from airflow_messaging.triggers.shared_client import LookUpFailed, SharedClient
from airflow_messaging.triggers.waiter import Begin, Waiter

if TYPE_CHECKING:
    from airflow_messaging.messages import Message
    from airflow_messaging.services.base import Flow
    from airflow_messaging.services.receiving import Cursor
    from airflow_messaging.services.selecting import Wanted

log = logging.getLogger(__name__)

CONNECTION_TRIES = 3
NEVER = math.inf
SHORTEST_PAUSE_S = 0.2
LONGEST_TURN_S = 0.005
"""After so long a time of offering the event loop gets its turn."""

_inboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, SharedInbox]] = weakref.WeakKeyDictionary()


def join(
    conn_id: str,
    begin: Cursor | Begin,
    *,
    poll_interval: float,
    wanted: Wanted | None = None,
    limit: int | None = 1,
) -> Waiter:
    """Join the wait on a connection's inbox; the caller must call ``leave()`` in the end.

    :param conn_id: The connection.
    :param begin: How far this waiter has come, or what finds it out once the service can be asked.
    :param poll_interval: Seconds between two questions; the shortest of all waiters counts.
    :param wanted: Says of a message whether this waiter wants it. Default: all.
    :param limit: The most messages to be given at once. Default 1.
    """
    inboxes = _inboxes.setdefault(asyncio.get_running_loop(), {})
    inbox = inboxes.get(conn_id)
    if inbox is None:
        inbox = inboxes[conn_id] = SharedInbox(conn_id, inboxes)
    return inbox.join(Waiter(inbox, begin, poll_interval, wanted, limit))


def join_without_reading(conn_id: str) -> Waiter:
    """Join for the client only, to make calls with ``run()``; the caller must call ``leave()`` in the end.

    :param conn_id: The connection.
    """
    from airflow_messaging.services.receiving import Cursor

    return join(conn_id, Cursor(), poll_interval=NEVER)


class SharedInbox:
    """The one reader of a connection's inbox in this process.

    A triggerer holds one for each account: it has one task, and nothing stays that is needed only now and then.
    """

    __slots__ = (
        "_begun",
        "_called",
        "_conn_id",
        "_hold_limit",
        "_intervals",
        "_late",
        "_nap",
        "_refused",
        "_registry",
        "_task",
        "_view",
        "_waiters",
        "client",
        "service",
    )

    def __init__(self, conn_id: str, registry: dict[str, SharedInbox]) -> None:
        self._conn_id = conn_id
        self._registry = registry
        self._waiters: dict[Waiter, None] = {}
        self._late: dict[Waiter, None] = {}
        self._intervals: Counter[float] = Counter()
        self._called = False
        self._nap: asyncio.Future[None] | None = None
        self._hold_limit: asyncio.Timeout | None = None
        self._refused = 0
        self._task: asyncio.Task[None] | None = None
        self._view: Any = None
        self._begun = False
        self.client = SharedClient(conn_id)
        self.service: Any = None

    def join(self, waiter: Waiter) -> Waiter:
        """Take a waiter in."""
        self._waiters[waiter] = None
        if self.client.doubt():
            self._interrupt()
        if waiter.poll_interval < self._interval():
            if self._begun and self._interval() == NEVER:
                self._call()  # Nobody was reading: what is known is old.
            self._stir()
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
        if self.client.error is not None:
            waiter.fail(self.client.error)
        elif self._is_known_to(waiter):
            waiter.offer(self._view.messages())
        else:
            self._late[waiter] = None
            self._call()

    def _is_known_to(self, waiter: Waiter) -> bool:
        if waiter.begin is not None or self._view is None or self.client.is_doubted:
            return False
        return bool(self._view.covers(waiter.cursor))

    def _close(self) -> None:
        if self._registry.get(self._conn_id) is self:
            del self._registry[self._conn_id]
        if self._task is not None:
            self._task.cancel()
        self.client.end(MessagingError("the inbox has been left"))

    async def _run(self) -> None:
        try:
            while True:
                try:
                    hook = await self.client.open()
                    try:
                        await self._read_with(hook)
                        await self.client.unused()
                    finally:
                        await self.client.close(hook)
                    self._begin_again()
                except (AuthenticationFailed, LookUpFailed) as error:
                    # The connection may have been changed meanwhile: it is looked up again, but not for ever.
                    self._refused += 1
                    if self._refused >= CONNECTION_TRIES:
                        raise
                    await asyncio.sleep(pause_after(self._refused, self._interval(), error))
        except Exception as error:
            self._end(as_messaging_error(error))

    def _begin_again(self) -> None:
        """Forget what was read over a connection that has been changed."""
        self._view = None
        self._begun = False
        self._late = {waiter: None for waiter in self._waiters if waiter.poll_interval < NEVER}

    def _end(self, error: MessagingError) -> None:
        self.client.end(error)
        if self._registry.get(self._conn_id) is self:
            del self._registry[self._conn_id]
        for waiter in list(self._waiters):
            waiter.fail(error)

    async def _read_with(self, hook: Any) -> None:
        from airflow_messaging.services.view import InboxView

        self.service = hook.service
        self._view = self._view or InboxView(has_read_flag=hook.service.has_read_flag)
        failures = 0
        while True:
            await self.client.look()
            while not self._has_work():
                await self._rest(NEVER)
            if self.client.outdated:
                return
            self._called = False
            late, self._late = self._late, {}
            began = asyncio.get_running_loop().time()
            try:
                fresh = await self._ask(hook, late)
                can_hold = bool(hook.service.long_poll and hook.service.listed)
                if can_hold and not (fresh or late or self._called):
                    fresh = await self._hold(hook)
            except MessagingError as error:
                self._late = {**{waiter: None for waiter in late if waiter in self._waiters}, **self._late}
                if not is_passing(error):
                    raise
                failures += 1
                if failures == 1:
                    log.warning("%s cannot be asked now, the wait goes on: %s", self._conn_id, error)
                await self._sit_out(pause_after(failures, self._interval(), error))
                continue
            if failures:
                log.info("%s answers again", self._conn_id)
            failures = self._refused = 0
            await self._hand_out(fresh, late)
            await self._pause(began, at_once=can_hold and bool(fresh or late))

    def _has_work(self) -> bool:
        reads = self._begun and self._interval() != NEVER
        return bool(reads or self._late or self._called or self.client.outdated)

    async def _ask(self, hook: Any, late: dict[Waiter, None]) -> list[Message]:
        await self._begin(hook, [waiter for waiter in late if waiter.begin is not None])
        late = {waiter: None for waiter in late if waiter.begin is None}
        if not (late or self._begun):
            # Without a beginning the question would be for the whole inbox.
            return []
        listed = await hook.arun(self._view.question(hook.service, [waiter.cursor for waiter in late]))
        fresh: list[Message] = self._view.update(hook.service, listed)
        self._begun = True
        return fresh

    async def _hold(self, hook: Any) -> list[Message]:
        """Wait on the open connection, unless somebody comes who needs another answer."""
        limit = self._hold_limit = asyncio.timeout(None)
        try:
            async with limit:
                taken: list[Message] = self._view.take(await hook.arun(self._view.hold(hook.service)))
                return taken
        except TimeoutError:
            if not limit.expired():
                raise
            return []
        finally:
            self._hold_limit = None

    async def _begin(self, hook: Any, waiters: list[Waiter]) -> None:
        """Find out where these begin; the same question is asked once for all of them."""
        answers: dict[tuple[str, str], Any] = {}
        for waiter in waiters:
            try:
                if waiter.begin is not None:
                    waiter.cursor = await self._asked_once(hook, waiter.begin(hook.service), answers)
                    waiter.begin = None
            except Exception as error:
                if is_passing(error) or isinstance(error, AuthenticationFailed):
                    raise
                # Its own mistake, such as a time that is none.
                failed = MessagingError(f"the beginning cannot be found: {type(error).__name__}")
                waiter.fail(error if isinstance(error, MessagingError) else failed)

    async def _asked_once(self, hook: Any, flow: Flow[Cursor], answers: dict[tuple[str, str], Any]) -> Cursor:
        from airflow_messaging.transport.driving import Finished, advance

        state = advance(flow)
        while not isinstance(state, Finished):
            key = state.endpoint, hook.service.url(state.request)
            if key not in answers:
                answers[key] = await hook.arun(state)
            state = advance(flow, answers[key])
        return state.value

    async def _rest(self, seconds: float) -> None:
        self._nap = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, self.client.next_look_in())):
                await self._nap
        await self.client.look()

    async def _sit_out(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0 and not self.client.outdated:
            await self._rest(left)

    def _stir(self) -> None:
        if self._nap is not None and not self._nap.done():
            self._nap.set_result(None)

    def _call(self) -> None:
        self._called = True
        self._interrupt()

    def _interrupt(self) -> None:
        self._stir()
        if self._hold_limit is not None and not self._hold_limit.expired():
            self._hold_limit.reschedule(0.0)

    async def _hand_out(self, fresh: list[Message], late: dict[Waiter, None]) -> None:
        # Who has called meanwhile needs what is older first: that is for the next question to find.
        others = [waiter for waiter in self._waiters if waiter not in late and waiter not in self._late]
        await self._offer(others, fresh)
        await self._offer(late, self._view.messages())

    async def _offer(self, waiters: Iterable[Waiter], messages: list[Message]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for waiter in waiters if messages else ():
            waiter.offer(messages)
            if loop.time() - began > LONGEST_TURN_S:
                await asyncio.sleep(0)
                began = loop.time()

    async def _pause(self, began: float, *, at_once: bool) -> None:
        await asyncio.sleep(SHORTEST_PAUSE_S)
        while not (at_once or self._called or self.client.outdated):
            left = began + self._interval() - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await self._rest(left)

    def _interval(self) -> float:
        return min(self._intervals, default=1.0)
