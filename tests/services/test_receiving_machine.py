"""No message is both unacknowledged and forgotten: a state machine over the pure core, and a smaller one over HTTP."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_messaging.exceptions import ConnectionLost, MessagingError
from airflow_messaging.messages import Message
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.base import Call, Flow, Service
from airflow_messaging.services.http import Request, Response
from airflow_messaging.services.paging import Page, every_item
from airflow_messaging.services.parsing import parse_time
from airflow_messaging.services.receiving import SLACK, Batch, Cursor, acknowledged, poll
from airflow_messaging.services.view import InboxView

from .play import NOW

PAGE = 3
LATEST_LISTING_S = 180
DAY_S = 24 * 3600
WARSAW = ZoneInfo("Europe/Warsaw")
BEFORE_THE_CLOCKS_GO_BACK_S = (datetime(2024, 10, 27, 0, 30, tzinfo=UTC) - NOW).total_seconds()
EXAMPLES = settings(max_examples=150, stateful_step_count=30, deadline=None, derandomize=True, print_blob=True)


# -- the model ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Entry:
    """One message as the service knows it. Times are the service's, in whole seconds."""

    message: Message
    place: int
    visible_from: float
    expires: float | None = None
    read: bool = False
    written: str | None = None

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
            when = None if entry.written is None else parse_time(entry.written, self.zone, self.now())
            entry.message = dataclasses.replace(entry.message, received_at=when)
        return sorted(listed, key=self._order)

    def _order(self, entry: Entry) -> Any:
        if self.long_poll:
            return entry.visible_from, entry.place
        return _age(entry.message), -entry.place if self.backwards else entry.place

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
        new = [e.message for e in listed if e.id not in seen and _not_before(e.message, since)]
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


def _age(message: Message) -> datetime:
    return message.received_at or datetime.min.replace(tzinfo=NOW.tzinfo)


def _not_before(message: Message, start: datetime | None) -> bool:
    return start is None or message.received_at is None or message.received_at >= start


def ids(messages: Any) -> list[str]:
    return [m.id for m in messages]


def stored_by_a_database(cursor: Cursor, order: int = 0) -> Cursor:
    """The cursor through JSON, with its keys sorted, turned round or left alone."""
    data = cursor.to_dict()
    if order % 3 == 1:
        data["seen"] = dict(reversed(data["seen"].items()))
    back = Cursor.from_dict(json.loads(json.dumps(data, sort_keys=order % 3 == 2)))
    assert back == cursor
    return back


# -- the machine ----------------------------------------------------------------------------------------------------


