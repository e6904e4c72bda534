"""Sensors that take any of the five connections: the next message, and the state of a sent one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook

_GRACE = timedelta(minutes=1)
"""The trigger ends the wait itself; Airflow's own, coarser timeout stands behind it in case the triggerer is gone."""


class MessagingSensor(BaseSensorOperator):
    """A sensor on one of the five connections, with the same results in every mode.

    :param conn_id: A connection of any of the five types.
    :param deferrable: Wait in the triggerer. Default yes; otherwise ``mode`` decides between poke and reschedule.
    :param poke_interval: Seconds between two questions. Default 10.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#e8f4ea"

    def __init__(
        self, *, conn_id: str, deferrable: bool = True, poke_interval: timedelta | float = 10, **kwargs: Any
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.conn_id = conn_id
        self.deferrable = deferrable
        self._asked_to_wait = 0.0

    def hook(self) -> MessagingHook[Any]:
        """Return the hook; use it in a ``with`` block. It makes no pauses that are longer than the sensor's own."""
        from airflow_messaging.hooks.registry import hook_for

        hook = hook_for(self.conn_id)
        options = hook.transport.options
        hook.transport.options = dataclasses.replace(options, max_wait=min(options.max_wait, self.poke_interval))
        return hook

    def look(self, context: Context) -> Any:
        """Ask once; return the result, or None to wait on."""
        raise NotImplementedError

    def make_trigger(self, end_at: datetime) -> Any:
        """Return the trigger that goes on waiting until ``end_at``."""
        raise NotImplementedError

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once. A service that is out of reach for the moment is asked again; other errors end the wait."""
        from airflow_messaging.exceptions import is_passing

        self._asked_to_wait = 0.0
        try:
            result = self.look(context)
        except Exception as error:
            if not is_passing(error):
                raise
            self.log.warning("The service cannot be asked now, the wait goes on: %s", error)
            self._asked_to_wait = getattr(error, "retry_after", None) or 0.0
            result = None
        return PokeReturnValue(is_done=result is not None, xcom_value=result)

    def execute(self, context: Context) -> Any:
        """Ask once, then wait in the way that ``deferrable`` and ``mode`` say."""
        if not self.deferrable:
            return self._execute_on_worker(context)
        end_at = datetime.now(UTC) + timedelta(seconds=self.timeout)
        try:
            first = self.poke(context)
        except Exception as error:
            self._fail(error)
        return first.xcom_value if first.is_done else self._wait(end_at)

    def _execute_on_worker(self, context: Context) -> Any:
        """Poke or reschedule. Airflow itself lets ``never_fail`` skip timeouts of deferred sensors only."""
        from airflow.providers.common.compat.sdk import AirflowSensorTimeout

        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            self._fail(error)

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        """Wait longer where the service asks for it, but not beyond the timeout."""
        interval = float(super()._get_next_poke_interval(started_at, run_duration, poke_count))
        left: float = self.timeout - run_duration()
        return max(interval, min(self._asked_to_wait, left))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Take what the trigger brought.

        :param event: The trigger's event.
        :return: What the sensor returns.
        """
        from airflow.providers.common.compat.sdk import AirflowSensorTimeout

        from airflow_messaging.exceptions import MessagingError, from_dict

        event = event or {}
        if event.get("status") == "timeout":
            raise AirflowSensorTimeout(f"Nothing came within {self.timeout:g} seconds")
        if event.get("status") == "error":
            self._fail(from_dict(event["error"]))
        if event.get("status") != "found":
            self._fail(MessagingError("the trigger ended without a result"))
        return self.found(event)

    def found(self, event: dict[str, Any]) -> Any:
        """Return the sensor's result from the trigger's event."""
        raise NotImplementedError

    def _wait(self, end_at: datetime) -> NoReturn:
        remaining = max(timedelta(0), end_at - datetime.now(UTC))
        self.defer(trigger=self.make_trigger(end_at), method_name="execute_complete", timeout=remaining + _GRACE)

    def _fail(self, error: Exception) -> NoReturn:
        """Fail as poke mode does: ``never_fail`` skips on any error, ``soft_fail`` does not."""
        from airflow.providers.common.compat.sdk import AirflowSkipException

        if self.never_fail:
            raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
        raise error


