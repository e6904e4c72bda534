"""MDI as any other service: sending, receiving, states, and lists of several pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_messaging.exceptions import ProtocolError, UnsupportedFeature
from airflow_messaging.messages import Attachment, Message, Status, upload_from_bytes
from airflow_messaging.services.base import Call
from airflow_messaging.services.http import Response
from airflow_messaging.services.mdi import ALL_FIELDS, DEFAULT_LIMIT, PAGE_SIZE

from .play import answer, refused, run_flow
from .play_mdi import form, page, record, send, service

# -- the vendor-neutral face ------------------------------------------------------------------------------------------


def test_check_reads_one_message() -> None:
    assert ("limit", "1") in service().check().request.params


def test_send() -> None:
    api = service()
    options = {"channelid": 11, "timeout": 5, "userid": 2, "direction": "usertounit"}
    played = run_flow(send(api, in_reply_to="3097", options=options), ["receipt"])
    assert played.result == "receipt"
    assert form(played.calls[0]) == {
        "message[unitid]": "17",
        "message[channelid]": "11",
        "message[content]": "test",
        "message[userid]": "2",
        "message[replyto]": "3097",
        "message[timeout]": "5",
        "message[direction]": "usertounit",
    }


@pytest.mark.parametrize(
    ("connection", "options", "channel"),
    [(11, {}, "11"), ("11", {"channelid": 12}, "12"), (None, {"channelid": 0}, "0")],
)
def test_the_channel_comes_from_the_message_or_the_connection(connection: Any, options: Any, channel: str) -> None:
    call = next(send(service(channelid=connection), options=options))
    assert form(call)["message[channelid]"] == channel


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"options": {}}, "channelid"),
        ({"options": {"channelid": None}}, "channelid"),
        ({"options": {"channelid": 11, "colour": "red"}}, "options"),
        ({"options": {"channelid": 11, "timeout": 32768}}, "timeout"),
        ({"to": "unit"}, "unitid"),
        ({"to": []}, "to"),
        ({"to": ""}, "to"),
        ({"text": None}, "text"),
        ({"in_reply_to": "x"}, "replyto"),
    ],
)
def test_bad_sends(changes: dict[str, Any], field: str) -> None:
    refused(field, lambda: next(send(service(), **changes)))


def test_a_unit_may_be_given_as_a_number() -> None:
    assert form(next(send(service(), to=17)))["message[unitid]"] == "17"


@pytest.mark.parametrize(
    "changes", [{"subject": "s"}, {"attachments": (upload_from_bytes("f", b"x"),)}, {"to": ["1", "2"]}]
)
def test_what_cannot_be_expressed(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFeature):
        next(send(service(), **changes))


def test_there_is_no_read_flag_no_long_poll_and_no_attachment() -> None:
    api = service()
    attachment = api.attachment(Message(service="mdi", id="1"), Attachment(id="1", filename="f"))
    for flow in (api.mark_read([]), api.wait_next("1"), attachment):
        with pytest.raises(UnsupportedFeature):
            next(flow)
    assert (api.has_read_flag, api.long_poll) == (False, False)


def test_bad_channel_of_the_connection() -> None:
    refused("channelid", lambda: service(channelid="x"))


def test_received_asks_for_what_units_sent() -> None:
    since = datetime(2024, 10, 24, 12, tzinfo=UTC)
    played = run_flow(service().received(since, seen={}, limit=None), [[]])
    assert dict(played.calls[0].request.params) == {
        "ret": ",".join(ALL_FIELDS),
        "timedout": "true",
        "from": "2024-10-24T11:59:59Z",
        "direction": "unittouser",
        "limit": str(PAGE_SIZE),
    }
    assert "from" not in dict(run_flow(service().received(None, seen={}, limit=1), [[]]).calls[0].request.params)


def test_received_is_everything_new_oldest_first() -> None:
    api = service()
    response = page(
        record(1, datetime="2024-10-24T12:00:03Z"),
        record(2, datetime="2024-10-24T12:00:00Z"),
        record(3, datetime="2024-10-24T11:59:59Z"),
        record(4, datetime="2024-10-24T12:00:01Z"),
        record(5, datetime="2024-10-24T12:00:02Z", fromto=False),
        record(6, datetime="2024-10-24T12:00:02Z", fromto=None),
        record(7, datetime=None),
    )
    since = datetime(2024, 10, 24, 12, tzinfo=UTC)
    played = run_flow(api.received(since, seen={"4": since}, limit=1), [response], api)
    assert [message.id for message in played.result] == ["7", "2", "6", "1"]


@pytest.mark.parametrize(
    ("status", "expected"), [(0, Status.QUEUED), (1, Status.SENT), (2, Status.DELIVERED), (3, Status.FAILED)]
)
def test_status(status: int, expected: Status) -> None:
    api = service()
    played = run_flow(api.status("7"), [answer({"message": record(7, status=status)})], api)
    assert played.result is expected


@pytest.mark.parametrize("status", [4, -1, None, True, "0", []])
def test_a_status_that_is_not_one(status: Any) -> None:
    api = service()
    with pytest.raises(ProtocolError, match="'status'"):
        run_flow(api.status("7"), [answer({"message": record(7, status=status)})], api)


def test_message_looks_one_up() -> None:
    played = run_flow(service().message("7"), [answer({"message": record(7)})], service())
    assert played.result.id == "7"


# -- pages ------------------------------------------------------------------------------------------------------------


def answered(call: Call[Any], stored: list[int], *, cap: int, newest_first: bool) -> Response:
    """Answer as a service with these ids would that puts at most ``cap`` messages on a page."""
    params = dict(call.request.params)
    low, high = int(params.get("id_min", 0)), int(params.get("id_max", 10**9))
    ids = sorted((id_ for id_ in stored if low <= id_ <= high), reverse=newest_first)
    return page(*(record(id_) for id_ in ids[: min(cap, int(params["limit"]))]))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("cap", [DEFAULT_LIMIT, PAGE_SIZE, 1000])
@pytest.mark.parametrize("count", [0, 1, 24, 25, 26, 50, 99, 100, 101, 260])
def test_no_message_is_lost_between_pages(count: int, cap: int, newest_first: bool) -> None:
    api = service()
    stored = [3 * number + 1 for number in range(count)]
    played = run_flow(
        api.messages_all(unitids=1), lambda call: answered(call, stored, cap=cap, newest_first=newest_first), api
    )
    assert [int(message.id) for message in played.result] == stored
    assert all(("unitids", "1") in call.request.params for call in played.calls)
    assert len(played.calls) <= count // DEFAULT_LIMIT + 1


def test_a_service_that_does_not_page_is_noticed() -> None:
    api = service()
    same = page(*(record(id_) for id_ in range(1, 26)))
    with pytest.raises(ProtocolError, match="repeats"):
        run_flow(api.messages_all(), [same, same], api)


def test_a_full_page_without_order_is_not_paged_on() -> None:
    api = service()
    mixed = page(*(record(id_) for id_ in [*range(2, 26), 1]))
    with pytest.raises(ProtocolError, match="order"):
        run_flow(api.messages_all(), [mixed], api)
    assert len(run_flow(api.messages_all(), [page(record(2), record(1))], api).result) == 2


def test_pages_that_never_end() -> None:
    api = service()
    flow = api.messages_all()
    next(flow)
    with pytest.raises(ProtocolError, match="pages"):
        for start in range(0, 10**6, 25):
            flow.send([Message(service="mdi", id=str(start + number)) for number in range(25)])


def test_an_id_that_is_no_number_cannot_be_paged() -> None:
    api = service()
    with pytest.raises(ProtocolError, match="'id'"):
        run_flow(api.messages_all(), [page(record("x"))], api)  # type: ignore[arg-type]
