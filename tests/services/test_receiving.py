import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.messages import Message
from airflow_messaging.services.base import Call, Service
from airflow_messaging.services.http import Request, Response
from airflow_messaging.services.paging import Page, every_item
from airflow_messaging.services.receiving import OVERLAP, SLACK, Cursor, acknowledged, poll

from .play import NOW, SetClock, answer, run_flow


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def call_for(endpoint, result):
    return Call(endpoint=endpoint, request=Request(method="GET", url=endpoint), parse=lambda _: result)


class Store(Service):
    """A service in memory. `order` is the order in which messages came; `coarse` ignores the window."""

    name = title = "store"
    has_read_flag = False

    def __init__(self, *messages, coarse=False):
        super().__init__("https://example.com", clock=SetClock(at(10**6)))
        self.order = list(messages)
        self.coarse = coarse

    def auth_flow(self, request):
        yield request

    def check(self):
        return call_for("check", None)

    def refusal(self, response: Response):
        raise NotImplementedError

    def send(self, draft):
        raise NotImplementedError

    def message(self, message_id):
        raise NotImplementedError

    def received(self, since, *, seen, limit):
        listed = yield call_for("list", [m for m in self.order if m.id not in seen])
        if not self.coarse and since is not None:
            listed = [m for m in listed if m.received_at is None or m.received_at >= since]
        return sorted(listed, key=lambda m: m.received_at or datetime.min.replace(tzinfo=UTC))[:limit]


def parsed(call):
    return call.parse(answer())


def run(flow):
    return run_flow(flow, parsed).result


def message(id_, seconds=0):
    return Message(service="store", id=id_, received_at=None if seconds is None else at(seconds))


def ids(messages):
    return [m.id for m in messages]


def stored(cursor):
    """The cursor as a database that sorts the keys of JSON brings it back."""
    return Cursor.from_dict(json.loads(json.dumps(cursor.to_dict(), sort_keys=True)))


# -- the cursor -----------------------------------------------------------------------------------------------------


def test_a_cursor_survives_json():
    cursor = Cursor(floor=at(-5), since=at(3), seen={"a": at(3), "b": None})
    assert stored(cursor) == cursor
    assert stored(Cursor()) == Cursor()


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        "x",
        {"floor": None, "since": None},
        {"floor": None, "since": None, "seen": []},
        {"floor": "2024-01-01T00:00:00", "since": None, "seen": {}},
        {"floor": None, "since": 5, "seen": {}},
        {"floor": None, "since": "soon", "seen": {}},
        {"floor": None, "since": None, "seen": {"a": "secret"}},
    ],
)
def test_a_damaged_cursor_is_refused(data):
    with pytest.raises(InvalidInput) as caught:
        Cursor.from_dict(data)
    assert caught.value.field == "cursor"
    assert "secret" not in str(caught.value)


def test_the_window_overlaps_and_never_begins_before_the_floor():
    assert Cursor().window_start is None
    assert Cursor(floor=at(0)).window_start == at(0)
    assert Cursor(since=at(0)).window_start == at(0) - OVERLAP
    assert Cursor(floor=at(-1), since=at(0)).window_start == at(-1)
    assert Cursor(floor=at(-9999), since=at(0)).window_start == at(0) - OVERLAP


def test_what_cannot_return_is_forgotten():
    limit = -(OVERLAP + SLACK).total_seconds()
    cursor = Cursor(seen={"gone": at(limit - 1), "edge": at(limit), "undated": None}).past([message("new", 0)])
    assert set(cursor.seen) == {"edge", "undated", "new"}
    assert cursor.since == at(0)


def test_since_never_moves_back():
    assert Cursor(since=at(5)).past([message("late", 1)]).since == at(5)


# -- polling --------------------------------------------------------------------------------------------------------


def test_each_message_is_handed_over_once_and_oldest_first():
    store = Store(message("b", 2), message("a", 1))
    batch = run(poll(store, Cursor()))
    assert ids(batch.messages) == ["a", "b"]
    again = run(poll(store, stored(batch.cursor)))
    assert again.messages == []
    assert again.cursor == batch.cursor


def test_two_messages_in_one_second():
    store = Store(message("a", 1))
    first = run(poll(store, Cursor()))
    store.order.append(message("b", 1))
    second = run(poll(store, stored(first.cursor)))
    assert ids(second.messages) == ["b"]
    assert run(poll(store, stored(second.cursor))).messages == []


def test_a_message_that_is_listed_late_is_found_within_the_overlap():
    store = Store(message("a", 0))
    cursor = run(poll(store, Cursor())).cursor
    store.order += [message("late", -OVERLAP.total_seconds()), message("too late", -OVERLAP.total_seconds() - 1)]
    assert ids(run(poll(store, cursor)).messages) == ["late"]


