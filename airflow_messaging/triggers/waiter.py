"""One wait among those that share an inbox: where it began, what it wants, and what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_messaging.exceptions import MessagingError

if TYPE_CHECKING:
    from airflow_messaging.messages import Message
    from airflow_messaging.services.base import Flow
    from airflow_messaging.services.receiving import Cursor
    from airflow_messaging.services.selecting import Wanted
    from airflow_messaging.triggers.shared import SharedInbox

Begin = Callable[[Any], "Flow[Cursor]"]
"""Takes the service and returns the flow that finds out where to begin."""

T = TypeVar("T")


class Waiter:
    """One wait among those that share an inbox."""

    __slots__ = ("_future", "_inbox", "begin", "cursor", "limit", "poll_interval", "wanted")

    def __init__(
        self, inbox: SharedInbox, begin: Cursor | Begin, poll_interval: float, wanted: Wanted | None, limit: int | None
    ) -> None:
        from airflow_messaging.services.receiving import Cursor

        self._inbox = inbox
        self._future: asyncio.Future[list[Message]] | None = None
        self.begin = None if isinstance(begin, Cursor) else begin
        self.cursor = begin if isinstance(begin, Cursor) else Cursor()
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
        self.cursor = self.cursor.past(messages, self._inbox.service)
        return messages

    async def run(self, make_work: Callable[[Any], Any]) -> Any:
        """Carry out a call or a flow through the client that the inbox is read with.

        :param make_work: Takes the service and returns the call or flow.
        :raises MessagingError: As the hook's ``arun`` does.
        """
        return await self.use(lambda hook: hook.arun(make_work(hook.service)))

    async def use(self, action: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with the hook that the inbox is read with, once it is open.

        :param action: Takes the hook and returns what is to be awaited.
        :return: What that brings.
        """
        return await self._inbox.client.use(action)

    def leave(self) -> None:
        """Leave; the last one closes everything."""
        self._inbox.leave(self)

    def offer(self, messages: Iterable[Message]) -> None:
        """Offer messages, oldest first; the waiter takes what it wants."""
        if self._future is None or self._future.done():
            return
        try:
            taken = list(islice(self._wanted_of(messages), self.limit))
        except Exception as error:
            failed = MessagingError(f"the filter failed: {type(error).__name__}")
            self._future.set_exception(error if isinstance(error, MessagingError) else failed)
            return
        if taken:
            self._future.set_result(taken)

    def fail(self, error: MessagingError) -> None:
        """End the wait with an error."""
        if self._future is not None and not self._future.done():
            self._future.set_exception(error)

    def _wanted_of(self, messages: Iterable[Message]) -> Iterator[Message]:
        # Others may have been looking further back, where this waiter's cursor no longer knows what it has had.
        seen, start = self.cursor.seen, self.cursor.not_ahead_of(self._inbox.service).window_start
        for message in messages:
            early = start is not None and message.received_at is not None and message.received_at < start
            if not early and message.id not in seen and (self.wanted is None or self.wanted(message)):
                yield message
