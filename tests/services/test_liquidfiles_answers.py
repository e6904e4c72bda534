"""LiquidFiles: what its messages, inboxes, receipts and errors mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings

from airflow_messaging.exceptions import AuthenticationFailed, NotFound, RateLimited, ServiceError, ServiceUnavailable
from airflow_messaging.messages import Attachment, Message
from airflow_messaging.services.http import Response

from .play import answer, hostile_responses, sample, survives, unreadable
from .play_liquidfiles import FILE, inbox, record, service


@pytest.mark.parametrize(
    ("path", "checksum"),
    [
        ("liquidfiles/inbox.json", "07dc261df7ff3f428e1f115dfde91ecccd83c9ebb896962918de5a56272141ad"),
        ("liquidfiles/message.json", "5c59ef6f86b878cac23fee21498e192d2247d988"),
    ],
)
def test_the_documents_samples(path: str, checksum: str) -> None:
    api = service()
    response = answer(sample(path))
    if "inbox" in path:
        (message,) = api.result(api.messages_inbox(), response)
    else:
        message = api.result(api.get_message("1p4EHkeNzM5b2qO7kyNEIy"), response)

    assert message == Message(
        service="liquidfiles",
        id="1p4EHkeNzM5b2qO7kyNEIy",
        sender="user@example.com",
        recipients=("user@example.com",),
        subject="test subject",
        text="Test Message",
        sent_at=datetime(2011, 7, 9, 6, 51, 7, tzinfo=UTC),
        received_at=datetime(2011, 7, 9, 6, 51, 7, tzinfo=UTC),
        expires_at=datetime(2011, 7, 24, tzinfo=UTC),
        attachments=(
            Attachment(
                id="fHbIuSIou38Txc0jVrobEp",
                filename="176638.strip.gif",
                content_type="image/gif",
                size=53516,
                checksum=checksum,
                crc32="acb7c906",
            ),
        ),
    )
    assert message.raw["authorization_description"] == "Only Specified Recipients can access"
    assert message.raw["attachments"][0]["created_at"] == "2011-07-09 06:51:07"
    assert "ddMilLfDbOvo4QlzttYMlT" not in json.dumps(message.to_dict())
    assert Message.from_dict(json.loads(json.dumps(message.to_dict()))) == message


@pytest.mark.parametrize("key", ["message", "messages"])
def test_one_message_under_either_key(key: str) -> None:
    api = service()
    assert api.result(api.get_message("a"), answer({key: record("a")})).id == "a"


def test_times_without_a_zone_are_in_the_connections() -> None:
    api = service(zone=ZoneInfo("Australia/Sydney"))
    response = inbox(record("late", "2021-07-27T18:46:25.638+10:00"), record("early", "2021-07-27 18:46:25"))

    early, late = api.result(api.messages_inbox(), response)

    assert (early.id, late.id) == ("early", "late")
    assert early.received_at == datetime(2021, 7, 27, 8, 46, 25, tzinfo=UTC)
    assert late.received_at == datetime(2021, 7, 27, 8, 46, 25, 638000, tzinfo=UTC)


def test_recipients_are_all_who_got_it_once() -> None:
    response = inbox(record("a", recipients=["x@e", "y@e"], ccs=["z@e", "x@e"], bccs=["w@e"]))
    (message,) = service().result(service().messages_inbox(), response)
    assert message.recipients == ("x@e", "y@e", "z@e", "w@e")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in</html>",
        b'{"messages": [',
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"messages": null}',
        b'{"messages": {}}',
        b'{"messages": [7]}',
        b'{"messages": [{}]}',
        b'{"messages": [{"id": true}]}',
        b'{"messages": [{"id": "a", "created_at": "soon"}]}',
        b'{"messages": [{"id": "a", "created_at": 7}]}',
        b'{"messages": [{"id": "a", "expires_at": "0001-01-01T00:00:00+23:00"}]}',
        b'{"messages": [{"id": "a", "recipients": "x"}]}',
        b'{"messages": [{"id": "a", "recipients": [null]}]}',
        b'{"messages": [{"id": "a", "subject": []}]}',
        b'{"messages": [{"id": "a", "attachments": {}}]}',
        b'{"messages": [{"id": "a", "attachments": ["x"]}]}',
        b'{"messages": [{"id": "a", "attachments": [{"id": "f"}]}]}',
        b'{"messages": [{"id": "a", "attachments": [{"id": "f", "filename": "n", "size": "7"}]}]}',
        b'{"messages": [{"id": "a", "attachments": [{"id": "f", "filename": "n", "crc32": 7}]}]}',
        b'{"messages": ' + b"[" * 100_000,
    ],
)
def test_an_inbox_that_is_not_one(body: bytes) -> None:
    unreadable(service(), service().messages_inbox(), answer(body))


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"message": []}', b'{"messages": "x"}', b'{"message": {"id": null}}']
)
def test_a_message_that_is_not_one(body: bytes) -> None:
    api = service()
    for call in (api.get_message("a"), api.send_message(recipients=["a@example.com"])):
        unreadable(api, call, answer(body))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"attachment": 7}', b'{"attachment": {"id": "a", "size": true}}'])
def test_an_upload_answer_that_is_not_one(body: bytes) -> None:
    unreadable(service(), service().upload_attachment(data=FILE), answer(body))


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            422,
            b'{"errors":["Recipients can\'t be blank","Too late"]}',
            ServiceError,
            "Recipients can't be blank; Too late",
        ),
        (422, b'{"errors":{"recipients":["is invalid"]}}', ServiceError, "is invalid"),
        (400, b'{"error":"bad"}', ServiceError, "bad"),
        (400, b'{"error":{"code":7,"message":"worse"}}', ServiceError, "worse"),
        (401, b"HTTP Basic: Access denied.\n", AuthenticationFailed, "HTTP Basic: Access denied."),
        (403, b'{"errors":["No"]}', AuthenticationFailed, "No"),
        (404, b'{"errors":["Not found"]}', NotFound, "Not found"),
        (410, b"", NotFound, None),
        (429, b'{"error":"slow"}', RateLimited, "slow"),
        (500, b"<html><body>We are sorry</body></html>", ServiceUnavailable, None),
        (502, b"\xff\xfe\x00", ServiceUnavailable, None),
        (422, b'{"errors":"call +48 123 456 789"}', ServiceError, "call <number>"),
        (422, b'{"errors":["two\\nlines\\u001b[1m"]}', ServiceError, "two lines [1m"),
        (422, b'{"errors":7}', ServiceError, None),
    ],
)
def test_errors(status: int, body: bytes, kind: type[ServiceError], words: str | None) -> None:
    with pytest.raises(ServiceError) as caught:
        service().result(service().messages_inbox(), answer(body, status))
    assert type(caught.value) is kind
    assert caught.value.status == status
    if words is not None:
        assert caught.value.message == words
    assert "html" not in str(caught.value)


NAMES = (
    "message",
    "messages",
    "attachment",
    "attachments",
    "id",
    "url",
    "size",
    "filename",
    "created_at",
    "recipients",
)


@settings(max_examples=300, deadline=None)
@given(response=hostile_responses(*NAMES, "sent", "crc32", "expires_at", "errors", "error"))
def test_whatever_comes_only_typed_errors_escape(response: Response) -> None:
    api = service()
    flow = api.attachment(Message(service="liquidfiles", id="a"), Attachment(id="f", filename="n"))
    calls = [api.messages_inbox(), api.get_message("a"), api.upload_attachment(data=FILE), next(flow)]
    calls += [api.messages_sent(), api.list_attachments(), api.delete_attachment("f")]
    calls += [api.upload_chunk(data=FILE, chunk=chunk, chunks=2) for chunk in range(2)]
    for call in (*calls, api.send_message(recipients=["a@example.com"]), api.download("/x")):
        survives(api, call, response)