@pytest.mark.parametrize("coarse", [True, False])
def test_a_message_older_than_the_floor_is_not_wanted(coarse):
    store = Store(message("old", -1), message("just", 0), message("new", 1), coarse=coarse)
    assert ids(run(poll(store, Cursor(floor=at(0)))).messages) == ["just", "new"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_limit_leaves_the_later_ones_for_the_next_poll(limit):
    store = Store(*(message(str(n), n // 2) for n in range(7)))
    cursor, got = Cursor(), []
    while (batch := run(poll(store, cursor, limit=limit))).messages:
        assert len(batch.messages) <= limit
        got += ids(batch.messages)
        cursor = stored(batch.cursor)
    assert got == [str(n) for n in range(7)]


def test_messages_far_apart_with_a_limit():
    store = Store(message("a", 0), message("b", 99999))
    first = run(poll(store, Cursor(), limit=1))
    assert ids(run(poll(store, first.cursor, limit=1)).messages) == ["b"]


def test_a_message_without_a_time_comes_once():
    store = Store(message("undated", None), message("a", 99999))
    batch = run(poll(store, Cursor()))
    assert ids(batch.messages) == ["undated", "a"]
    assert run(poll(store, stored(batch.cursor))).messages == []


# -- acknowledging --------------------------------------------------------------------------------------------------


def test_an_acknowledged_message_does_not_come_again():
    store = Store(message("a", 1), message("b", 2))
    cursor = run(acknowledged(store, Cursor(), store.order))
    assert cursor.since == at(2)
    assert run(poll(store, stored(cursor))).messages == []


@pytest.mark.parametrize("coarse", [True, False])
@pytest.mark.parametrize("undated", [[], [message("undated", None)]])
@pytest.mark.parametrize("floor", [None, at(-5000)])
def test_a_cursor_never_passes_an_open_message(coarse, undated, floor):
    far = 99999
    old = [message("unwanted", -6000)] if floor else []
    store = Store(*old, *undated, message("a", 0), message("open", 1), message("z", far), coarse=coarse)
    cursor = run(acknowledged(store, Cursor(floor=floor), [message("a", 0), message("z", far)]))
    assert cursor.since == at(0)
    assert set(cursor.seen) == {"a", "z"}
    assert ids(run(poll(store, stored(cursor))).messages) == [*ids(undated), "open"]


def test_an_open_message_in_the_same_second():
    store = Store(message("a", 1), message("b", 1))
    cursor = run(acknowledged(store, Cursor(), [message("b", 1)]))
    assert ids(run(poll(store, stored(cursor))).messages) == ["a"]


def test_what_is_not_wanted_does_not_hold_the_cursor_back():
    store = Store(message("unwanted", -1), message("undated", None), message("a", 5), coarse=True)
    cursor = run(acknowledged(store, Cursor(floor=at(0)), [message("a", 5)]))
    assert cursor.since == at(5)


def test_acknowledging_nothing_moves_nothing():
    cursor = Cursor(floor=at(-1), since=at(3), seen={"a": at(3)})
    assert run(acknowledged(Store(message("a", 3)), cursor, [])) == cursor
    assert run(acknowledged(Store(), Cursor(), [])) == Cursor()


def test_a_cursor_does_not_move_back_for_a_late_acknowledgement():
    cursor = Cursor(since=at(9999))
    assert run(acknowledged(Store(message("a", 0)), cursor, [message("a", 0)])).since == at(9999)


@settings(max_examples=200, deadline=None)
@given(
    times=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    done=st.sets(st.integers(0, 7)),
    rounds=st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=6),
)
def test_no_message_is_both_unacknowledged_and_forgotten(times, done, rounds):
    """Minutes apart, some acknowledged in any order: whoever polls from the stored cursor gets all the others."""
    minutes = [message(str(n), minute * 60) for n, minute in enumerate(times)]
    store = Store(*minutes)
    finished = {str(n) for n in done}
    cursor = stored(run(acknowledged(store, Cursor(), [m for m in minutes if m.id in finished])))
    for limit, crash in rounds:
        batch = run(poll(store, cursor, limit=limit))
        assert not finished & set(ids(batch.messages))
        if not crash:
            finished |= set(ids(batch.messages))
            cursor = stored(run(acknowledged(store, cursor, batch.messages)))
    assert set(ids(run(poll(store, cursor)).messages)) == {m.id for m in minutes} - finished


# -- pages ----------------------------------------------------------------------------------------------------------


def test_a_single_page_is_read_once():
    items, calls = run_flow(every_item("store", lambda n, _: call_for(str(n), Page(["a", "b"])), str), parsed)
    assert (items, len(calls)) == (["a", "b"], 1)


def test_an_empty_page_ends_the_list_whatever_it_announces():
    pages = {1: Page(["a"], True), 2: Page([], True)}
    items, calls = run_flow(every_item("store", lambda n, _: call_for(str(n), pages[n]), str), parsed)
    assert items == ["a"]
    assert [call.endpoint for call in calls] == ["1", "2", "1", "2"]
