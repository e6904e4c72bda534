"""Waits that run in the triggerer: the next message, and the state of a sent one."""

from __future__ import annotations

import abc
import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow_messaging.triggers import shared

INLINE_LIMIT = 64 * 1024
"""A message whose JSON is longer does not travel in the event: the task fetches it."""


class RedactedEvent(TriggerEvent):
    """An event whose payload stays out of the triggerer's log, which prints the ``repr`` of every event."""

    def __repr__(self) -> str:
        """Show how the wait ended and nothing of what came."""
        return f"TriggerEvent<{self.payload.get('status')}>"

    __str__ = __repr__


class WaitTrigger(BaseTrigger, abc.ABC):
    """Waits until there is a result or the time is over.

    A service that is out of reach for the moment is asked again with growing pauses, with one warning per change of
    state; every other error ends the wait as an event. Nothing secret is among the arguments: they are stored.

    :param conn_id: The connection.
    :param poke_interval: Seconds between two questions.
    :param end_at: When to give up, ISO 8601 with a zone.
    """

    def __init__(self, *, conn_id: str, poke_interval: float, end_at: str, **_from_another_version: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.poke_interval = poke_interval
        self.end_at = end_at

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {"conn_id": self.conn_id, "poke_interval": self.poke_interval, "end_at": self.end_at}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    @abc.abstractmethod
    async def wait(self) -> dict[str, Any]:
        """Wait, and return the payload of the event."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield exactly one event: found, timeout or error."""
        from airflow_messaging.exceptions import to_dict
        from airflow_messaging.triggers.failures import as_messaging_error

        limit = asyncio.timeout(self._remaining())
        try:
            async with limit:
                payload = await self.wait()
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                payload = {"status": "timeout"}
            else:
                payload = {"status": "error", "error": to_dict(as_messaging_error(error))}
        yield RedactedEvent(payload=payload)

    def _remaining(self) -> float:
        return (datetime.fromisoformat(self.end_at) - datetime.now(UTC)).total_seconds()


class NextMessageTrigger(WaitTrigger):
    """Waits for the next messages, together with all other waits of this process on the same connection.

    **Delivery**: nothing is acknowledged here; a wait that is interrupted begins again at the same cursor.

    :param conn_id: The connection.
    :param cursor: Where to begin, as JSON. Default: what ``begin`` says.
    :param begin: What :func:`~airflow_messaging.services.receiving.start` needs to find out where to begin: ``after``,
        ``run_started`` and ``now``. Given where the service could not be asked before.
    :param selection: What a message must be like, as JSON of
        :class:`~airflow_messaging.services.selecting.Selection`. Default: any message.
    :param limit: The most messages to return. Default 1.
    :param poke_interval: Seconds between two questions; the shortest of all waits on the connection counts. A service
        that holds the connection is asked again at once.
    :param end_at: When to give up, ISO 8601 with a zone.
    """

    def __init__(
        self,
        *,
        cursor: dict[str, Any] | None = None,
        begin: dict[str, Any] | None = None,
        selection: dict[str, Any] | None = None,
        limit: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cursor = cursor
        self.begin = begin
        self.selection = selection
        self.limit = limit

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {
            **super().arguments(),
            "cursor": self.cursor,
            "begin": self.begin,
            "selection": self.selection,
            "limit": self.limit,
        }

    async def wait(self) -> dict[str, Any]:
        """Join the wait on the connection's inbox, and leave it with the messages."""
        from airflow_messaging.services.receiving import Cursor
        from airflow_messaging.services.selecting import Selection
        from airflow_messaging.triggers import shared

        waiter = shared.join(
            self.conn_id,
            Cursor.from_dict(self.cursor) if self.cursor else self._begin,
            poll_interval=self.poke_interval,
            wanted=Selection(**(self.selection or {})).wanted(),
            limit=self.limit,
        )
        try:
            messages = await waiter.next()
        finally:
            waiter.leave()
        payload: dict[str, Any] = {"status": "found", "messages": [message.to_dict() for message in messages]}
        if len(json.dumps(payload)) > INLINE_LIMIT:
            payload["messages"] = [message.id for message in messages]
        return payload

    def _begin(self, service: Any) -> Any:
        from airflow_messaging.services.receiving import start

        begin = self.begin or {}
        now = datetime.now(UTC).isoformat()
        return start(
            service,
            begin.get("after"),
            run_started=datetime.fromisoformat(begin.get("run_started") or now),
            now=datetime.fromisoformat(begin.get("now") or now),
        )


class MessageStatusTrigger(WaitTrigger):
    """Waits until a sent message has come far enough.

    :param conn_id: The connection.
    :param message_id: Id of the message.
    :param wait_for: The status to wait for.
    :param poke_interval: Seconds between two questions.
    :param end_at: When to give up, ISO 8601 with a zone.
    """

    def __init__(self, *, message_id: str, wait_for: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message_id = message_id
        self.wait_for = wait_for

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {**super().arguments(), "message_id": self.message_id, "wait_for": self.wait_for}

    async def wait(self) -> dict[str, Any]:
        """Ask again and again, through the client that all waits of this process on the connection share."""
        from airflow_messaging.triggers import shared

        client = shared.join_without_reading(self.conn_id)
        try:
            return await self._ask_until_reached(client)
        finally:
            client.leave()

    async def _ask_until_reached(self, client: shared.Waiter) -> dict[str, Any]:
        from airflow_messaging.exceptions import MessagingError, is_passing
        from airflow_messaging.services.sending import reached
        from airflow_messaging.triggers.failures import pause_after

        failures = 0
        while True:
            asked_at = time.monotonic()
            try:
                status = await client.run(lambda service: reached(service, self.message_id, self.wait_for))
            except MessagingError as error:
                if not is_passing(error):
                    raise
                failures += 1
                if failures == 1:
                    self.log.warning("The service cannot be asked now, the wait goes on: %s", error)
                await asyncio.sleep(pause_after(failures, self.poke_interval, error))
                continue
            if status is not None:
                return {"status": "found", "reached": status}
            if failures:
                self.log.info("The service answers again")
            failures = 0
            await asyncio.sleep(max(0.0, self.poke_interval - (time.monotonic() - asked_at)))
