"""A service in memory, whose inbox may change at any moment."""

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from airflow_messaging.exceptions import ConnectionLost, MessagingError
from airflow_messaging.messages import Message
from airflow_messaging.services.base import Call, Flow, Service
from airflow_messaging.services.http import Request, Response
from airflow_messaging.services.paging import Page, every_item
from airflow_messaging.services.parsing import parse_time
from airflow_messaging.services.receiving import Cursor
from airflow_messaging.services.view import InboxView

from .play import NOW

PAGE = 3


@dataclasses.dataclass
class Entry:
    """One message as the service knows it. Times are the service's, in whole seconds."""

    message: Message
    place: int
    visible_from: float
    expires: float | None = None
    read: bool = False
    written: str | None = None
    settled: tuple[str | None, datetime | None] = (None, None)

    def take_the_written_time(self, zone: tzinfo, now: datetime) -> None:
        """Read it as a client does; only one that can be read in two ways changes with the present."""
        if self.settled in ((self.written, None), (self.written, now)):
            return
        if self.written is not None:
            self.message = dataclasses.replace(self.message, received_at=parse_time(self.written, zone, now))
        self.settled = self.written, now if self.is_of_the_hour_that_comes_twice(zone) else None

    def is_of_the_hour_that_comes_twice(self, zone: tzinfo) -> bool:
        if self.written is None:
            return False
        return parse_time(self.written, zone) != parse_time(self.written, zone, datetime.max.replace(tzinfo=UTC))

    @property
    def id(self) -> str:
        return self.message.id


class ModelService(Service):
    """A service in memory. Each page is a call, and `between` may change the inbox while a flow runs.

    :param flag: Whether it has a read flag; then it lists what is unread.
    :param long_poll: Whether it holds connections; then it lists in the order of arrival, as Go Integrate Me does.
    :param backwards: Whether it lists those of one second the wrong way round.
    :param generous: Whether it lists more than it is asked for, as MDI and LiquidFiles do.
    :param zone: The zone in which it writes its times, without an offset.
    """

    name = title = "model"
    has_read_flag = False
    page = PAGE

    def __init__(
        self,
        *,
        flag: bool = False,
        long_poll: bool = False,
        backwards: bool = False,
        generous: bool = False,
        zone: tzinfo = UTC,
    ) -> None:
        super().__init__("https://example.com", clock=lambda: NOW + timedelta(seconds=self.real_s), zone=zone)
        self.has_read_flag = flag  # type: ignore[misc]
        self.long_poll = long_poll  # type: ignore[misc]
        self.backwards = backwards
        self.generous = generous
        self.entries: list[Entry] = []
        self.real_s = 0.0
        self.held_offset_s = 0
        self.between: list[Any] = []

    # -- what happens in the world ---

    def arrive(
        self, *, delay_s: float = 0, lives_s: float | None = None, dated: bool = True, offset_s: float = 0
    ) -> Entry:
        when = NOW + timedelta(seconds=int(self.real_s + self.skew_s + offset_s)) if dated else None
        number = len(self.entries)
        # Ids that neither sort nor stand in the order of arrival.
        message = Message(service=self.name, id=f"{(number * 7919) % 10007}-{number}", received_at=when)
        end = None if lives_s is None else self.real_s + lives_s
        written = None if when is None else f"{when.astimezone(self.zone):%Y-%m-%d %H:%M:%S}"
        self.entries.append(Entry(message, number, self.real_s + delay_s, end, written=written))
        return self.entries[-1]

    def exists(self, entry: Entry) -> bool:
        return entry.expires is None or entry.expires > self.real_s

    def visible(self) -> list[Entry]:
        """What the service would list now, in its order."""
        listed = [e for e in self.entries if e.visible_from <= self.real_s and self.exists(e)]
        listed = [e for e in listed if not (self.has_read_flag and e.read)]
        for entry in listed:
            entry.take_the_written_time(self.zone, self.now())
        return sorted(listed, key=self._order)

    def _order(self, entry: Entry) -> Any:
        if self.long_poll:
            return entry.visible_from, entry.place
        return age(entry.message), -entry.place if self.backwards else entry.place

    # -- the service ---

    def _call(self, endpoint: str, result: Any) -> Call[Any]:
        return Call(endpoint=endpoint, request=Request(method="GET", url=endpoint), parse=lambda _: result())

    def auth_flow(self, request: Request) -> Any:
        yield request

    def check(self) -> Call[Any]:
        return self._call("check", lambda: None)

    def refusal(self, response: Response) -> Any:
        raise NotImplementedError

    def send(self, draft: Any) -> Any:
        raise NotImplementedError

    def message(self, message_id: str) -> Any:
        raise NotImplementedError

    def received(self, since: datetime | None, *, seen: Any, limit: int | None) -> Flow[list[Message]]:
        def page(number: int, _before: int) -> Call[Page[Entry]]:
            start = (number - 1) * self.page

            def read() -> Page[Entry]:
                listed = self.visible()
                return Page(listed[start : start + self.page], len(listed) > start + self.page)

            return self._call(f"page {number}", read)

        if self.long_poll:
            listed = yield self._call("list", self.visible)
            self.listed = [e.id for e in listed]
        else:
            listed = sorted((yield from every_item(self.name, page, lambda e: e.id)), key=self._order)
        new = [e.message for e in listed if e.id not in seen and not_before(e.message, since)]
        return new if self.generous else new[:limit]

    def wait_next(self, after: str) -> Flow[list[Message]]:
        def next_one() -> list[Message]:
            place = next((e.visible_from, e.place) for e in self.entries if e.id == after)
            newer = [e for e in self.visible() if (e.visible_from, e.place) > place]
            # Its time in the answer to a long poll is ours.
            return [
                dataclasses.replace(
                    e.message, received_at=e.message.received_at + timedelta(seconds=self.held_offset_s)
                )
                for e in newer[:1]
            ]

        return (yield self._call("wait", next_one))

    def mark_read(self, messages: list[Message]) -> Flow[list[Message]]:
        def mark(message: Message) -> None:
            next(e for e in self.entries if e.id == message.id).read = True

        for message in messages:
            yield self._call("mark", lambda message=message: mark(message))
        return []

    # -- the transport ---

    def run(self, flow: Flow[Any], *, fail_at: int | None = None, done: bool = True) -> Any:
        """Carry a flow out. Call number `fail_at` is lost: its request if not `done`, or else its answer."""
        result: Any = None
        for number in itertools.count():
            try:
                call = flow.throw(result) if isinstance(result, MessagingError) else flow.send(result)
            except StopIteration as end:
                return end.value
            assert number < 500, "the flow does not end"
            if self.between and number > 0:
                self.between.pop(0)()
            if number == fail_at and not done:
                result = ConnectionLost(self.name, call.endpoint, "lost")
                continue
            result = call.parse(Response(status=200))
            if number == fail_at:
                result = ConnectionLost(self.name, call.endpoint, "lost")
        raise AssertionError


def age(message: Message) -> datetime:
    return message.received_at or datetime.min.replace(tzinfo=NOW.tzinfo)


def not_before(message: Message, start: datetime | None) -> bool:
    return start is None or message.received_at is None or message.received_at >= start


def ids(messages: Any) -> list[str]:
    return [m.id for m in messages]


def in_view(view: InboxView, service: ModelService, cursor: Cursor) -> list[Message]:
    """What of a view a reader wants; what has expired meanwhile may still be in sight."""
    there = {e.id for e in service.visible()}
    wanted = [m for m in view.messages() if m.id not in cursor.seen and not_before(m, cursor.window_start)]
    return [m for m in wanted if m.id in there]
