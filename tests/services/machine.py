"""A state machine in which a watcher, a named reader and a shared view read from a model of an inbox."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_messaging.exceptions import ConnectionLost
from airflow_messaging.messages import Message
from airflow_messaging.services.receiving import SLACK, Batch, Cursor, acknowledged, poll
from airflow_messaging.services.view import InboxView

from .model import PAGE, Entry, ModelService, age, ids, in_view, not_before
from .play import NOW

LATEST_LISTING_S = 180
DAY_S = 24 * 3600
WARSAW = ZoneInfo("Europe/Warsaw")
BEFORE_THE_CLOCKS_GO_BACK_S = (datetime(2024, 10, 27, 0, 30, tzinfo=UTC) - NOW).total_seconds()


def stored_by_a_database(cursor: Cursor, order: int = 0) -> Cursor:
    """The cursor through JSON, with its keys sorted, turned round or left alone."""
    data = cursor.to_dict()
    if order % 3 == 1:
        data["seen"] = dict(reversed(data["seen"].items()))
    back = Cursor.from_dict(json.loads(json.dumps(data, sort_keys=order % 3 == 2)))
    assert back == cursor
    return back


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
            assert all(age(m) >= age(batch.messages[-1]) for m in rest), "a later one in the place of an earlier one"
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
        return [m for m in offered if m.id not in self.live.seen and not_before(m, start)]

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
        assert batch.messages == sorted(batch.messages, key=age), "not the oldest first"
        assert all(not_before(m, self.floor) for m in batch.messages)
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
                dealt_with = [m for m in dealt_with if not_before(m, self.floor)]
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
        return [e for e in self.service.visible() if e.id not in settled and not_before(e.message, self.floor)]

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


class ReceivingWithFlag(Receiving):
    flag = True


class ReceivingWithLongPoll(Receiving):
    long_poll = True