class Receiving(RuleBasedStateMachine):
    """A watcher stores its cursor, a named reader acknowledges, and others look through a shared view."""

    flag = False
    long_poll = False

    @initialize(
        backwards=st.booleans(), generous=st.booleans(), floor=st.none() | st.integers(-50, 50), autumn=st.booleans()
    )
    def begin(self, backwards: bool, generous: bool, floor: int | None, autumn: bool) -> None:
        self.service = ModelService(
            flag=self.flag,
            long_poll=self.long_poll,
            backwards=backwards,
            generous=generous,
            zone=WARSAW if autumn else UTC,
        )
        self.service.real_s = BEFORE_THE_CLOCKS_GO_BACK_S if autumn else 0.0
        self.floor = None if floor is None else self.service.clock() + timedelta(seconds=floor)
        self.view = InboxView(has_read_flag=self.flag)
        # The watcher: `stored` is in Airflow's database, `live` in the process.
        self.live = self.stored = Cursor(floor=self.floor)
        self.handed: set[str] = set()
        self.kept: set[str] = set()
        # The named reader of a service without a read flag.
        self.reader = Cursor(floor=self.floor)
        self.done: set[str] = set()

    # -- the world ---

    @rule(
        count=st.integers(1, 2 * PAGE + 1),
        delay=st.sampled_from([0, 0, 0, 1, 60, LATEST_LISTING_S]),
        lives=st.sampled_from([None, None, None, 30, 600]),
        pause=st.sampled_from([0, 0, 1, 30]),
        dated=st.sampled_from([True] * 9 + [False]),
    )
    def arrive(self, count: int, delay: int, lives: int | None, pause: int, dated: bool) -> None:
        for _ in range(count):
            self.service.arrive(delay_s=delay, lives_s=lives, dated=dated or self.long_poll)
            self.service.real_s += pause

    @rule(seconds=st.sampled_from([1, 10, 100, 599, 600, 601, 5000]))
    def time_passes(self, seconds: int) -> None:
        self.service.real_s += seconds

    @rule(offset=st.integers(0, 300) | st.integers(0, DAY_S))
    def clock_moves(self, offset: int) -> None:
        """The service's clock is set to another time, forwards or back, but never behind the true one."""
        self.service.skew_s = offset

    @rule(offset=st.integers(-20, 20))
    def our_clock_moves(self, offset: int) -> None:
        self.service.held_offset_s = offset

    @rule(which=st.integers(0, 50))
    def expire(self, which: int) -> None:
        alive = [e for e in self.service.entries if self.service.exists(e)]
        if alive:
            alive[which % len(alive)].expires = self.service.real_s

    @precondition(lambda self: not self.long_poll)
    @rule(which=st.integers(0, 50), count=st.integers(1, 3), arrives=st.booleans())
    def the_list_will_change_while_it_is_read(self, which: int, count: int, arrives: bool) -> None:
        def change() -> None:
            if arrives:
                self.service.arrive()
            alive = self.service.visible()
            if alive:
                alive[which % len(alive)].expires = self.service.real_s

        self.service.between = [change] * count

    # -- the watcher ---

    @rule(limit=st.sampled_from([None, 1, 3]))
    def poll(self, limit: int | None) -> None:
        before = {e.id for e in self.owed(self.handed | self.kept)}
        batch = self.service.run(poll(self.service, self.live, limit=limit))
        self.service.between = []
        # Those that were there all the time are in the batch, or left out for the limit.
        there = before & {e.id for e in self.service.visible()}
        assert len(batch.messages) == limit or there <= set(ids(batch.messages))
        if limit is not None and not self.long_poll and batch.messages:
            rest = [e.message for e in self.service.visible() if e.id in there - set(ids(batch.messages))]
            assert all(_age(m) >= _age(batch.messages[-1]) for m in rest), "a later one in the place of an earlier one"
        self.hand_over(batch, limit)

    @rule(limit=st.sampled_from([None, 1, 3]), arrives=st.booleans())
    def wait(self, limit: int | None, arrives: bool) -> None:
        """The watcher alone with a view of its own, which holds the connection once nothing older is open."""
        view = InboxView(has_read_flag=self.flag)
        view.update(self.service, self.service.run(view.question(self.service, [self.live])))
        self.service.between = []
        offered = view.messages()
        if self.long_poll and not self.wanted(offered):
            if arrives:
                self.service.arrive()
            offered = view.take(self.service.run(view.hold(self.service)))
            event(f"held until {len(offered)} came")
        messages = self.wanted(offered)[:limit]
        self.hand_over(Batch(messages, self.live.past(messages, self.service)), limit)

    def wanted(self, offered: list[Message]) -> list[Message]:
        start = self.live.window_start
        return [m for m in offered if m.id not in self.live.seen and _not_before(m, start)]

    @rule(limit=st.sampled_from([None, 1, 3]), call=st.integers(0, 3))
    def poll_breaks_off(self, limit: int | None, call: int) -> None:
        with contextlib.suppress(ConnectionLost):
            self.hand_over(self.service.run(poll(self.service, self.live, limit=limit), fail_at=call), limit)
        self.service.between = []

    def hand_over(self, batch: Any, limit: int | None) -> None:
        assert limit is None or len(batch.messages) <= limit
        got = ids(batch.messages)
        assert len(got) == len(set(got))
        assert not set(got) & (self.handed | self.kept), "handed over again"
        assert batch.messages == sorted(batch.messages, key=_age), "not the oldest first"
        assert all(_not_before(m, self.floor) for m in batch.messages)
        self.handed |= set(got)
        self.live = batch.cursor

    @rule(order=st.integers(0, 2))
    def persist(self, order: int) -> None:
        self.kept |= self.handed
        self.handed = set()
        self.live = self.stored = stored_by_a_database(self.live, order)

    @rule()
    def crash(self) -> None:
        self.live = self.stored
        self.handed = set()

    # -- acknowledging ---

    @rule(
        which=st.sets(st.integers(0, 9), max_size=6),
        fate=st.sampled_from(["fine", "fine", "request lost", "answer lost"]),
        call=st.integers(0, 4),
        order=st.integers(0, 2),
    )
    def acknowledge(self, which: set[int], fate: str, call: int, order: int) -> None:
        # Any of those there have been since, in any order; some of them for the second time, some expired meanwhile.
        recent = [e for e in self.service.entries if e.visible_from <= self.service.real_s][-10:]
        dealt_with = [recent[n].message for n in which if n < len(recent)]
        lost = {} if fate == "fine" else {"fail_at": call, "done": fate == "answer lost"}
        with contextlib.suppress(ConnectionLost):
            if self.flag:
                self.service.run(self.service.mark_read(dealt_with), **lost)
            else:
                dealt_with = [m for m in dealt_with if _not_before(m, self.floor)]
                moved = self.service.run(acknowledged(self.service, self.reader, dealt_with), **lost)
                # What does not arrive in the store is not done, whatever the service answered.
                self.reader = stored_by_a_database(moved, order)
                self.done |= set(ids(dealt_with))

    # -- others ---

    @rule(
        starts=st.lists(st.none() | st.integers(-700, 700), max_size=3),
        seen=st.sets(st.integers(0, 9), max_size=4),
        limit=st.sampled_from([None, 1]),
    )
    def others_look_through_the_view(self, starts: list[int | None], seen: set[int], limit: int | None) -> None:
        """Whoever the view was asked for, or covers, finds there what a poll of its own would bring."""
        self.service.between = []
        recent = [e.message for e in self.service.entries if e.visible_from <= self.service.real_s][-10:]
        behind = [recent[n] for n in seen if n < len(recent)]
        now = NOW + timedelta(seconds=int(self.service.real_s))
        floors = [Cursor(floor=None if s is None else now + timedelta(seconds=s)) for s in starts]
        late = [*floors, *([self.live] if limit else []), *([Cursor().past(behind, self.service)] if behind else [])]
        self.view.update(self.service, self.service.run(self.view.question(self.service, late)))
        covered = [c for c in (self.stored, self.reader) if self.view.covers(c)]
        for cursor in (*late, *covered):
            lone = self.service.run(poll(self.service, cursor)).messages
            # A view keeps the time that came first, also of what is written with a time of the hour that comes twice.
            twice = {e.id for e in self.service.entries if e.is_of_the_hour_that_comes_twice(self.service.zone)}
            assert {m.id for m in in_view(self.view, self.service, cursor)} - twice == set(ids(lone)) - twice

    @rule(hold=st.booleans())
    def the_view_waits(self, hold: bool) -> None:
        if self.long_poll:
            self.service.between = []
            self.view.update(self.service, self.service.run(self.view.question(self.service, [])))
            if hold:
                self.service.arrive()
            # A view keeps the time that came first. Go Integrate Me's client takes it from the list, so it is right.
            offset, self.service.held_offset_s = self.service.held_offset_s, 0
            self.view.take(self.service.run(self.view.hold(self.service)))
            self.service.held_offset_s = offset

    # -- what must hold ---

    def owed(self, settled: set[str]) -> list[Entry]:
        return [e for e in self.service.visible() if e.id not in settled and _not_before(e.message, self.floor)]

    @invariant()
    def nothing_is_both_open_and_forgotten(self) -> None:
        between, self.service.between = self.service.between, []
        again = self.service.run(poll(self.service, self.stored)).messages
        assert set(ids(again)) == {e.id for e in self.owed(self.kept)}
        if not self.flag:
            again = self.service.run(poll(self.service, self.reader)).messages
            assert set(ids(again)) == {e.id for e in self.owed(self.done)}
        self.service.between = between

    @invariant()
    def a_cursor_remembers_no_more_than_its_window(self) -> None:
        for cursor in (self.live, self.stored, self.reader):
            start = cursor.window_start
            hour = timedelta(hours=1) if self.service.zone is WARSAW else timedelta()
            oldest = start - SLACK - hour if start else None
            assert all(when is None or oldest is None or when >= oldest for when in cursor.seen.values())

    def teardown(self) -> None:
        """In small steps everything comes in the end, whatever happened."""
        if not hasattr(self, "service"):
            return
        self.service.between = []
        self.service.real_s += LATEST_LISTING_S
        self.crash()
        while True:
            batch = self.service.run(poll(self.service, self.live, limit=2))
            if not batch.messages:
                break
            self.hand_over(batch, 2)
            self.persist(1)
        assert not self.owed(self.kept)


