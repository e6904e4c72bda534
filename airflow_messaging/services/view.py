"""What one reader knows of an inbox on behalf of many: who began when, what is in sight, and what to ask next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from airflow_messaging.messages import Message
from airflow_messaging.services.base import Flow, Service
from airflow_messaging.services.paging import by_time
from airflow_messaging.services.receiving import OVERLAP, Cursor

MEMORY = 2 * OVERLAP
MOST_KNOWN = 1000


class InboxView:
    """The part of an inbox that is in sight.

    Where the service has a read flag, each look shows what is unread now, and an older look may not be used again:
    what it showed may have been read since. Where it has none, what has been seen stays true, so that whoever comes
    later is served from it as far back as it reaches.

    :param has_read_flag: Whether the service has a read flag.
    """

    __slots__ = ("_asked", "_begun", "_covered", "_covers_all", "_has_read_flag", "_known", "_sorted")

    def __init__(self, *, has_read_flag: bool) -> None:
        self._has_read_flag = has_read_flag
        self._known: dict[str, Message] = {}
        self._asked: datetime | None = None
        self._covered: datetime | None = None
        self._covers_all = False
        self._begun = False
        self._sorted: list[Message] | None = None

    def covers(self, cursor: Cursor) -> bool:
        """Say whether what is in sight is all that a reader with this cursor could want."""
        if self._has_read_flag or not self._begun:
            return False
        start = cursor.window_start
        return self._covers_all or (start is not None and self._covered is not None and start >= self._covered)

    def messages(self) -> list[Message]:
        """Return what is in sight, oldest first."""
        if self._sorted is None:
            self._sorted = by_time(self._known.values())
        return self._sorted

    def question(self, service: Service, late: Iterable[Cursor]) -> Flow[list[Message]]:
        """Ask what is new, as far back as those need who have come since the last question.

        :param service: The service.
        :param late: Their cursors.
        :return: What :meth:`update` takes.
        """
        starts = [cursor.not_ahead_of(service).window_start for cursor in late]
        if self._begun:
            present = min(service.now(), service.clock())
            if not starts and not self._has_read_flag:
                self._forget(present)
            # Those who came earlier wait for what is new, wherever those begin who have come since.
            start = self._asked if self._has_read_flag else self._next_start(present)
            is_ahead = start is not None and start > service.now()
            starts.append(service.now() - OVERLAP if is_ahead else start)
        self._asked = None if None in starts else min((start for start in starts if start), default=None)
        listed: list[Message] = yield from service.received(
            self._asked, seen={} if self._has_read_flag else self._known, limit=None
        )
        return listed

    def update(self, service: Service, listed: list[Message]) -> list[Message]:
        """Take an answer in.

        :param service: The service.
        :param listed: What :meth:`question` returned.
        :return: What was not in sight before, oldest first.
        """
        fresh = [message for message in listed if message.id not in self._known]
        if self._has_read_flag:
            self._known = {message.id: message for message in listed}
        else:
            self._known.update({message.id: message for message in fresh})
            self._cover(service)
        self._begun = True
        self._sorted = None
        return by_time(fresh)

    def hold(self, service: Service) -> Flow[list[Message]]:
        """Wait on the open connection for what follows the last message listed."""
        after: str | None = service.listed[-1] if service.listed else None
        asked: list[str] = []
        held: list[Message] = []
        while after is not None and after not in asked:
            asked.append(after)
            held = yield from service.wait_next(after)
            # Within one second our order may differ from the service's: then it comes at once with what is known.
            after = held[-1].id if held and all(self._is_known(service, message) for message in held) else None
        return [message for message in held if not self._is_known(service, message)]

    def take(self, held: list[Message]) -> list[Message]:
        """Take in what :meth:`hold` brought, and return what of it was not in sight before."""
        fresh = [message for message in held if message.id not in self._known]
        self._known.update({message.id: message for message in fresh})
        self._sorted = None
        return fresh

    def _is_known(self, service: Service, message: Message) -> bool:
        return message.id in self._known or message.id in service.listed

    def _cover(self, service: Service) -> None:
        if service.long_poll:
            # The service lists all there is; what it lists no more has expired.
            listed = set(service.listed)
            self._known = {id_: message for id_, message in self._known.items() if id_ in listed}
        if self._asked is None:
            self._covers_all = True
            self._covered = None
        elif not self._begun or (self._covered is not None and self._asked < self._covered):
            self._covered = self._asked

    def _next_start(self, present: datetime) -> datetime | None:
        times = [message.received_at for message in self._known.values() if message.received_at is not None]
        if not times:
            return self._covered
        start = min(max(times), present) - OVERLAP
        return start if self._covered is None else max(start, self._covered)

    def _forget(self, present: datetime) -> None:
        """Let go of what lies far back; who begins there is asked for again."""
        times = sorted(message.received_at for message in self._known.values() if message.received_at is not None)
        if not times:
            return
        newest = min(times[-1], present)
        horizon = newest - MEMORY
        if len(times) > MOST_KNOWN:
            horizon = max(horizon, min(times[-MOST_KNOWN], newest - OVERLAP))
        if times[0] < horizon:
            self._known = {
                id_: message
                for id_, message in self._known.items()
                if message.received_at is None or message.received_at >= horizon
            }
            self._covered = horizon
            self._covers_all = False
            self._sorted = None
