"""Operators that take any of the five connections: send, list, get, mark read, download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import MessagingOperator, SendOnceOperator, as_messages, message_id_for
from airflow_messaging.operators.split import SplittingOperator, fail_in_part

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.messages import Draft, Message


class SendMessageOperator(SplittingOperator):
    """Send a message through whichever service the connection has.

    What the service cannot express is refused with ``UnsupportedFeature``; nothing is dropped silently. See the feature
    matrix in the documentation.

    **Delivery**: an attempt that may have reached the service is not blindly repeated: it is looked for at the service;
    where nobody can look, ``on_unknown`` decides. From Airflow 3.3 on, this holds across retries, cleared tasks and
    killed processes; below, within one try.

    :param conn_id: A connection of any of the five types.
    :param to: Recipient or recipients, in the service's own form.
    :param text: The text.
    :param subject: The subject, where the service has one.
    :param attachments: Paths of files, as texts or ``ObjectStoragePath``.
    :param in_reply_to: Id of the message that this one answers.
    :param options: Further arguments of the service's own send endpoint.
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) or
        ``"resend"``.
    :param split_recipients: Send to more recipients than one message may have in several messages, one each for Go
        Integrate Me, MDI g8teway and SerwerSMS.pl. Default no: they are refused.
    :return: The receipt as JSON; with ``split_recipients`` a list with one per recipient, in the order in which they
        were given, each without ``raw`` and with ``accepted``.
    :raises PartiallySent: With ``split_recipients``, if some were sent to and others were not.
    """

    template_fields: Sequence[str] = (
        "conn_id",
        "to",
        "text",
        "subject",
        "attachments",
        "in_reply_to",
        "options",
        "on_unknown",
        "split_recipients",
    )

    def __init__(
        self,
        *,
        conn_id: str,
        to: str | list[str],
        text: str | None = None,
        subject: str | None = None,
        attachments: Sequence[Any] | str = (),
        in_reply_to: str | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.to = to
        self.text = text
        self.subject = subject
        self.attachments = attachments
        self.in_reply_to = in_reply_to
        self.options = options

    def draft(self, hook: Any, message_id: str, *, with_files: bool = True) -> Draft:
        """Return the message in the words shared by all services."""
        from airflow_messaging.hooks.drafts import draft_of

        return draft_of(
            self.to,
            self.text,
            subject=self.subject,
            attachments=self.attachments if with_files else (),
            in_reply_to=self.in_reply_to,
            message_id=message_id,
            options=self.options,
        )


class SendMessagesOperator(SendOnceOperator):
    """Send many messages from one task, several at a time, through whichever service the connection has.

    All are checked before the first is sent. What the service asks for, its pauses and ``max_per_second`` of the
    connection, is kept.

    **Delivery**: each message is sent once: an attempt that may have reached the service is looked for there; where
    nobody can look, ``on_unknown`` decides. From Airflow 3.3 on, a retry sends what has not been sent and nothing else,
    also after its process was killed; below, a task that has sent some is not retried. Messages are known again by what
    is in them, not by their place in the list.

    :param conn_id: A connection of any of the five types.
    :param messages: Mappings with ``to``, and ``text``, ``subject``, ``attachments``, ``in_reply_to``, ``message_id``,
        ``options``, as :class:`SendMessageOperator` has them.
    :param concurrency: How many messages may be on their way at a time. Default 20.
    :param on_unknown: What to do where it cannot be found out whether a message was sent: ``"fail"`` (default) or
        ``"resend"``.
    :return: One result per message, in the same order: its receipt as JSON without ``raw``, and ``accepted``.
    :raises PartiallySent: If some were not accepted. The results are in XCom all the same.
    """

    template_fields: Sequence[str] = ("conn_id", "messages", "concurrency", "on_unknown")

    def __init__(self, *, conn_id: str, messages: Any, concurrency: int | str = 20, **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.messages = messages
        self.concurrency = concurrency

    def execute(self, context: Context) -> Any:
        """Send the messages, except those that have been sent."""
        from airflow_messaging.operators.many import send_many_once, telling_last

        with self.hook() as hook:
            outcomes = send_many_once(
                hook,
                self.messages,
                name=message_id_for(context),
                store=context.get("task_state_store"),
                concurrency=self.concurrency,
                on_unknown=self.on_unknown,
            )
        results = [outcome.to_dict() for outcome in outcomes]
        failed = sum(not outcome.accepted for outcome in outcomes)
        self.log.info("%s: %d of %d messages accepted", hook.hook_name, len(outcomes) - failed, len(outcomes))
        if failed:
            errors = telling_last(outcome.error for outcome in outcomes if outcome.error is not None)
            fail_in_part(hook.conn_type, results, errors, context, what="messages")
        return results


class ListMessagesOperator(MessagingOperator):
    """List received messages: where the service has a read flag, the unread ones.

    **Delivery**: a look only; nothing is acknowledged.

    :param conn_id: A connection of any of the five types.
    :param after: Where to begin: ``"earliest"`` (default), a time, or the JSON of a message, a receipt or a cursor.
    :param limit: The most messages to return. Default: all.
    :return: The messages as JSON, oldest first.
    """

    template_fields: Sequence[str] = ("conn_id", "after", "limit")

    def __init__(self, *, conn_id: str, after: Any = "earliest", limit: int | str | None = None, **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.after = after
        self.limit = limit

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the messages as JSON."""
        from airflow_messaging.hooks.base import utcnow
        from airflow_messaging.services.parsing import whole_number
        from airflow_messaging.services.receiving import start

        limit = None if self.limit is None else whole_number("limit", self.limit, 1)
        with self.hook() as hook:
            started = context["dag_run"].start_date or utcnow()
            cursor = hook.run(start(hook.service, self.after, run_started=started))
            batch = hook.poll(cursor, limit=limit)
        self.log.info("%s: %d messages", hook.hook_name, len(batch.messages))
        return [message.to_dict() for message in batch.messages]