def in_view(view: InboxView, service: ModelService, cursor: Cursor) -> list[Message]:
    """What of a view a reader wants; what has expired meanwhile may still be in sight."""
    there = {e.id for e in service.visible()}
    wanted = [m for m in view.messages() if m.id not in cursor.seen and _not_before(m, cursor.window_start)]
    return [m for m in wanted if m.id in there]


class ReceivingWithFlag(Receiving):
    flag = True


class ReceivingWithLongPoll(Receiving):
    long_poll = True


TestCursor = Receiving.TestCase
TestFlag = ReceivingWithFlag.TestCase
TestLongPoll = ReceivingWithLongPoll.TestCase
for case in (TestCursor, TestFlag, TestLongPoll):
    case.settings = EXAMPLES
del case


@settings(max_examples=100, deadline=None, derandomize=True)
@given(times=st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=5), floor=st.booleans())
def test_no_time_that_a_service_may_write_stops_a_reader(times: list[datetime], floor: bool) -> None:
    """Whatever the times: what is listed with a later time than all before is handed over, once."""
    service = ModelService()
    cursor = Cursor(floor=datetime.min.replace(tzinfo=UTC)) if floor else Cursor()
    for when in sorted([*times, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]):
        entry = service.arrive()
        entry.written = when.replace(tzinfo=None).isoformat()
        batch = service.run(poll(service, cursor))
        assert ids(batch.messages) == [entry.id]
        cursor = stored_by_a_database(batch.cursor)
        assert service.run(poll(service, cursor)).messages == []


