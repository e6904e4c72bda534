"""A watcher's trigger: every message that reaches an inbox becomes an asset event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Hashable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer

STORED_AFTER_S = 10.0
"""Airflow before 3.3 does not say when it has stored an event: it takes one or two seconds when all is well."""


class InboxEvent(TriggerEvent):
    """An event whose messages stay out of the triggerer's log, which prints the ``repr`` of every event."""

    def __repr__(self) -> str:
        """Show how many messages came over which connection, and nothing of them."""
        return f"TriggerEvent<{self.payload['conn_id']}: {len(self.payload['messages'])} messages>"

    __str__ = __repr__


class InboxTrigger(BaseEventTrigger):
    """Watches a connection's inbox, for ``AssetWatcher``; :func:`~airflow_messaging.assets.inbox_asset` makes both.

    Messages that come together travel in one event. Its payload is ``{"service", "conn_id", "account", "messages",
    "repeats"}``; :func:`~airflow_messaging.assets.messages_from` gives them to a task. Together with the service and
    the account, a message's id is the same however often it comes.

    **Delivery**: at least once with ``ack`` (Airflow 3.3 or newer): a message is marked read, or the reader's cursor
    moves past it, only after its event is stored in Airflow's database. What was on its way when a triggerer died comes
    again. Without ``ack`` that is done some seconds after the event was handed to Airflow: a triggerer that dies just
    then may lose it.

    Airflow 3.3 leaves the last events of a burst without a DAG run until the next event comes. Therefore a burst is
    followed by one event without messages, which takes them along; ``repeats`` names what it is for.

    :param conn_id: A connection of any of the five types.
    :param reader: Name under which the watcher keeps its place, in an Airflow Variable: letters, digits, ``_``, ``.``
        and ``-``. Each watcher on an inbox needs a name of its own. Where the service has a read flag, an inbox can
        have one watcher only: the first keeps it.
    :param asset: Name of the asset whose events it makes: another asset's watcher is refused if its reader has the same
        name, or the inbox can have one watcher only.
    :param after: Where a new reader begins. Default: with everything unread where the service has a read flag, and
        otherwise now. Also ``"earliest"``, a time as ISO 8601 text, or the JSON of a message, a receipt or a cursor.
    :param sender: Only messages from this sender, in the service's own form. A sender can be forged.
    :param contains: Only messages with this in their text or subject.
    :param matches: Only messages in whose text or subject this regular expression is found.
    :param in_reply_to: Only answers to the message with this id.
    :param callable: Dotted path of a function that takes the ``Message`` and says whether it is wanted.
    :param poke_interval: Seconds between two questions. Default 10. Go Integrate Me holds the connection instead.
    :param gather: Seconds in which messages that come one after another are gathered into one event. Default 2.
    :param flush_after: Seconds after the last event of a burst until the event that takes its tail along. Default 10.
    :param max_messages: The most messages in one event. Default 100.
    :param spool: Directory (path or URL of object storage) for messages that have attachments or are too large for an
        event. Default: the task fetches them. SerwerSMS.pl gives nothing out twice: without ``spool`` its messages
        with attachments are not marked read, and the DAG has to do it.
    :param ack: Whether to demand that nothing is acknowledged before it is stored. Default yes; refused on Airflow
        before 3.3, which cannot do that.
    :raises InvalidInput: If an argument cannot be used.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        reader: str,
        asset: str | None = None,
        after: Any = None,
        sender: str | None = None,
        contains: str | None = None,
        matches: str | None = None,
        in_reply_to: str | None = None,
        callable: str | None = None,
        poke_interval: float = 10,
        gather: float = 2,
        flush_after: float = 10,
        max_messages: int = 100,
        spool: str | None = None,
        ack: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.reader = reader
        self.asset = asset
        self.after = after
        self.sender = sender
        self.contains = contains
        self.matches = matches
        self.in_reply_to = in_reply_to
        self.callable = callable
        self.poke_interval = poke_interval
        self.gather = gather
        self.flush_after = flush_after
        self.max_messages = max_messages
        self.spool = spool
        self.ack = ack
        self._refuse_what_cannot_be()

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {
            "conn_id": self.conn_id,
            "reader": self.reader,
            "asset": self.asset,
            "after": self.after,
            "sender": self.sender,
            "contains": self.contains,
            "matches": self.matches,
            "in_reply_to": self.in_reply_to,
            "callable": self.callable,
            "poke_interval": self.poke_interval,
            "gather": self.gather,
            "flush_after": self.flush_after,
            "max_messages": self.max_messages,
            "spool": self.spool,
            "ack": self.ack,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    def shared_stream_key(self) -> Hashable | None:
        """Return what triggers have in common that Airflow is to feed from one stream: all their arguments."""
        return json.dumps(self.arguments(), sort_keys=True) if self.ack else None

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return what reads the inbox, and acknowledges what Airflow has stored."""
        from airflow_messaging.triggers.inbox_producer import InboxProducer

        return InboxProducer(kwargs)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Turn what the inbox brought into events."""
        async for payload in shared_stream:
            yield InboxEvent(payload=payload)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield what the inbox brings, and acknowledge it when it should have been stored."""
        from airflow_messaging.exceptions import MessagingError
        from airflow_messaging.triggers.inbox_reader import InboxReader

        if self.ack:
            raise MessagingError("Airflow runs this watcher without its shared stream: it could lose messages")
        reader = InboxReader(**self.arguments())
        settling: set[asyncio.Task[None]] = set()
        try:
            async for payload, receipt in reader.stream():
                yield InboxEvent(payload=payload)
                task = asyncio.get_running_loop().create_task(reader.settle_later(receipt, STORED_AFTER_S))
                settling.add(task)
                task.add_done_callback(settling.discard)
        finally:
            for task in settling:
                task.cancel()
            reader.close()

    def _refuse_what_cannot_be(self) -> None:
        from airflow_messaging.exceptions import InvalidInput, Shown
        from airflow_messaging.readers import place_of
        from airflow_messaging.services.parsing import whole_number

        place_of(self.conn_id, self.reader)
        whole_number("max_messages", self.max_messages, 1)
        for name in ("poke_interval", "gather", "flush_after"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise InvalidInput(name, value, "a number of seconds")
        try:
            json.dumps(self.after)
        except (TypeError, ValueError):
            raise InvalidInput("after", Shown(type(self.after).__name__), "plain JSON") from None
        if self.ack and find_spec("airflow.triggers.shared_stream") is None:
            raise InvalidInput("ack", True, "False before Airflow 3.3, which cannot say when an event is stored")
