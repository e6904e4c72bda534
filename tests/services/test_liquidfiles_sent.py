"""The lists of LiquidFiles: their order, the sent one, and what is found in it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.exceptions import InvalidInput, ProtocolError, UnsupportedFeature
from airflow_messaging.messages import Draft, upload_from_bytes
from airflow_messaging.services.liquidfiles import SENT_LIMIT
from airflow_messaging.services.liquidfiles_wire import LIFETIME
from airflow_messaging.services.receiving import poll, start

from .play import NOW, answer, refused, run_flow
from .play_liquidfiles import inbox, record, service

SINCE = datetime(2024, 10, 24, 12, 0, 0, 400_000, tzinfo=UTC)
FILE = upload_from_bytes("a.gif", b"GIF89a")
STORED = {"id": "f", "filename": "a.gif", "size": 6, "crc32": f"{FILE.crc32:x}"}


def sent(*records: dict[str, Any]) -> Any:
    return answer({"sent": list(records)})


def ours(id_: str = "ours", **changes: Any) -> dict[str, Any]:
    fields = {
        "created_at": "2024-10-24 12:00:00",
        "recipients": ["a@example.com"],
        "ccs": ["c@example.com"],
        "bccs": ["me@example.com", "b@example.com"],
        "subject": "s",
        "message": "two\r\nlines",
        "attachments": [STORED],
        **changes,
    }
    return {"id": id_, **{name: value for name, value in fields.items() if value is not ...}}


def draft(**changes: Any) -> Draft:
    fields = {
        "to": ("A@example.com",),
        "subject": "s",
        "text": "two\nlines",
        "attachments": (FILE,),
        "options": {"cc": ["c@example.com"], "bcc": ["b@example.com"]},
        "message_id": "m1",
        **changes,
    }
    return Draft(**fields)


def found(*records: dict[str, Any], wanted: Draft | None = None) -> Any:
    api = service()
    return run_flow(api.find_sent(wanted or draft(), since=SINCE), [sent(*records)], api).result


def test_the_sent_list() -> None:
    api = service()
    call = api.messages_sent(sent_after="2024-10-24", sent_in_the_last=3, limit=7)
    assert (call.request.method, call.request.url, call.repeatable) == ("GET", "messages/sent", True)
    assert call.request.params == (("sent_after", "2024-10-24"), ("sent_in_the_last", "3"), ("limit", "7"))
    assert api.messages_sent().request.params == ()
    late, early = record("late", "2024-10-24T10:00:01Z"), record("early", "2024-10-24T10:00:00Z")
    assert [message.id for message in api.result(call, sent(late, early))] == ["early", "late"]
    with pytest.raises(ProtocolError, match="'sent'"):
        api.result(call, inbox())


@pytest.mark.parametrize("bad", [0, -1, True, "many"])
def test_a_limit_that_is_none(bad: Any) -> None:
    refused("limit", lambda: service().messages_sent(limit=bad))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([5, 5, 5], [2, 1, 0]),
        ([6, 5, 5], [2, 1, 0]),
        ([5, 5, 6], [0, 1, 2]),
        ([5, 6, 6], [0, 1, 2]),
        ([6, 6, 5], [2, 1, 0]),
        ([5], [0]),
        ([], []),
    ],
)
def test_messages_of_one_second_come_oldest_first(times: list[int], expected: list[int]) -> None:
    """A list is newest first, as the sandbox's and mail programs' are, unless its own times say the opposite."""
    response = inbox(*(record(str(number), f"2024-10-24T10:00:0{second}Z") for number, second in enumerate(times)))
    listed = service().result(service().messages_inbox(), response)
    assert [message.id for message in listed] == [str(number) for number in expected]


@pytest.mark.parametrize(
    ("expires_at", "zone", "expected"),
    [
        ("2011-07-23", UTC, datetime(2011, 7, 24, tzinfo=UTC)),
        ("2011-07-23", ZoneInfo("Australia/Sydney"), datetime(2011, 7, 23, 14, tzinfo=UTC)),
        ("2024-10-27", ZoneInfo("Europe/Warsaw"), datetime(2024, 10, 27, 23, tzinfo=UTC)),
        ("2011-07-23T12:00:00Z", UTC, datetime(2011, 7, 23, 12, tzinfo=UTC)),
        ("9999-12-31", UTC, None),
        ("9999-12-31", timezone(timedelta(hours=-8)), None),
        (None, UTC, None),
        ("", UTC, None),
    ],
)
def test_a_message_lives_through_its_last_day(expires_at: Any, zone: Any, expected: Any) -> None:
    api = service(zone=zone)
    (message,) = api.result(api.messages_inbox(), inbox(record("a", expires_at=expires_at)))
    assert message.expires_at == expected


@pytest.mark.parametrize("floor", ["0001-01-01", "0001-01-01T00:00:00Z", "1970-01-01"])
def test_a_floor_before_all_computers_asks_for_everything(floor: str) -> None:
    api = service()
    cursor = run_flow(start(api, floor, run_started=SINCE)).result
    played = run_flow(poll(api, cursor), [inbox(record("a"))], api)
    assert played.calls[0].request.params == ()
    assert [message.id for message in played.result.messages] == ["a"]


# -- find_sent ----------------------------------------------------------------------------------------------------


def test_the_sent_message_is_found() -> None:
    receipt = found(ours("second", created_at="2024-10-24 12:00:01"), ours("first"))
    assert (receipt.id, receipt.sent_at) == ("first", datetime(2024, 10, 24, 12, tzinfo=UTC))
    assert "message" not in receipt.raw


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": "2024-10-24 11:59:59"},
        {"created_at": ...},
        {"recipients": ["a@example.com", "x@example.com"]},
        {"recipients": []},
        {"ccs": []},
        {"ccs": ["c@example.com", "x@example.com"]},
        {"bccs": ["me@example.com"]},
        {"subject": "s2"},
        {"subject": None},
        {"message": "two\r\nlines and more"},
        {"message": "two lines"},
        {"message": None},
        {"attachments": []},
        {"attachments": [STORED, STORED]},
        {"attachments": [{**STORED, "filename": "b.gif"}]},
        {"attachments": [{**STORED, "size": 7}]},
        {"attachments": [{**STORED, "crc32": "1"}]},
    ],
)
def test_an_older_or_another_message_is_not(changes: dict[str, Any]) -> None:
    assert found(ours(**changes)) is None


def test_what_old_servers_do_not_tell_is_not_asked_for() -> None:
    assert found(ours(bccs=...)).id == "ours"
    plain = draft(attachments=(), text=None, subject=None, options={})
    assert found(ours(ccs=..., message="", subject="", attachments=[]), wanted=plain).id == "ours"


@pytest.mark.parametrize("crc32", [None, "no number"])
def test_files_without_a_checksum_cannot_tell(crc32: Any) -> None:
    unsure = ours(attachments=[{**STORED, "crc32": crc32}])
    with pytest.raises(UnsupportedFeature, match="CRC-32"):
        found(unsure)
    with pytest.raises(UnsupportedFeature, match="CRC-32"):
        found(ours(), wanted=draft(attachments=(dataclasses.replace(FILE, crc32=None),)))
    assert found({**unsure, "subject": "another"}) is None


def test_the_whole_window_is_asked_for() -> None:
    """The documents do not say how many come without a limit, so that only a list that is not full is whole."""
    api = service()
    full = sent(*(record(str(number), "2024-10-24T13:00:00Z") for number in range(SENT_LIMIT)))
    whole = sent(ours(), *(record(str(number), "2024-10-24T13:00:00Z") for number in range(SENT_LIMIT)))

    played = run_flow(api.find_sent(draft(), since=SINCE), [full, whole], api)

    assert played.result.id == "ours"
    assert [dict(call.request.params) for call in played.calls] == [
        {"sent_after": "2024-10-22", "limit": str(limit)} for limit in (SENT_LIMIT, 4 * SENT_LIMIT)
    ]


@pytest.mark.parametrize(
    ("options", "since", "lives"),
    [
        ({}, NOW - LIFETIME + timedelta(minutes=1), True),
        ({}, NOW - LIFETIME, False),
        ({"expires_at": "2024-10-28"}, SINCE, True),
        ({"expires_at": "2024-10-27"}, SINCE, False),
        ({"expires_at": "2024-12-24"}, NOW - 2 * LIFETIME, True),
        ({"expires_at": "9999-12-31"}, NOW - 2 * LIFETIME, True),
    ],
)
def test_what_would_have_expired_is_not_looked_for(options: dict[str, Any], since: datetime, lives: bool) -> None:
    flow = service().find_sent(draft(options=options), since=since)
    if lives:
        assert next(flow).endpoint == "messages/sent"
    else:
        with pytest.raises(UnsupportedFeature, match="expired"):
            next(flow)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"to": (), "options": {}}, InvalidInput),
        ({"options": {"colour": 1}}, InvalidInput),
        ({"in_reply_to": "1"}, UnsupportedFeature),
    ],
)
def test_what_could_not_be_sent_is_not_looked_for(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        next(service().find_sent(draft(**changes), since=SINCE))
