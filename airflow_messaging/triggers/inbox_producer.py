"""The watcher's half that only Airflow 3.3 has: it is told when its events are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.triggers.inbox_reader import InboxReader

PAUSE_S = 5.0
"""Airflow starts a watcher that failed again at once, and each time its messages come again, with runs of DAGs."""

LONGEST_PAUSE_S = 600.0

_refused: Counter[tuple[str, str]] = Counter()
"""How often in a row a reader's acknowledgements failed; each time Airflow makes a new producer."""


class InboxProducer(SharedStreamProducer):
    """Reads an inbox, and acknowledges what Airflow has stored.

    **Delivery**: at least once. Nothing is acknowledged before Airflow says that the event is in its database.

    :param arguments: Those of :class:`~airflow_messaging.triggers.inbox.InboxTrigger`.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._reader = InboxReader(**arguments)
        self._name = self._reader.conn_id, self._reader.reader

    async def open_stream(self) -> AsyncIterator[tuple[Any, Any]]:
        """Yield events for ever, each with what it takes to acknowledge it."""
        async for item in self._reader.stream():
            yield item

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Acknowledge those events, from the first on, that are stored.

        :raises MessagingError: If one is not, or the service refuses: Airflow then begins again, and what is not
            acknowledged comes again. Before that there is a pause, twice as long each time in a row.
        """
        stored = []
        for item in batch:
            if not item.outcome.is_clean:
                break
            stored.append(item.broker_payload)
        try:
            if stored:
                await self._reader.settle(stored)
            if len(stored) < len(batch):
                raise MessagingError("an event was not stored: its messages will come again")
        except Exception:
            pause = PAUSE_S * 2.0 ** min(_refused[self._name], 10)
            _refused[self._name] += 1
            await self._reader.pause(min(pause, LONGEST_PAUSE_S))
            raise
        _refused.pop(self._name, None)

    async def aclose(self) -> None:
        """Leave the inbox."""
        self._reader.close()
