"""Receiving without loss: a cursor goes in, new messages and the next cursor come out.

A cursor is a small JSON value. ``floor`` is where the reader began: nothing before it is wanted. ``since`` is how far
it has come, and ``seen`` names the messages handed over around that point. Each question overlaps the one before by
:data:`OVERLAP`, because services write coarse times and may list a message late; ``seen`` takes the repetitions out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

from airflow_messaging.exceptions import (
    FilesWouldBeLost,
    InvalidInput,
    MessagingError,
    ServiceError,
    ServiceUnavailable,
    Shown,
)
from airflow_messaging.messages import JsonDict, Message, Receipt
from airflow_messaging.services.base import Flow, Service
from airflow_messaging.services.paging import by_time
from airflow_messaging.services.parsing import as_utc, latest_reading
from airflow_messaging.services.selecting import Wanted

OVERLAP = timedelta(minutes=10)

SLACK = timedelta(minutes=1)
"""How far the time that a message had in a long poll, which is ours, may lie from the one it has in a list."""

_EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
_HOUR = timedelta(hours=1)

_AFTER = "None, 'now', 'earliest', a time, or the JSON of a message, a receipt or a cursor"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a reader has come.

    :param floor: Messages received before this are not wanted; None wants all.
    :param since: The newest message handed over so far was received then; if its time lay in the future, it was handed
        over then.
    :param seen: Ids handed over, with their times, as far back as the next question reaches.
    """

    floor: datetime | None = None
    since: datetime | None = None
    seen: Mapping[str, datetime | None] = dataclasses.field(default_factory=dict)

    def not_ahead_of(self, service: Service) -> Self:
        """Return the cursor for use now: none has come further than to the present, whatever it was told.

        What a message was dated when the service's clock, or the connection's ``timezone``, was wrong would otherwise
        hide all that comes until then.

        :param service: The service, whose clock counts.
        """
        if self.since is None or self.since <= (now := service.now()):
            return self
        return dataclasses.replace(self, since=now)

    @property
    def window_start(self) -> datetime | None:
        """From when on the next question asks."""
        if self.since is None or self.since < _EPOCH:
            # A time from before there were computers says nothing, and the calendar has no room to go further back.
            return self.floor
        start = self.since - OVERLAP
        return start if self.floor is None else max(start, self.floor)

    def past(self, messages: Iterable[Message], service: Service | None = None) -> Cursor:
        """Return the cursor that has these messages behind it.

        :param messages: The messages.
        :param service: The service, so that times in the future do not count. Default: all times are taken as given.
        """
        times = {message.id: message.received_at for message in messages}
        return self._moved_to(times.values(), {**self.seen, **times}, service)

    def _moved_to(
        self, times: Iterable[datetime | None], seen: Mapping[str, datetime | None], service: Service | None
    ) -> Cursor:
        dated = [when for when in times if when is not None]
        if service is not None:
            # Neither clock may be right. By the earlier one nothing is behind the cursor that has yet to come.
            present = min(service.now(), service.clock())
            dated = [min(when, present) for when in dated]
        since = max([*dated, *([self.since] if self.since else [])], default=None)
        moved = Cursor(floor=self.floor, since=since, seen=seen)
        if service is not None:
            moved = moved.not_ahead_of(service)
        return moved._without_what_cannot_return(service.zone if service is not None else UTC)

    def _without_what_cannot_return(self, zone: tzinfo) -> Cursor:
        start = self.window_start
        if start is None or start < _EPOCH:
            return self
        start -= SLACK
        seen = {
            id_: when
            for id_, when in self.seen.items()
            # In the hour that autumn repeats a time without an offset is read later when the clocks have gone back.
            if when is None or when >= start or (when >= start - _HOUR and _latest(when, zone) >= start)
        }
        return dataclasses.replace(self, seen=seen)

    def to_dict(self) -> JsonDict:
        """Return the cursor as plain JSON."""
        return {
            "floor": _to_json(self.floor),
            "since": _to_json(self.since),
            "seen": {id_: _to_json(when) for id_, when in self.seen.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Bring a cursor back from :meth:`to_dict`.

        :raises InvalidInput: If ``data`` is not such a dictionary.
        """
        try:
            seen = {str(id_): _from_json(when) for id_, when in data["seen"].items()}
            return cls(floor=_from_json(data["floor"]), since=_from_json(data["since"]), seen=seen)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise InvalidInput("cursor", Shown("a damaged cursor"), "the JSON of Cursor.to_dict()") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What one question brought.

    :param messages: New messages, oldest first.
    :param cursor: The cursor that has them behind it.
    """

    messages: list[Message]
    cursor: Cursor


def start(service: Service, after: Any, *, run_started: datetime, now: datetime | None = None) -> Flow[Cursor]:
    """Return where a reader begins.

    :param service: The service.
    :param after: None for everything unread, or, where the service has no read flag, since ``run_started``;
        ``"earliest"`` for everything there is; ``"now"``; a time as ISO 8601 text; or the JSON of a message, a receipt
        or a cursor.
    :param run_started: When the DAG run started, by our clock.
    :param now: What ``"now"`` means, by our clock. Default: the present.
    :return: The cursor.
    :raises InvalidInput: If ``after`` is none of these.
    """
    if isinstance(after, Mapping):
        return _after_record(after)
    if after == "earliest" or (after is None and service.has_read_flag):
        return Cursor()
    if after in (None, "now"):
        if not service.skew_known:
            # One exchange tells how far the service's clock is from ours.
            yield service.check()
        began = (now or service.clock()) if after == "now" else run_started
        return Cursor(floor=(began + timedelta(seconds=service.skew_s)).replace(microsecond=0))
    if isinstance(after, str | datetime):
        return Cursor(floor=as_utc("after", after, service.zone))
    raise InvalidInput("after", Shown(type(after).__name__), _AFTER)


def _after_record(record: Mapping[str, Any]) -> Cursor:
    if "seen" in record:
        return Cursor.from_dict(record)
    if "status" in record:
        sent_at = Receipt.from_dict(record).sent_at
        if sent_at is None:
            raise InvalidInput("after", Shown("a receipt without a time"), _AFTER)
        return Cursor(floor=sent_at)
    message = Message.from_dict(record)
    when = message.received_at or message.sent_at
    if when is None:
        raise InvalidInput("after", Shown("a message without a time"), _AFTER)
    return Cursor(floor=when, since=when, seen={message.id: when})


def poll(service: Service, cursor: Cursor, *, limit: int | None = None, wanted: Wanted | None = None) -> Flow[Batch]:
    """Ask once what is newer than a cursor.

    :param service: The service.
    :param cursor: How far the reader has come.
    :param limit: The most messages to return; the rest stays for the next poll. Default: all.
    :param wanted: Says of a message whether it is to be returned. Default: all are.
    :return: The new messages and the next cursor. Nothing is acknowledged.
    """
    cursor = cursor.not_ahead_of(service)
    asked_for = limit if wanted is None else None
    listed = yield from service.received(cursor.window_start, seen=cursor.seen, limit=asked_for)
    corrected = cursor.not_ahead_of(service)
    if cursor.since and corrected.since and cursor.since - corrected.since > SLACK:
        # Only this answer has told that the service's clock is far behind.
        cursor = corrected
        listed = yield from service.received(cursor.window_start, seen=cursor.seen, limit=asked_for)
    fresh = [
        message
        for message in listed
        if message.id not in cursor.seen and not _before(message, cursor.floor) and (wanted is None or wanted(message))
    ]
    messages = by_time(fresh)[:limit]
    return Batch(messages, cursor.past(messages, service))


def read_along(service: Service, messages: list[Message]) -> Flow[list[Message]]:
    """Return other unread messages that cannot but be marked read together with these.

    :param service: The service.
    :param messages: Messages that are to be marked read.
    """
    along: dict[str, Message] = {}
    for message in {(message.sender, message.received_at): message for message in messages}.values():
        others = yield from service.read_along(message)
        along |= {other.id: other for other in others}
    asked_for = {message.id for message in messages}
    return [other for other in along.values() if other.id not in asked_for]


def mark_read(service: Service, messages: list[Message], files_kept: Collection[str] = ()) -> Flow[list[Message]]:
    """Set the service's read flag, and lose nothing of what is marked along with others.

    What would be marked along is looked at before. So it is returned even if the answer to the marking call is lost;
    then it, or the messages themselves, may still be unread and come again. Only what arrives between the look and a
    marking call whose answer is lost is lost with it.

    :param service: The service.
    :param messages: The messages dealt with.
    :param files_kept: Ids of other messages that may be marked along although they have files. Default: none.
    :return: Other messages that are marked read now, or may be.
    :raises FilesWouldBeLost: If another message with files would be marked along, and the service gives out the files
        of unread messages only.
    :raises MessagingError: If the service refused, or nothing would be lost: do the same again.
    """
    beside = yield from read_along(service, messages)
    at_stake = [other.id for other in beside if other.attachments and other.id not in files_kept]
    if at_stake and not service.keeps_read:
        raise FilesWouldBeLost(service.name, at_stake)
    along = {other.id: other for other in beside}
    try:
        extra = yield from service.mark_read(messages)
    except MessagingError as error:
        refused = isinstance(error, ServiceError) and not isinstance(error, ServiceUnavailable)
        if refused or not along:
            raise
        extra = []
    return by_time({**along, **{other.id: other for other in extra}}.values())


def acknowledged(service: Service, cursor: Cursor, messages: list[Message]) -> Flow[Cursor]:
    """Move a stored cursor past messages that a DAG has dealt with, and past nothing else.

    The cursor only moves up to the oldest message that is still open: what was handed to another task, or never
    handed over, stays in front of it.

    :param service: The service.
    :param cursor: The reader's stored cursor.
    :param messages: The messages dealt with.
    :return: The cursor to store.
    """
    cursor = cursor.not_ahead_of(service)
    done = {**cursor.seen, **{message.id: message.received_at for message in messages}}
    passed: dict[str, datetime | None] = dict(done)
    still_open: list[datetime] = []
    while not still_open:
        listed = yield from service.received(cursor.window_start, seen=passed, limit=1)
        unknown = {message.id: message.received_at for message in listed if message.id not in passed}
        if not unknown:
            break
        # Those without a time and those that are not wanted stand in nobody's way, but what comes after them may.
        still_open = [when for when in unknown.values() if when is not None and not _is_before(when, cursor.floor)]
        passed |= unknown
    dated = [when for when in done.values() if when is not None and (not still_open or when <= min(still_open))]
    return cursor._moved_to(dated, done, service)


def _before(message: Message, floor: datetime | None) -> bool:
    return message.received_at is not None and _is_before(message.received_at, floor)


def _is_before(when: datetime, floor: datetime | None) -> bool:
    return floor is not None and when < floor


def _latest(when: datetime, zone: tzinfo) -> datetime:
    return latest_reading(when, zone, when + _HOUR)


def _to_json(when: datetime | None) -> str | None:
    return when.isoformat() if when else None


def _from_json(value: Any) -> datetime | None:
    when = datetime.fromisoformat(value) if value is not None else None
    if when is not None and when.tzinfo is None:
        raise ValueError("a time without a zone")
    return when