# -- over HTTP ------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 4)),
        st.tuples(st.just("poll"), st.sampled_from([None, 1, 3])),
        st.tuples(st.just("persist"), st.integers(0, 2)),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("acknowledge"), st.sets(st.integers(0, 5), min_size=1, max_size=3)),
        st.tuples(st.just("answer is lost"), st.integers(0, 5)),
        st.tuples(st.just("clock"), st.integers(-150, 150) | st.integers(0, DAY_S)),
    ),
    min_size=4,
    max_size=14,
)


@contextlib.contextmanager
def hook_of(sandbox: RunningSandbox, conn_type: str) -> Iterator[Any]:
    from airflow_messaging.hooks.registry import hook_for
    from airflow_messaging.transport import retry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "_backoff", lambda _state: 0.0)
        connection = json.dumps(sandbox.connections[f"{conn_type}_default"])
        patch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", connection)
        with hook_for(f"{conn_type}_default") as hook:
            yield hook


@pytest.mark.parametrize("conn_type", ["sendhub", "serwersms", "mdi", "liquidfiles", "go_integrate"])
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_over_http_nothing_is_both_open_and_forgotten(
    conn_type: str, running_sandbox: RunningSandbox, steps: list[tuple[str, Any]]
) -> None:
    sandbox = running_sandbox
    sandbox.reset()
    with hook_of(sandbox, conn_type) as hook:
        flag = hook.service.has_read_flag
        arrived: dict[str, Message] = {}
        live = stored = Cursor()
        handed: set[str] = set()
        kept: set[str] = set()
        read: set[str] = set()

        def settle(messages: list[Message]) -> None:
            """Store the cursor that has these behind it, or set their read flags."""
            nonlocal stored, live, handed
            if flag:
                also = hook.mark_read(messages)
                read.update(ids(messages), ids(also))
            else:
                live = stored = stored_by_a_database(hook.run(acknowledged(hook.service, stored, messages)))
                kept.update(ids(messages))
                handed = set()

        for step, how in steps:
            known = [arrived[id_] for id_ in sorted(handed | kept) if id_ in arrived]
            if step == "arrive":
                for _ in range(how):
                    sandbox.inbound(conn_type, text="hello")
            elif step == "clock":
                sandbox.clock(how)
            elif step == "persist":
                kept, handed = kept | handed, set()
                live = stored = stored_by_a_database(live, how)
            elif step == "crash":
                live, handed = stored, set()
            elif step == "poll":
                batch = hook.poll(live, limit=how)
                assert how is None or len(batch.messages) <= how
                assert not set(ids(batch.messages)) & (handed | kept)
                arrived.update({m.id: m for m in batch.messages})
                handed.update(ids(batch.messages))
                live = batch.cursor
            elif step == "acknowledge" and known:
                settle([known[n] for n in how if n < len(known)])
            elif step == "answer is lost" and known:
                sandbox.faults([{"service": conn_type, "reset": True, "times": 1, "when": "after"}])
                with contextlib.suppress(MessagingError):
                    settle([known[how % len(known)]])
                    assert not flag or known[how % len(known)].id in read
                sandbox.clear_faults()
            waiting = {entry["id"] for entry in sandbox.messages(conn_type)["waiting"]}
            again = set(ids(hook.poll(stored).messages))
            assert not again & (kept | read)
            # What was read without our knowing it, because the answer was lost, is the service's to say.
            assert flag or waiting - kept == again
            assert not flag or set(ids(hook.poll(Cursor()).messages)) - kept == again
