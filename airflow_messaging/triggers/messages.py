"""Waits that run in the triggerer: the next message, and the state of a sent one."""

from __future__ import annotations

import abc
import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow_messaging.hooks.base import MessagingHook

INLINE_LIMIT = 64 * 1024
"""A message whose JSON is longer does not travel in the event: the task fetches it."""

_LONGEST_BACKOFF_S = 60.0
_LONGEST_RETRY_AFTER_S = 3600.0


class RedactedEvent(TriggerEvent):
    """An event whose payload stays out of the triggerer's log, which prints the ``repr`` of every event."""

    def __repr__(self) -> str:
        """Show how the wait ended and nothing of what came."""
        return f"TriggerEvent<{self.payload.get('status')}>"


class WaitTrigger(BaseTrigger, abc.ABC):
    """Asks a service again and again until there is a result or the time is over.

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
    async def ask(self, hook: MessagingHook[Any]) -> dict[str, Any] | None:
        """Ask once; return the event's payload, or None to go on."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield exactly one event: found, timeout or error."""
        from airflow.providers.common.compat.sdk import AirflowException

        from airflow_messaging.exceptions import MessagingError, to_dict

        try:
            async with asyncio.timeout(self._remaining()):
                payload = await self._wait()
        except TimeoutError:
            payload = {"status": "timeout"}
        except MessagingError as error:
            payload = {"status": "error", "error": to_dict(error)}
        except Exception as error:
            # A traceback would be logged again by the worker, which does not know this process's secrets.
            said = str(error) if isinstance(error, AirflowException) else ""
            payload = {"status": "error", "error": to_dict(MessagingError(f"{type(error).__name__} {said}".strip()))}
        yield RedactedEvent(payload=payload)

    async def _wait(self) -> dict[str, Any]:
        from airflow_messaging.exceptions import MessagingError, is_passing

        # The first import of the HTTP libraries takes a while: it must not hold up the event loop.
        registry = await asyncio.to_thread(import_module, "airflow_messaging.hooks.registry")
        failures = 0
        async with await registry.async_hook_for(self.conn_id) as hook:
            while True:
                asked_at = time.monotonic()
                try:
                    payload = await self.ask(hook)
                except MessagingError as error:
                    if not is_passing(error):
                        raise
                    failures += 1
                    if failures == 1:
                        self.log.warning("The service cannot be asked now, the wait goes on: %s", error)
                    await asyncio.sleep(self._pause(failures, getattr(error, "retry_after", None)))
                    continue
                if payload is not None:
                    return payload
                if failures:
                    self.log.info("The service answers again")
                failures = 0
                await asyncio.sleep(max(0.0, self.poke_interval - (time.monotonic() - asked_at)))

    def _pause(self, failures: int, retry_after: float | None) -> float:
        longest = min(_LONGEST_BACKOFF_S, max(1.0, self.poke_interval) * 2 ** min(failures, 6))
        return max(random.uniform(longest / 2, longest), min(retry_after or 0.0, _LONGEST_RETRY_AFTER_S))

    def _remaining(self) -> float:
        return (datetime.fromisoformat(self.end_at) - datetime.now(UTC)).total_seconds()


class NextMessageTrigger(WaitTrigger):
    """Waits for the next message.

    **Delivery**: nothing is acknowledged here; a wait that is interrupted begins again at the same cursor.

    :param conn_id: The connection.
    :param cursor: Where to begin, as JSON.
    :param poke_interval: Seconds between two questions; a service that holds the connection is asked again at once.
    :param end_at: When to give up, ISO 8601 with a zone.
    """

    def __init__(self, *, cursor: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cursor = cursor

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {**super().arguments(), "cursor": self.cursor}

    async def ask(self, hook: MessagingHook[Any]) -> dict[str, Any] | None:
        """Ask once for the next message."""
        from airflow_messaging.services.receiving import Cursor, wait

        cursor = Cursor.from_dict(self.cursor) if self.cursor else Cursor()
        batch = await hook.arun(wait(hook.service, cursor, limit=1))
        if not batch.messages:
            return None
        message = batch.messages[0].to_dict()
        if len(json.dumps(message)) <= INLINE_LIMIT:
            return {"status": "found", "message": message}
        return {"status": "found", "message_id": message["id"]}


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

    async def ask(self, hook: MessagingHook[Any]) -> dict[str, Any] | None:
        """Ask once for the status."""
        from airflow_messaging.services.sending import reached

        status = await hook.arun(reached(hook.service, self.message_id, self.wait_for))
        return None if status is None else {"status": "found", "reached": status}
