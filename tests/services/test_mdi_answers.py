"""MDI: what its lists, receipts and errors mean."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    MessagingError,
    NotFound,
    ProtocolError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from airflow_messaging.messages import Message, Status
from airflow_messaging.services.http import Response

from .play import NOW, Exchange, answer, hostile_responses, run_flow, sample, survives, unreadable
from .play_mdi import GET, page, record, service


def test_the_documents_list() -> None:
    api = service()
    body = sample("mdi/messages.txt").replace(",...]", "]").encode()

    first, second = api.result(api.messages(ret="unitid,content"), answer(body))

    assert first == Message(
        service="mdi",
        id="",
        sender="1",
        text="message2",
        sent_at=datetime(2009, 4, 10, 10, 53, 24, tzinfo=UTC),
        received_at=datetime(2009, 4, 10, 10, 53, 24, tzinfo=UTC),
        expires_at=datetime(2009, 4, 12, 10, 53, 24, tzinfo=UTC),
    )
    assert (second.sender, second.text, second.raw["status"]) == ("3", "message1", 3)
    with pytest.raises(ProtocolError, match="'id'"):
        api.result(api.messages(), answer(body))


def test_the_documents_receipt() -> None:
    api = service()
    call = api.create_message(unitid=17, channelid=11, content="test")

    receipt = api.result(call, answer(sample("mdi/message-created.json"), 201))

    assert (receipt.id, receipt.status) == ("3098", Status.QUEUED)
    assert receipt.sent_at == datetime(2009, 5, 28, 11, 55, 35, tzinfo=UTC)
    assert receipt.raw["timeout"] == 2880


def test_a_receipt_needs_no_more_than_an_id() -> None:
    api = service()
    receipt = api.result(api.create_message(unitid=1, channelid=1, content="x"), answer({"message": {"id": 7}}))
    assert (receipt.id, receipt.status, receipt.sent_at) == ("7", Status.QUEUED, NOW - timedelta(seconds=1))


def test_a_created_message_looked_up() -> None:
    api = service()
    response = answer(sample("mdi/message-created.json"))

    message = api.result(api.get_message("3098"), response)

    assert (message.id, message.sender, message.recipients, message.text) == ("3098", "2", ("17",), "test")
    assert message.in_reply_to is None
    assert Message.from_dict(json.loads(json.dumps(message.to_dict()))) == message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"fromto": True, "unitid": 3, "userid": 2}, ("3", ("2",))),
        ({"fromto": True, "unitid": 3, "userid": -1}, ("3", ())),
        ({"fromto": False, "unitid": 3, "userid": 2}, ("2", ("3",))),
        ({"fromto": False, "unitid": 3, "userid": "-1"}, (None, ("3",))),
        ({"fromto": None, "unitid": 3, "userid": 2}, (None, ())),
        ({"fromto": True, "unitid": None}, (None, ())),
    ],
)
def test_who_wrote_to_whom(fields: dict[str, Any], expected: Any) -> None:
    (message,) = service().result(service().messages(), page(record(1, **fields)))
    assert (message.sender, message.recipients) == expected


@pytest.mark.parametrize(
    ("fields", "attribute", "expected"),
    [
        ({"refid": 3097}, "in_reply_to", "3097"),
        ({"refid": -1}, "in_reply_to", None),
        ({"replyto": 3097}, "in_reply_to", "3097"),
        (
            {"datetime": None, "time": "2024-10-24T12:00:01Z"},
            "received_at",
            datetime(2024, 10, 24, 12, 0, 1, tzinfo=UTC),
        ),
        ({"datetime": "2024-10-24T12:00:00"}, "received_at", datetime(2024, 10, 24, 10, tzinfo=UTC)),
        ({"timeout": 0}, "expires_at", None),
        ({"timeout": -1}, "expires_at", None),
        ({"timeout": None}, "expires_at", None),
        ({"content": None}, "text", None),
        ({"content": ""}, "text", ""),
        ({"content": "a\x00b"}, "content", b"a\x00b"),
        ({"content": "\ud800"}, "content", b"\xed\xa0\x80"),
    ],
)
def test_fields(fields: dict[str, Any], attribute: str, expected: Any) -> None:
    api = service(zone=ZoneInfo("Europe/Warsaw"))
    (message,) = api.result(api.messages(), page(record(1, **fields)))
    assert getattr(message, attribute) == expected
    assert "\x00" not in str(message.raw)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Log in</html>",
        b'[{"message": {"id": 1',
        b"\xff",
        b"{}",
        b"null",
        b'{"message": {"id": 1}}',
        b"[7]",
        b"[{}]",
        b'[{"message": []}]',
        b'[{"message": {}}]',
        b'[{"message": {"id": 1.5}}]',
        b'[{"message": {"id": 1, "datetime": "soon"}}]',
        b'[{"message": {"id": 1, "datetime": 7}}]',
        b'[{"message": {"id": 1, "fromto": 1}}]',
        b'[{"message": {"id": 1, "content": {}}}]',
        b'[{"message": {"id": 1, "unitid": []}}]',
        b'[{"message": {"id": 1, "timeout": true}}]',
        b'[{"message": {"id": 1, "datetime": "2024-10-24T12:00:00Z", "timeout": 99999999999999999999}}]',
        b"[" * 100_000,
    ],
)
def test_a_list_that_is_not_one(body: bytes) -> None:
    unreadable(service(), service().messages(), answer(body))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message": 7}', b'{"message": {"id": null}}'])
def test_a_message_that_is_not_one(body: bytes) -> None:
    api = service()
    for call in (api.get_message(1), api.create_message(unitid=1, channelid=1, content="x")):
        unreadable(api, call, answer(body, 201))


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, b'{"error": "bad ret"}', ServiceError, "bad ret"),
        (401, b"no session", AuthenticationFailed, "no session"),
        (403, b'{"error": "not yours"}', AuthenticationFailed, "not yours"),
        (404, b'["Not found"]', NotFound, "Not found"),
        (406, b"", ServiceError, None),
        (422, b'["Unit is unknown", "Channel is unknown"]', ServiceError, "Unit is unknown; Channel is unknown"),
        (429, b"slow down", RateLimited, "slow down"),
        (500, b"<h1>Error</h1>", ServiceUnavailable, None),
        (502, b"being upgraded", ServiceUnavailable, "being upgraded"),
        (503, b"over capacity", ServiceUnavailable, "over capacity"),
    ],
)
def test_errors(status: int, body: bytes, kind: type[ServiceError], words: str | None) -> None:
    with pytest.raises(ServiceError) as caught:
        service().result(service().messages(), answer(body, status))
    assert type(caught.value) is kind
    assert caught.value.message == words


NAMES = (
    "message",
    "id",
    "unitid",
    "userid",
    "fromto",
    "datetime",
    "time",
    "content",
    "refid",
    "timeout",
    "status",
    "error",
)


@settings(max_examples=300, deadline=None)
@given(response=hostile_responses(*NAMES))
def test_whatever_comes_only_typed_errors_escape(response: Response) -> None:
    api = service()
    for call in (api.messages(), api.get_message(1), api.create_message(unitid=1, channelid=1, content="x")):
        survives(api, call, response)
    for flow in (api.status("1"), api.received(None, seen={}, limit=None)):
        with contextlib.suppress(MessagingError):
            run_flow(flow, [response], api)


@settings(max_examples=200, deadline=None)
@given(
    response=hostile_responses(*NAMES),
    status=st.sampled_from([200, 302, 401, 422, 503]),
    cookie=st.text(max_size=20),
    location=st.text(max_size=20) | st.just("http://[/login"),
)
def test_whatever_a_login_answers_only_typed_errors_escape(
    response: Response, status: int, cookie: str, location: str
) -> None:
    headers = (("Set-Cookie", cookie), ("Location", location), *response.headers)
    response = dataclasses.replace(response, status=status, headers=headers)
    exchange = Exchange(service(), GET)
    with contextlib.suppress(MessagingError):
        exchange.enter_lock()
        while not exchange.over and len(exchange.sent) < 9:
            exchange.enter_lock() if exchange.waits_for_lock else exchange.deliver(response)
    assert len(exchange.sent) <= 4
