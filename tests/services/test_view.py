"""One reader on behalf of many: whoever joins gets from the view what a poll of its own would bring."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_messaging.messages import Message
from airflow_messaging.services.receiving import OVERLAP, Cursor, poll
from airflow_messaging.services.view import MEMORY, MOST_KNOWN, InboxView

from .model import ModelService, ids, in_view
from .play import NOW

HOUR = 3600


def at(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def since(seconds: float) -> Cursor:
    return Cursor(floor=at(seconds))


def look(view: InboxView, service: ModelService, *late: Cursor) -> list[str]:
    """Ask once; what was not in sight before."""
    return ids(view.update(service, service.run(view.question(service, late))))


def hold(view: InboxView, service: ModelService) -> list[str]:
    return ids(view.take(service.run(view.hold(service))))


class Inbox:
    """A service and a view of it."""

    def __init__(self, **kind: bool) -> None:
        self.service = ModelService(**kind)
        self.view = InboxView(has_read_flag=self.service.has_read_flag)

    def arrive(self, second: float = 0, **fields: Any) -> str:
        self.service.real_s = max(self.service.real_s, second)
        return self.service.arrive(offset_s=second - self.service.real_s, **fields).id

    def look(self, *late: Cursor) -> list[str]:
        return look(self.view, self.service, *late)

    def known(self) -> list[str]:
        return ids(self.view.messages())


# -- what is in sight -----------------------------------------------------------------------------------------------


def test_nothing_is_covered_before_the_first_look() -> None:
    inbox = Inbox()
    assert not inbox.view.covers(Cursor())
    assert not inbox.view.covers(since(0))
    assert inbox.known() == []


def test_a_look_covers_all_who_begin_where_it_began_or_later() -> None:
    inbox = Inbox()
    old, new = inbox.arrive(-1), inbox.arrive(1)
    assert inbox.look(since(0)) == [new]
    assert inbox.view.covers(since(0))
    assert inbox.view.covers(since(HOUR))
    assert not inbox.view.covers(since(-1))
    assert not inbox.view.covers(Cursor())
    assert inbox.look(Cursor()) == [old]
    assert inbox.view.covers(Cursor())
    assert inbox.known() == [old, new]


def test_the_earliest_of_all_who_come_is_where_a_look_begins() -> None:
    inbox = Inbox()
    arrived = [inbox.arrive(second) for second in range(3)]
    assert inbox.look(since(2), since(1)) == arrived[1:]
    assert inbox.look(since(2), Cursor()) == arrived[:1]


@pytest.mark.parametrize("begin", [Cursor(), since(-HOUR)])
def test_who_comes_later_and_begins_later_hides_nothing_from_the_others(begin: Cursor) -> None:
    inbox = Inbox()
    first = inbox.arrive(0)
    assert inbox.look(begin) == [first]
    second, third = inbox.arrive(1), inbox.arrive(HOUR)
    assert inbox.look(since(HOUR)) == [second, third]


def test_one_who_begins_in_the_future_hides_nothing_from_the_others() -> None:
    inbox = Inbox()
    assert inbox.look(since(HOUR)) == []
    assert inbox.look(Cursor()) == []
    new = inbox.arrive(0)
    assert inbox.look() == [new]


def test_with_a_read_flag_each_look_shows_what_is_unread_now() -> None:
    inbox = Inbox(flag=True)
    first, second = inbox.arrive(0), inbox.arrive(1)
    assert inbox.look(since(0)) == [first, second]
    assert not inbox.view.covers(since(0))
    inbox.service.entries[0].read = True
    third = inbox.arrive(2)
    assert inbox.look() == [third]
    assert inbox.known() == [second, third]
    old = inbox.arrive(-HOUR)
    assert inbox.look(since(-HOUR)) == [old]
    # Who has come once is looked for from then on.
    assert inbox.look() == []
    assert inbox.known() == [old, second, third]


def test_a_message_that_is_listed_late_is_found_within_the_overlap() -> None:
    inbox = Inbox()
    new = inbox.arrive(HOUR)
    assert inbox.look(Cursor()) == [new]
    late = inbox.arrive(HOUR - OVERLAP.total_seconds())
    inbox.arrive(HOUR - OVERLAP.total_seconds() - 1)
    assert inbox.look() == [late]
    assert inbox.known() == [late, new]


def test_without_any_message_the_next_look_begins_where_the_first_did() -> None:
    inbox = Inbox()
    assert inbox.look(since(0)) == []
    inbox.arrive(-1)
    new = inbox.arrive(0)
    assert inbox.look() == [new]


def test_what_the_service_has_dropped_is_out_of_sight_where_it_lists_all() -> None:
    inbox = Inbox(long_poll=True)
    brief, lasting = inbox.arrive(0, lives_s=5), inbox.arrive(1)
    assert inbox.look(Cursor()) == [brief, lasting]
    inbox.service.real_s = 10
    assert inbox.look() == []
    assert inbox.known() == [lasting]


# -- the open connection --------------------------------------------------------------------------------------------


def test_holding_brings_what_is_new_once() -> None:
    inbox = Inbox(long_poll=True)
    inbox.arrive(0)
    inbox.look(Cursor())
    assert hold(inbox.view, inbox.service) == []
    new = inbox.arrive(0)
    assert hold(inbox.view, inbox.service) == [new]
    assert hold(inbox.view, inbox.service) == []
    assert inbox.look() == []
    assert inbox.view.covers(Cursor())


def test_holding_needs_something_to_follow() -> None:
    inbox = Inbox(long_poll=True)
    inbox.look(Cursor())
    inbox.arrive(0)
    assert hold(inbox.view, inbox.service) == []


def test_what_was_before_the_look_is_not_new_to_a_held_connection() -> None:
    inbox = Inbox(long_poll=True)
    inbox.arrive(0)
    inbox.arrive(0)
    inbox.look(since(HOUR))
    assert hold(inbox.view, inbox.service) == []
    # Of one second, the list may have them the other way round.
    inbox.service.listed.reverse()
    assert hold(inbox.view, inbox.service) == []
    assert inbox.known() == []


def test_a_known_message_of_the_same_second_does_not_end_the_wait() -> None:
    inbox = Inbox(long_poll=True)
    inbox.arrive(0)
    inbox.arrive(0)
    inbox.look(Cursor())
    # The list has them the other way round: what follows its last one comes at once, and is known.
    inbox.service.listed.reverse()
    assert hold(inbox.view, inbox.service) == []
    new = inbox.arrive(0)
    assert hold(inbox.view, inbox.service) == [new]


def test_a_service_that_goes_round_in_circles_is_left() -> None:
    inbox = Inbox(long_poll=True)
    inbox.arrive(0)
    inbox.arrive(0)
    inbox.look(Cursor())

    def circle(after: str) -> Any:
        return (yield inbox.service._call("wait", lambda: [m for m in inbox.view.messages() if m.id != after]))

    inbox.service.wait_next = circle  # type: ignore[method-assign]
    assert hold(inbox.view, inbox.service) == []


# -- memory ---------------------------------------------------------------------------------------------------------


def test_what_lies_far_back_is_let_go_and_asked_for_again() -> None:
    inbox = Inbox()
    old, new = inbox.arrive(0), inbox.arrive(MEMORY.total_seconds() + 1)
    assert inbox.look(Cursor()) == [old, new]
    assert inbox.look() == []
    assert inbox.known() == [new]
    assert not inbox.view.covers(Cursor())
    assert not inbox.view.covers(since(0))
    assert inbox.view.covers(since(1))
    assert inbox.look(since(0)) == [old]


def test_of_very_many_only_those_in_the_next_window_are_kept() -> None:
    inbox = Inbox()
    inbox.service.page = 1000
    for number in range(3 * MOST_KNOWN):
        inbox.arrive(number)
    inbox.look(Cursor())
    assert inbox.look() == []
    assert len(inbox.known()) == MOST_KNOWN
    for _ in range(2 * MOST_KNOWN):
        inbox.arrive(3 * MOST_KNOWN)
    inbox.look()
    assert inbox.look() == []
    # Those of the next question's window stay: else they would come again.
    newest = 3 * MOST_KNOWN
    assert {m.received_at for m in inbox.view.messages()} == {
        at(second) for second in range(int(newest - OVERLAP.total_seconds()), newest + 1)
    }
    assert inbox.view.covers(since(newest - OVERLAP.total_seconds()))


def test_messages_without_a_time_are_known_for_good() -> None:
    inbox = Inbox()
    undated = inbox.arrive(dated=False)
    assert inbox.look(since(0)) == [undated]
    assert inbox.look() == []
    assert inbox.look(Cursor()) == []


# -- any interleaving -----------------------------------------------------------------------------------------------


class Joiner:
    """One of those who share the view, as the inbox in the triggerer serves them."""

    def __init__(self, begin: Cursor, limit: int | None) -> None:
        self.begin = self.cursor = begin
        self.limit = limit
        self.got: list[str] = []
        self.up_to_date = False

    def take(self, offered: list[Message]) -> None:
        assert offered == sorted(offered, key=lambda m: m.received_at), "an older one after a newer one"
        taken = self.wanted_of(offered)[: self.limit]
        assert not set(ids(taken)) & set(self.got), "handed over again"
        self.got += ids(taken)
        self.cursor = self.cursor.past(taken)
        self.up_to_date = not taken

    def wanted_of(self, offered: list[Message]) -> list[Message]:
        seen, start = self.cursor.seen, self.cursor.window_start
        return [m for m in offered if m.id not in seen and (start is None or m.received_at >= start)]


class Shared(Inbox):
    """An inbox that many look into."""

    def __init__(self, **kind: bool) -> None:
        super().__init__(**kind)
        self.joiners: list[Joiner] = []

    def join(self, joiner: Joiner) -> None:
        self.joiners.append(joiner)
        self.serve(joiner)

    def serve(self, joiner: Joiner) -> None:
        """Offer what is in sight where that is enough, or else ask; either way it is what a poll would bring."""
        joiner.up_to_date = False
        lone = set(ids(self.service.run(poll(self.service, joiner.cursor)).messages))
        if self.view.covers(joiner.cursor):
            in_sight = ids(in_view(self.view, self.service, joiner.cursor))
            cursor = joiner.cursor
            joiner.take(self.view.messages())
            fresh = self.ask()
            start = cursor.window_start
            new = [m.id for m in fresh if m.id not in cursor.seen and (start is None or m.received_at >= start)]
            assert {*in_sight, *new} == lone
        else:
            self.ask(joiner)
            assert set(ids(in_view(self.view, self.service, joiner.cursor))) == lone
            joiner.take(self.view.messages())

    def ask(self, *late: Joiner) -> list[Message]:
        cursors = [joiner.cursor for joiner in late]
        fresh = self.view.update(self.service, self.service.run(self.view.question(self.service, cursors)))
        self.offer(fresh)
        return fresh

    def offer(self, fresh: list[Message]) -> None:
        for joiner in self.joiners:
            if joiner.up_to_date:
                joiner.take(fresh)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 5), st.sampled_from([0, 1, 30, 300, 1300])),
        st.tuples(st.just("late"), st.integers(1, 5), st.integers(1, 590)),
        st.tuples(st.just("join"), st.none() | st.integers(-2000, 100), st.sampled_from([None, 1])),
        st.tuples(st.just("resume"), st.integers(0, 20), st.sampled_from([None, 1])),
        st.tuples(st.just("look"), st.booleans(), st.none()),
        st.tuples(st.just("read"), st.integers(0, 20), st.none()),
        st.tuples(st.just("hold"), st.booleans(), st.none()),
    ),
    max_size=25,
)


@pytest.mark.parametrize("kind", ["flag", "cursor", "long_poll"])
@settings(max_examples=300, deadline=None, derandomize=True)
@given(steps=STEPS)
def test_each_joiner_gets_what_a_poll_of_its_own_would_bring(kind: str, steps: list[tuple[str, Any, Any]]) -> None:
    inbox = Shared(**({} if kind == "cursor" else {kind: True}))
    service = inbox.service
    for step, first, second in steps:
        if step == "arrive":
            for _ in range(first):
                inbox.arrive(service.real_s)
                service.real_s += second
        elif step == "late" and service.entries:
            newest = max(e.message.received_at for e in service.entries)
            for _ in range(first):
                inbox.arrive((newest - NOW).total_seconds() - second)
        elif step == "join":
            inbox.join(Joiner(Cursor() if first is None else since(service.real_s + first), second))
        elif step == "resume" and service.entries:
            # One that was interrupted comes back with a cursor that has forgotten what lies far behind it.
            behind = [e.message for e in service.entries[: first % len(service.entries) + 1]]
            inbox.join(Joiner(Cursor().past(behind), second))
        elif step == "look":
            inbox.ask()
        elif step == "read" and kind == "flag" and service.entries:
            service.entries[first % len(service.entries)].read = True
        elif step == "hold" and kind == "long_poll" and service.listed:
            if first:
                inbox.arrive(service.real_s)
            inbox.offer(inbox.view.take(service.run(inbox.view.hold(service))))

    for joiner in inbox.joiners:
        for _ in range(len(service.entries) + 1):
            inbox.serve(joiner)
        assert service.run(poll(service, joiner.cursor)).messages == []
        start = joiner.begin.window_start
        wanted = [e for e in service.visible() if start is None or e.message.received_at >= start]
        assert {e.id for e in wanted} <= {*joiner.got, *joiner.begin.seen}, "a joiner has not got its messages"


@settings(max_examples=30, deadline=None, derandomize=True)
@given(gaps=st.lists(st.sampled_from([0, 1, 60, 500, 1500]), min_size=1, max_size=60), far=st.booleans())
def test_no_more_is_known_than_memory_allows(gaps: list[int], far: bool) -> None:
    inbox = Inbox()
    inbox.service.page = 1000
    inbox.look(Cursor() if far else since(0))
    second = 0
    for gap in gaps:
        second += gap
        for _ in range(40):
            inbox.arrive(second)
        assert len(inbox.look()) == 40
    assert inbox.look() == []
    times = [m.received_at for m in inbox.view.messages()]
    window = [when for when in times if when >= max(times) - OVERLAP]
    assert min(times) >= max(times) - MEMORY
    # Messages of the same second stay together.
    assert len(times) <= max(MOST_KNOWN + 40 * len(gaps), len(window))
    assert len(times) - len(window) <= MOST_KNOWN