class NextMessageSensor(MessagingSensor):
    """Wait for the next message and return it.

    **Delivery**: at least once. Nothing is acknowledged until the DAG says so with ``MarkMessagesReadOperator``; until
    then a message comes again.

    :param conn_id: A connection of any of the five types.
    :param after: Where to begin. Default: with everything unread where the service has a read flag, and otherwise with
        the start of the DAG run. Also ``"earliest"``, ``"now"`` (when the task first runs), a time (without a zone: in
        the connection's), or the JSON of a message, a receipt or a cursor.
    :param reader: Name of a reader that keeps its place between DAG runs, where the service has no read flag; it moves
        with ``MarkMessagesReadOperator`` only. Not together with ``after``.
    :param sender: Only messages from this sender, in the service's own form. A sender can be forged.
    :param contains: Only messages with this in their text or subject.
    :param matches: Only messages in whose text or subject this regular expression is found. Senders choose the text:
        keep the expression simple.
    :param in_reply_to: Only answers to the message with this id.
    :param callable: Dotted path of a function that takes the ``Message`` and says whether it is wanted; it must be
        importable in the triggerer and must not block.
    :param max_messages: Return a list of up to so many messages that are there at the same time. Default: return one
        message, not in a list.
    :param deferrable: Wait in the triggerer, together with all other waits on this connection. Default yes; otherwise
        ``mode`` decides between poke and reschedule.
    :param poke_interval: Seconds between two questions. Default 10. In the triggerer Go Integrate Me holds the
        connection instead, as soon as it has listed a message.
    :param timeout: Seconds to wait in all.
    :return: The message as JSON, or a list of them with ``max_messages``.
    """

    template_fields: Sequence[str] = (
        "conn_id",
        "after",
        "reader",
        "sender",
        "contains",
        "matches",
        "in_reply_to",
        "callable",
        "max_messages",
    )

    def __init__(
        self,
        *,
        conn_id: str,
        after: Any = None,
        reader: str | None = None,
        sender: str | None = None,
        contains: str | None = None,
        matches: str | None = None,
        in_reply_to: str | None = None,
        callable: str | None = None,
        max_messages: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        if after is not None and reader is not None:
            raise ValueError("after and reader exclude each other: a reader keeps its own place")
        self.after = after
        self.reader = reader
        self.sender = sender
        self.contains = contains
        self.matches = matches
        self.in_reply_to = in_reply_to
        self.callable = callable
        self.max_messages = max_messages
        self._cursor: dict[str, Any] | None = None
        self._begin: dict[str, Any] | None = None

    def look(self, context: Context) -> Any:
        """Ask once for the next message."""
        from airflow_messaging.services.receiving import Cursor

        wanted = self._selection().wanted()
        self._begin = self._begin or self._where_to_begin(context)
        with self.hook() as hook:
            if self._cursor is None:
                self._cursor = self._start(hook).to_dict()
            batch = hook.poll(Cursor.from_dict(self._cursor), limit=self._limit(), wanted=wanted)
        return self._result([message.to_dict() for message in batch.messages]) if batch.messages else None

    def make_trigger(self, end_at: datetime) -> Any:
        """Return the trigger that goes on waiting."""
        from airflow_messaging.triggers.messages import NextMessageTrigger

        if self._cursor is None and self.reader is not None:
            self._cursor = self._provisional_place(self.reader)
        return NextMessageTrigger(
            conn_id=self.conn_id,
            cursor=self._cursor,
            begin=None if self._cursor else self._begin,
            selection=self._selection().to_dict(),
            limit=self._limit(),
            poke_interval=self.poke_interval,
            end_at=end_at.isoformat(),
        )

    def found(self, event: dict[str, Any]) -> Any:
        """Return the messages; those that were too large for the trigger's event are fetched here."""
        if all(isinstance(message, dict) for message in event["messages"]):
            return self._result(event["messages"])
        with self.hook() as hook:
            return self._result([hook.message(message_id).to_dict() for message_id in event["messages"]])

    def _result(self, messages: list[dict[str, Any]]) -> Any:
        return messages[0] if self.max_messages is None else messages

    def _limit(self) -> int:
        from airflow_messaging.services.parsing import whole_number

        return 1 if self.max_messages is None else whole_number("max_messages", self.max_messages, 1)

    def _selection(self) -> Any:
        from airflow_messaging.services.selecting import Selection

        return Selection(
            sender=self.sender,
            contains=self.contains,
            matches=self.matches,
            in_reply_to=self.in_reply_to,
            callable=self.callable,
        )

    def _provisional_place(self, reader: str) -> dict[str, Any] | None:
        """Give a new reader a place although its service cannot be asked for the time: rather too early than too late.

        :return: The place; None where the reader needs none, or has one already that only could not be used.
        """
        from airflow_messaging import readers
        from airflow_messaging.services.receiving import OVERLAP, Cursor

        with self.hook() as hook:
            if hook.service.has_read_flag:
                return None
        kept = readers.load(self.conn_id, reader)
        if kept is None:
            started = datetime.fromisoformat((self._begin or {})["run_started"])
            kept = Cursor(floor=started.replace(microsecond=0) - OVERLAP)
            readers.save(self.conn_id, reader, kept)
        return kept.to_dict()

    def _where_to_begin(self, context: Context) -> dict[str, Any]:
        """Return what ``start`` needs, so that the triggerer can do it if the service cannot be asked now."""
        now = datetime.now(UTC)
        # A rescheduled task does not remember by itself when it first ran.
        first = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
        started = context["dag_run"].start_date or now
        return {"after": self.after, "run_started": started.isoformat(), "now": (first or now).isoformat()}

    def _start(self, hook: MessagingHook[Any]) -> Any:
        from airflow_messaging import readers
        from airflow_messaging.services.receiving import start

        reader = None if hook.service.has_read_flag else self.reader
        kept = readers.load(self.conn_id, reader) if reader is not None else None
        if kept is not None:
            return kept
        begin = self._begin or {}
        cursor = hook.run(
            start(
                hook.service,
                begin["after"],
                run_started=datetime.fromisoformat(begin["run_started"]),
                now=datetime.fromisoformat(begin["now"]),
            )
        )
        if reader is not None:
            readers.save(self.conn_id, reader, cursor)
        return cursor


class MessageStatusSensor(MessagingSensor):
    """Wait until a sent message has come far enough.

    :param conn_id: A connection to a service that tells the status: MDI g8teway, SerwerSMS.pl, SendHub.
    :param message_id: Id of the message, or the receipt that a send operator returned.
    :param wait_for: ``scheduled``, ``queued``, ``sent``, ``delivered`` or ``failed``. Default ``sent``. SendHub knows
        nothing beyond ``sent``. A message that failed ends the wait with an error, unless it is waited for.
    :param deferrable: Wait in the triggerer. Default yes.
    :param poke_interval: Seconds between two questions. Default 10.
    :return: The status reached.
    """

    template_fields: Sequence[str] = ("conn_id", "message_id", "wait_for")

    def __init__(self, *, conn_id: str, message_id: Any, wait_for: str = "sent", **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.message_id = message_id
        self.wait_for = wait_for

    def look(self, context: Context) -> Any:
        """Ask once for the status."""
        from airflow_messaging.services.sending import reached

        with self.hook() as hook:
            return hook.run(reached(hook.service, self._id(), self.wait_for))

    def make_trigger(self, end_at: datetime) -> Any:
        """Return the trigger that goes on waiting."""
        from airflow_messaging.triggers.messages import MessageStatusTrigger

        return MessageStatusTrigger(
            conn_id=self.conn_id,
            message_id=self._id(),
            wait_for=self.wait_for,
            poke_interval=self.poke_interval,
            end_at=end_at.isoformat(),
        )

    def found(self, event: dict[str, Any]) -> Any:
        """Return the status reached."""
        return event["reached"]

    def _id(self) -> str:
        from airflow_messaging.exceptions import InvalidInput, Shown

        given = self.message_id
        found = given.get("id") if isinstance(given, dict) else given
        if not isinstance(found, str | int) or found == "":
            raise InvalidInput("message_id", Shown(type(given).__name__), "an id, or the receipt of a send operator")
        return str(found)
