"""Waits that run in the triggerer: the next message, and the state of a sent one."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_messaging.triggers.carrying import INLINE_LIMIT, is_whole, pack

if TYPE_CHECKING:
    from airflow_messaging.triggers.waiter import Waiter


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
    :param end_task: End the task with what was found, without a worker. What only a worker can do still goes there:
        timeouts, errors, and messages that did not travel whole. Default no.
    :param push_result: Whether a task that is ended here returns its result as XCom. Default yes.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        poke_interval: float,
        end_at: str,
        end_task: bool = False,
        push_result: bool = True,
        **_from_another_version: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.poke_interval = poke_interval
        self.end_at = end_at
        self.end_task = end_task
        self.push_result = push_result

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {
            "conn_id": self.conn_id,
            "poke_interval": self.poke_interval,
            "end_at": self.end_at,
            "end_task": self.end_task,
            "push_result": self.push_result,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    @abc.abstractmethod
    async def wait(self) -> dict[str, Any]:
        """Wait, and return the payload of the event."""

    async def time_is_over(self) -> dict[str, Any]:
        """Return the payload of the event if nothing has come in time."""
        return {"status": "timeout"}

    @abc.abstractmethod
    def result(self, payload: dict[str, Any]) -> Any:
        """Return what the task returns, or None if that takes a worker.

        :param payload: The payload of an event that found something.
        """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield exactly one event: found, timeout, error, or the end of the task."""
        from airflow_messaging.exceptions import to_dict
        from airflow_messaging.triggers.failures import as_messaging_error

        limit = asyncio.timeout(self._remaining())
        try:
            async with limit:
                payload = await self.wait()
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                payload = await self.time_is_over()
            else:
                payload = {"status": "error", "error": to_dict(as_messaging_error(error))}
        yield await self._event(payload)

    async def _event(self, payload: dict[str, Any]) -> TriggerEvent:
        result = self.result(payload) if self.end_task and payload["status"] == "found" else None
        if result is None:
            return RedactedEvent(payload=payload)
        try:
            if self.push_result:
                await self._push(result)
        except Exception as error:
            self.log.warning("The task returns to a worker, its result could not be stored: %s", type(error).__name__)
            return RedactedEvent(payload=payload)
        return TaskSuccessEvent()

    async def _push(self, result: Any) -> None:
        """Store the result as a worker does; what ``TaskSuccessEvent(xcoms=…)`` stores, a task reads as JSON text."""
        from airflow.sdk.execution_time.xcom import XCom

        from airflow_messaging.threads import in_thread

        task: Any = self.task_instance
        place = {name: getattr(task, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
        await in_thread(XCom.set, key=XCom.XCOM_RETURN_KEY, value=result, **place)

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
    :param limit: The most messages to return. Default: one, and the task then returns it by itself, not in a list.
    :param spool: Directory where messages go that are large or have files, as
        :func:`~airflow_messaging.triggers.carrying.pack` does it. Default: none.
    :param inline_limit: The longest JSON of a message that travels whole, in characters. Default 65,536.
    :param poke_interval: Seconds between two questions; the shortest of all waits on the connection counts. A service
        that holds the connection is asked again at once.
    :param end_at: When to give up, ISO 8601 with a zone.
    :param end_task: As in :class:`WaitTrigger`.
    :param push_result: As in :class:`WaitTrigger`.
    """

    def __init__(
        self,
        *,
        cursor: dict[str, Any] | None = None,
        begin: dict[str, Any] | None = None,
        selection: dict[str, Any] | None = None,
        limit: int | None = None,
        spool: str | None = None,
        inline_limit: int = INLINE_LIMIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cursor = cursor
        self.begin = begin
        self.selection = selection
        self.limit = limit
        self.spool = spool
        self.inline_limit = inline_limit

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {
            **super().arguments(),
            "cursor": self.cursor,
            "begin": self.begin,
            "selection": self.selection,
            "limit": self.limit,
            "spool": self.spool,
            "inline_limit": self.inline_limit,
        }

    async def wait(self) -> dict[str, Any]:
        """Wait for messages; where the connection is changed to another account, begin there anew."""
        from airflow_messaging.services.receiving import Cursor
        from airflow_messaging.services.selecting import Selection
        from airflow_messaging.triggers import shared
        from airflow_messaging.triggers.shared_client import AccountChanged

        while True:
            waiter = shared.join(
                self.conn_id,
                Cursor.from_dict(self.cursor) if self.cursor else self._begin,
                poll_interval=self.poke_interval,
                wanted=Selection(**(self.selection or {})).wanted(),
                limit=1 if self.limit is None else self.limit,
            )
            try:
                messages = await waiter.next()
                packed = await pack(messages, waiter, spool=self.spool, inline_limit=self.inline_limit)
            except AccountChanged:
                continue
            finally:
                waiter.leave()
            return {"status": "found", "messages": packed}

    def result(self, payload: dict[str, Any]) -> Any:
        """Return the messages, if all of them have travelled whole."""
        messages = payload["messages"]
        if not all(is_whole(message) for message in messages):
            return None
        return messages[0] if self.limit is None else messages

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
    :param end_task: As in :class:`WaitTrigger`.
    :param push_result: As in :class:`WaitTrigger`.
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

    def result(self, payload: dict[str, Any]) -> Any:
        """Return the status reached."""
        return payload["reached"]

    async def _ask_until_reached(self, client: Waiter) -> dict[str, Any]:
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
