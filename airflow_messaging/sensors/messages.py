"""Sensors that take any of the five connections: the next message, and the state of a sent one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_messaging.sensors.base import MessagingSensor
from airflow_messaging.triggers.carrying import INLINE_LIMIT

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook


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
    :param spool: Directory in any object storage, as a path or URL, where a large message, or one with files, is stored
        with its files as soon as it comes. Each message then has ``files``: a list of ``{"attachment_id", "filename",
        "path", "size"}``. For messages that can be gone before a task sees to them. Nothing is ever deleted there.
        Default: a large message is fetched again by the task, and files are left to ``DownloadAttachmentsOperator``.
    :param inline_limit: The longest JSON of a message that travels through the triggerer, in characters. Default
        65,536.
    :param deferrable: Wait in the triggerer, together with all other waits on this connection. Default yes; otherwise
        ``mode`` decides between poke and reschedule.
    :param poke_interval: Seconds between two questions. Default 10. In the triggerer Go Integrate Me holds the
        connection instead, as soon as it has listed a message.
    :param end_from_trigger: Let the triggerer end the task with the messages it finds, without a worker. Timeouts,
        errors, messages that did not travel whole, and tasks with outlets or with mapped tasks behind them still end
        on a worker. Default no.
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
        "spool",
        "inline_limit",
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
        spool: str | None = None,
        inline_limit: int | str = INLINE_LIMIT,
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
        self.spool = spool
        self.inline_limit = inline_limit
        self._cursor: dict[str, Any] | None = None
        self._begin: dict[str, Any] | None = None

    def look(self, context: Context) -> Any:
        """Ask once for the next message."""
        from airflow_messaging.services.receiving import Cursor
        from airflow_messaging.triggers.carrying import hand_over

        wanted = self._selection().wanted()
        carrying = self._carrying()
        self._begin = self._begin or self._where_to_begin(context)
        with self.hook() as hook:
            if self._cursor is None:
                self._cursor = self._start(hook).to_dict()
            batch = hook.poll(Cursor.from_dict(self._cursor), limit=self._limit(), wanted=wanted)
            found = hand_over(batch.messages, hook, **carrying)
        return self._result(found) if found else None

    def make_trigger(self, waits: dict[str, Any]) -> Any:
        """Return the trigger that goes on waiting."""
        from airflow_messaging.triggers.messages import NextMessageTrigger

        if self._cursor is None and self.reader is not None:
            self._cursor = self._provisional_place(self.reader)
        return NextMessageTrigger(
            cursor=self._cursor,
            begin=None if self._cursor else self._begin,
            selection=self._selection().to_dict(),
            limit=None if self.max_messages is None else self._limit(),
            **self._carrying(),
            **waits,
        )

    def found(self, event: dict[str, Any]) -> Any:
        """Return the messages; those that were too large for the trigger's event are read or fetched here."""
        from airflow_messaging.triggers.carrying import is_whole, unpack

        messages = event["messages"]
        if all(is_whole(message) for message in messages):
            return self._result(messages)
        with self.hook() as hook:
            return self._result(unpack(messages, hook))

    def _result(self, messages: list[dict[str, Any]]) -> Any:
        return messages[0] if self.max_messages is None else messages

    def _limit(self) -> int:
        from airflow_messaging.services.parsing import whole_number

        return 1 if self.max_messages is None else whole_number("max_messages", self.max_messages, 1)

    def _carrying(self) -> dict[str, Any]:
        from airflow_messaging.services.parsing import whole_number
        from airflow_messaging.triggers.carrying import checked_spool

        limit = whole_number("inline_limit", self.inline_limit, 0)
        return {"spool": checked_spool(self.spool), "inline_limit": limit}

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
    :param end_from_trigger: As with ``NextMessageSensor``. Default no.
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

    def make_trigger(self, waits: dict[str, Any]) -> Any:
        """Return the trigger that goes on waiting."""
        from airflow_messaging.triggers.messages import MessageStatusTrigger

        return MessageStatusTrigger(message_id=self._id(), wait_for=self.wait_for, **waits)

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