class GetMessageOperator(MessagingOperator):
    """Look one message up by its id.

    **Delivery**: a look only; nothing is acknowledged.

    :param conn_id: A connection of any of the five types.
    :param message_id: The service's id of the message.
    :return: The message as JSON.
    """

    template_fields: Sequence[str] = ("conn_id", "message_id")

    def __init__(self, *, conn_id: str, message_id: str, **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.message_id = message_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the message as JSON."""
        with self.hook() as hook:
            return hook.message(str(self.message_id)).to_dict()


class MarkMessagesReadOperator(MessagingOperator):
    """Say that messages have been dealt with.

    Where the service has a read flag, it is set. Where it has none, the cursor of a named reader moves past the
    messages, and past nothing else; without ``reader`` that is refused with ``UnsupportedFeature``.

    **Delivery**: this is the only place where anything is acknowledged, so that a message is handed over at least once.
    SerwerSMS marks whole seconds of a sender: what is marked along is looked at before, and is in ``also_received``. If
    the answer to the marking call is lost, it is there all the same, and may come again. The files of a read message
    are gone: without ``spool``, nothing is marked where a message with files would be marked along.

    :param conn_id: A connection of any of the five types.
    :param messages: The JSON of a message, as a sensor returns it, or a list of these.
    :param reader: Name of the reader whose cursor moves, as given to the sensor.
    :param spool: Directory in any object storage, as a path or URL, where a message that is marked along is stored with
        its files before; it then has ``files`` in ``also_received``, as with ``NextMessageSensor``. Default: none.
    :return: ``{"acknowledged": [ids], "also_received": [messages]}``.
    :raises FilesWouldBeLost: If a message with files would be marked along, and there is no ``spool``.
    """

    template_fields: Sequence[str] = ("conn_id", "messages", "reader", "spool")

    def __init__(
        self, *, conn_id: str, messages: Any, reader: str | None = None, spool: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.messages = messages
        self.reader = reader
        self.spool = spool

    def execute(self, context: Context) -> dict[str, Any]:
        """Acknowledge the messages."""
        with self.hook() as hook:
            messages = as_messages(hook, self.messages)
            also = self._set_flag(hook, messages) if hook.service.has_read_flag else self._move_cursor(hook, messages)
        self.log.info("%s: %d messages marked read", hook.hook_name, len(messages))
        if also:
            self.log.warning("%s handed out %d more messages while marking read", hook.hook_name, len(also))
        return {
            "acknowledged": [message.id for message in messages],
            "also_received": also,
        }

    def _set_flag(self, hook: MessagingHook[Any], messages: list[Message]) -> list[dict[str, Any]]:
        from airflow_messaging.services.receiving import read_along
        from airflow_messaging.triggers.carrying import checked_spool, hand_over

        spool = checked_spool(self.spool)
        along = [] if spool is None or hook.service.keeps_read else hook.run(read_along(hook.service, messages))
        with_files = [message for message in along if message.attachments]
        kept = {message["id"]: message for message in hand_over(with_files, hook, spool=spool)}
        also = hook.mark_read(messages, files_kept=kept)
        return [kept.get(message.id) or message.to_dict() for message in also]

    def _move_cursor(self, hook: MessagingHook[Any], messages: list[Message]) -> list[dict[str, Any]]:
        from airflow_messaging import readers
        from airflow_messaging.exceptions import UnsupportedFeature
        from airflow_messaging.services.receiving import Cursor, acknowledged

        if self.reader is None:
            raise UnsupportedFeature(hook.conn_type, "a read flag: give the sensor and this operator the same 'reader'")
        cursor = readers.load(self.conn_id, self.reader) or Cursor()
        moved = hook.run(acknowledged(hook.service, cursor, messages))
        readers.save(self.conn_id, self.reader, moved)
        readers.warn_if_held_up(self.reader, moved, hook.service.now())
        return []


class DownloadAttachmentsOperator(MessagingOperator):
    """Download the attachments of messages into any object storage.

    Files are streamed, checked against size and checksums, and get their name only when they are right. Names are made
    safe; each message has a directory of its own. A retry fetches again and replaces what was there.

    **Delivery**: nothing is acknowledged. Download before marking read: SerwerSMS gives the bytes of read messages out
    no more.

    :param conn_id: A connection of any of the five types.
    :param messages: The JSON of a message, as a sensor returns it, its id, or a list of these.
    :param path: Directory, as a path, a URL or an ``ObjectStoragePath``.
    :param max_bytes: The most bytes that one file may have. Default 5 GiB.
    :return: One ``{"message_id", "attachment_id", "filename", "path", "size"}`` per file.
    """

    template_fields: Sequence[str] = ("conn_id", "messages", "path", "max_bytes")

    def __init__(
        self, *, conn_id: str, messages: Any, path: Any, max_bytes: int | str = 5 * 1024**3, **kwargs: Any
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.messages = messages
        self.path = path
        self.max_bytes = max_bytes

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Download the files and return where they are."""
        from airflow_messaging.services.parsing import whole_number

        max_bytes = whole_number("max_bytes", self.max_bytes, 0)
        with self.hook() as hook:
            files = [
                file
                for message in as_messages(hook, self.messages)
                for file in hook.download_attachments(message, self.path, max_bytes=max_bytes)
            ]
        self.log.info("%s: %d files downloaded", hook.hook_name, len(files))
        return files
