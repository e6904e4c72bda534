"""SendHub: all unread messages of all conversations, and marking them as read."""

import pytest

from airflow_messaging.exceptions import ProtocolError, UnsupportedFeature
from airflow_messaging.messages import Message

from .play import answer, run_flow
from .play_sendhub import SENT, conversation, entry, listing, make, outbound, utc

service = pytest.fixture(make)


def test_all_unread_messages_of_a_conversation_are_received(service):
    responses = [
        listing(conversation(1), conversation(2, unread=None, threadId=None, resource_uri="/v1/threads/2/")),
        listing(
            entry(5, "2024-10-28T20:00:02"),
            entry(4, "2024-10-28T20:00:01", unread=False),
            entry(3, "2024-10-28T20:00:00"),
            outbound(8),
            entry(9, type="voicecall-in"),
        ),
        listing(entry(6, "2024-10-28T20:00:01.5", contacts=None, type=None)),
    ]
    got, calls = run_flow(service.received(None, seen={}, limit=None), responses, service)
    assert [(m.id, m.sender) for m in got] == [("3", "1111"), ("6", "2222"), ("5", "1111")]
    assert got[1].received_at == utc("2024-10-28T20:00:01.5")
    assert [call.request.url for call in calls] == ["inbox/", "threads/1", "threads/2"]
    assert calls[0].request.params == (("limit", "100"), ("unread", "true"))
    assert all(call.request.method == "GET" for call in calls)


def test_a_conversation_is_read_though_its_last_message_is_seen(service):
    responses = [listing(conversation(1)), listing(entry(4), entry(5))]
    got = run_flow(service.received(None, seen={"5": None}, limit=None), responses, service).result
    assert [m.id for m in got] == ["4"]


def test_a_conversation_that_ended_before_the_window_is_not_read(service):
    responses = [
        listing(conversation(1, "2024-10-28T19:00:00"), conversation(2, unread=False), conversation(3)),
        listing(entry(4, "2024-10-28T19:59:59"), entry(5, "2024-10-28T20:00:00"), entry(6, "2024-10-28T20:00:01")),
    ]
    flow = service.received(utc("2024-10-28T20:00:00"), seen={}, limit=1)
    got, calls = run_flow(flow, responses, service)
    assert [m.id for m in got] == ["5"]
    assert [call.request.url for call in calls] == ["inbox/", "threads/3"]


def test_the_offset_counts_what_came_not_what_was_asked_for(service):
    first = [listing(conversation(1), conversation(2), following="/v1/inbox?offset=2"), listing(conversation(3))]
    threads = [listing(entry(1)), listing(entry(2)), listing(entry(3))]
    got, calls = run_flow(service.received(None, seen={}, limit=None), [*first, *first, *threads], service)
    assert [m.id for m in got] == ["1", "2", "3"]
    offsets = [dict(call.request.params).get("offset") for call in calls[:4]]
    assert offsets == [None, "2", None, "2"]


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_long_conversation_is_read_as_far_as_the_window(service, newest_first):
    def hour(h):
        return entry(h, f"2024-10-28T{h}:00:00")

    pages = [(hour(20), hour(19)), (hour(18), hour(17)), (hour(16), hour(15))]
    if not newest_first:
        pages = [tuple(reversed(page)) for page in reversed(pages)]
    more = [listing(*page, following=None if n == 2 else "more") for n, page in enumerate(pages)]
    needed = more[:2] if newest_first else more
    flow = service.received(utc("2024-10-28T17:30:00"), seen={}, limit=None)
    got, calls = run_flow(flow, [listing(conversation(1)), *needed], service)
    assert [m.id for m in got] == ["18", "19", "20"]
    assert len(calls) == 1 + len(needed)


def test_a_server_that_ignores_the_offset_is_noticed(service):
    same = listing(conversation(1), following="more")
    with pytest.raises(ProtocolError, match="same"):
        run_flow(service.received(None, seen={}, limit=None), lambda _: same, service)


def test_mark_read_puts_each(service):
    messages = [Message(service="sendhub", id="4"), Message(service="sendhub", id="5")]
    extra, calls = run_flow(service.mark_read(messages), [answer("", 204), answer(SENT)], service)
    assert extra == []
    assert [(call.request.method, call.request.url) for call in calls] == [
        ("PUT", "messages/4/"),
        ("PUT", "messages/5/"),
    ]


def test_what_it_does_not_know(service):
    with pytest.raises(UnsupportedFeature):
        next(service.wait_next("1"))
