"""SerwerSMS: receiving, marking as read, and attachments."""

import base64
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_messaging.exceptions import ConnectionLost, NotFound, ProtocolError
from airflow_messaging.messages import Attachment, Message
from airflow_messaging.services.paging import Page

from .play import NOW, answer, body_of, refused, run_flow
from .play_serwersms import PHONE, RECIVED, item, make, message, page

service = pytest.fixture(make)

# -- receiving --------------------------------------------------------------------------------------------------------


def test_all_pages_are_read_and_never_marked(service):
    once = [
        page(item(2), item(3), number=1, count=3),
        page(item(1), number=2, count=3),
        page(item(4), number=3, count=3),
    ]
    got, calls = run_flow(service.messages_recived_all(phone=PHONE), [*once, *once], service)
    assert [m.id for m in got] == ["1", "2", "3", "4"]
    assert [body_of(call).get("page") for call in calls] == [None, 2, 3, None, 2, 3]
    assert all("read" not in body_of(call) and call.repeatable for call in calls)


def test_a_message_that_slipped_to_the_page_before_is_found(service):
    first = [page(item(1), item(2), count=2), page(item(4), number=2, count=2)]  # 1 is marked, so 3 moved to page 1
    second = [page(item(2), item(3), count=2), page(item(4), number=2, count=2)]
    got = run_flow(service.messages_recived_all(), [*first, *second, *second], service).result
    assert [m.id for m in got] == ["1", "2", "3", "4"]


def test_paging_that_does_not_move_is_an_error(service):
    with pytest.raises(ProtocolError, match="same"):
        run_flow(service.messages_recived_all(), lambda _: page(item(1), count=2), service)


def test_received_is_oldest_first_without_the_seen(service):
    body = page(
        item(12, "2024-10-28 20:00:01"), item(9, "2024-10-28 20:00:00"), item(10, "2024-10-28 20:00:00"),
        item(5, "2024-10-28 19:00:00"), item(11, "2024-10-28 20:00:00"),
    )  # fmt: skip
    since = datetime(2024, 10, 28, 19, 30, tzinfo=UTC)
    got, calls = run_flow(service.received(since, seen={"10": None}, limit=None), [body], service)
    assert [m.id for m in got] == ["9", "11", "12"]
    assert body_of(calls[0]) == {"date_from": "2024-10-28 19:30:00"}
    limited = run_flow(service.received(None, seen={}, limit=2), [body], service).result
    assert [m.id for m in limited] == ["5", "9"]


@pytest.mark.parametrize(
    "since, now, asked",
    [
        # 27 October 2024, 03:00 summer time becomes 02:00 winter time, at 01:00 UTC.
        ("2024-10-26T23:55", "2024-10-26T23:58", "2024-10-27 01:55:00"),
        ("2024-10-27T00:50", "2024-10-27T01:15", "2024-10-27 01:50:00"),
        ("2024-10-27T01:00", "2024-10-27T01:15", "2024-10-27 02:00:00"),
        ("2024-10-27T02:00", "2024-10-27T02:15", "2024-10-27 03:00:00"),
    ],
)
def test_the_hour_that_autumn_repeats(since, now, asked):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    service = make(ZoneInfo("Europe/Warsaw"), moment)
    written = (moment - timedelta(minutes=1)).astimezone(service.zone).strftime("%Y-%m-%d %H:%M:%S")
    flow = service.received(datetime.fromisoformat(since).replace(tzinfo=UTC), seen={}, limit=None)
    (got,), calls = run_flow(flow, [page(item(1, written))], service)
    assert got.received_at == moment - timedelta(minutes=1)
    assert body_of(calls[0])["date_from"] == asked
    assert written >= asked, "the service would have left it out"


def test_message_by_id(service):
    assert run_flow(service.message("2"), [page(item(1), item(2))], service).result.id == "2"
    with pytest.raises(NotFound):
        run_flow(service.message("3"), [page(item(1), item(2))], service)


def test_mark_read_narrows_to_sender_and_second(service):
    messages = [message("1"), message("2"), message("3", "2024-10-28T20:00:01+00:00")]
    responses = [page(item(1), item(2)), page(item(3))]
    extra, calls = run_flow(service.mark_read(messages), responses, service)
    assert extra == []
    common = {"phone": PHONE, "read": True}
    assert [body_of(call) for call in calls] == [
        {**common, "date_from": "2024-10-28 20:00:00", "date_to": "2024-10-28 20:00:00"},
        {**common, "date_from": "2024-10-28 20:00:01", "date_to": "2024-10-28 20:00:01"},
    ]
    assert not any(call.repeatable for call in calls)


def test_what_marking_handed_out_on_top_is_returned(service):
    responses = [page(item(1), item(7), count=2), page(item(2), item(8))]  # the second page has become the first
    extra, calls = run_flow(service.mark_read([message("1"), message("2")]), responses, service)
    assert [m.id for m in extra] == ["7", "8"]
    assert [body_of(call).get("page") for call in calls] == [None, None]


def test_marking_ends_when_nothing_new_comes(service):
    responses = [page(item(1), count=9), page(item(1), count=9)]
    assert run_flow(service.mark_read([message("1")]), responses, service).result == []


def test_what_was_handed_out_survives_a_failure_of_a_later_call(service):
    messages = [message("1"), message("2", "2024-10-28T20:00:01+00:00")]
    lost = ConnectionLost("serwersms", "messages/recived", "reset")
    (extra,) = run_flow(service.mark_read(messages), [Page([message("1"), message("7")]), lost]).result
    assert extra.id == "7"
    with pytest.raises(ConnectionLost):
        run_flow(service.mark_read(messages), [Page([message("1")]), lost])


@pytest.mark.parametrize(
    "lacking",
    [
        Message(service="serwersms", id="1", sender=PHONE),
        Message(service="serwersms", id="1", received_at=NOW),
    ],
)
def test_only_a_message_with_sender_and_time_can_be_marked(service, lacking):
    refused("message", lambda: run_flow(service.mark_read([lacking])), "500600700")
    refused("message", lambda: next(service.attachment(lacking, Attachment(id="1", filename="x"))), "500600700")


def test_marking_nothing_asks_nothing(service):
    assert run_flow(service.mark_read([])).result == []


# -- attachments ------------------------------------------------------------------------------------------------------


def test_the_bytes_of_an_attachment(service):
    mms = service.result(service.messages_recived(), answer(RECIVED)).items[3]
    data, calls = run_flow(service.attachment(mms, mms.attachments[0]), [answer(RECIVED)], service)
    assert data == b"Jakas tam jeszcze wiadaomosc"
    assert body_of(calls[0]) == {"phone": PHONE, "date_from": "2014-10-21 14:09:15", "date_to": "2014-10-21 14:09:15"}


def test_an_attachment_of_a_message_that_was_marked_meanwhile(service):
    wanted = Attachment(id="2518", filename="x")
    for body in (page(), page(item(1)), page(item(2, attachments=[{"id": 2518, "data": "AA=="}]))):
        with pytest.raises(NotFound, match="unread"):
            run_flow(service.attachment(message("1"), wanted), [body], service)


def test_a_damaged_attachment_hides_no_message(service):
    damaged = item(1, attachments=[{"id": 5, "name": "x.jpg", "data": "*not base64*"}])
    got = service.result(service.messages_recived(), page(damaged, item(2)))
    assert [m.id for m in got.items] == ["1", "2"]
    assert got.items[0].attachments[0].size is None
    for data in ({"data": "*not base64*"}, {}):
        broken = page(item(1, attachments=[{"id": 5, **data}]))
        with pytest.raises(ProtocolError):
            run_flow(service.attachment(got.items[0], Attachment(id="5", filename="x")), [broken], service)


@given(data=st.binary(max_size=200))
def test_attachments_come_back_whole(data):
    service = make()
    text = base64.encodebytes(data).decode()
    body = page(item(1, attachments=[{"id": 5, "name": "x", "data": text}]))
    got = service.result(service.messages_recived(), body).items[0]
    assert got.attachments[0].size == len(data)
    assert run_flow(service.attachment(got, got.attachments[0]), [body], service).result == data
