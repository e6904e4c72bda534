"""LiquidFiles: what is asked of the server, with which credentials, and which arguments are refused."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.exceptions import ProtocolError
from airflow_messaging.messages import Status
from airflow_messaging.services.http import RawFile

from .play import NOW, answer, refused, run_auth
from .play_liquidfiles import FILE, KEY, sent_json, service

# -- requests ---------------------------------------------------------------------------------------------------------


def test_the_inbox_is_asked_as_in_the_documents() -> None:
    call = service().messages_inbox(sent_in_the_last=24)

    assert (
        service().url(call.request) + "?sent_in_the_last=24"
        == "https://files.example.com/messages/inbox?sent_in_the_last=24"
    )
    assert call.request.method == "GET"
    assert call.request.params == (("sent_in_the_last", "24"),)
    assert call.request.headers == {"Accept": "application/json", "Content-Type": "application/json"}
    assert call.repeatable


@pytest.mark.parametrize(
    ("sent_after", "zone", "expected"),
    [
        (date(2024, 10, 24), UTC, "2024-10-24"),
        ("2024-10-24", ZoneInfo("Australia/Sydney"), "2024-10-24"),
        ("2024-10-24T20:00:00Z", ZoneInfo("Australia/Sydney"), "2024-10-25"),
        (datetime(2024, 10, 24, 23, 0, tzinfo=UTC), UTC, "2024-10-24"),
        (datetime(2024, 10, 24, 23, 0, tzinfo=UTC), ZoneInfo("Europe/Warsaw"), "2024-10-25"),
        (datetime(2024, 10, 24, 23, 0), ZoneInfo("Europe/Warsaw"), "2024-10-24"),
    ],
)
def test_sent_after_is_a_day_of_the_connections_zone(sent_after: Any, zone: Any, expected: str) -> None:
    assert service(zone=zone).messages_inbox(sent_after=sent_after).request.params == (("sent_after", expected),)


def test_both_or_none_of_the_inbox_arguments() -> None:
    assert service().messages_inbox().request.params == ()
    both = service().messages_inbox(sent_after="2024-10-24", sent_in_the_last="3")  # type: ignore[arg-type]
    assert both.request.params == (("sent_after", "2024-10-24"), ("sent_in_the_last", "3"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("sent_after", bad) for bad in ("yesterday", "2024-13-01", "", 20241024, ["2024-10-24"])],
        *[("sent_in_the_last", bad) for bad in (0, -1, True, 1.5, "", "1.5", "-1", "24h", "٣", [24], "9" * 30)],
    ],
)
def test_bad_inbox_arguments(field: str, value: Any) -> None:
    refused(field, lambda: service().messages_inbox(**{field: value}))


def test_a_message_is_viewed_by_its_id() -> None:
    call = service().get_message("1p4EHkeNzM5b2qO7kyNEIy")
    assert (call.request.method, call.request.url) == ("GET", "message/1p4EHkeNzM5b2qO7kyNEIy")
    assert service().get_message("a/../b?c#d").request.url == "message/a%2F..%2Fb%3Fc%23d"


@pytest.mark.parametrize("bad", ["", " ", ".", "..", None, 7, "a\nb"])
def test_what_cannot_be_a_message_id(bad: Any) -> None:
    refused("message_id", lambda: service().get_message(bad))


def test_an_upload_is_the_raw_file() -> None:
    call = service().upload_attachment(data=FILE)
    request = call.request

    assert (request.method, request.url) == ("POST", "message/attachments/upload")
    assert request.params == (("filename", "a b.gif"), ("content_type", "image/gif"))
    assert request.body == RawFile(FILE)
    # The file's own type, which the transport adds, must not be overwritten.
    assert request.headers == {"Accept": "application/json"}
    response = answer({"attachment": {"id": "VodoHHSnzG0DltkXihNPSF", "size": 6}})
    assert service().result(call, response) == "VodoHHSnzG0DltkXihNPSF"


def test_an_upload_that_was_cut_is_noticed() -> None:
    response = answer({"attachment": {"id": "x", "size": 5}})
    with pytest.raises(ProtocolError, match="5 of 6 bytes"):
        service().result(service().upload_attachment(data=FILE), response)


def test_only_what_was_given_is_sent_but_always_send_email() -> None:
    call = service().send_message(recipients=["a@example.com"])
    assert sent_json(call) == {"recipients": ["a@example.com"], "send_email": True}
    assert (call.request.method, call.request.url, call.repeatable) == ("POST", "message", False)


def test_every_field_of_a_message() -> None:
    call = service().send_message(
        recipients=("a@example.com",),
        cc=["b@example.com"],
        bcc=["c@example.com"],
        subject="s",
        message="two\nlines",
        attachments=["id1", "id2"],
        expires_at=date(2024, 12, 24),
        expires_after=0,
        send_email=False,
        authorization=0,
        private_message=False,
        bcc_myself=False,
    )
    assert sent_json(call) == {
        "recipients": ["a@example.com"],
        "cc": ["b@example.com"],
        "bcc": ["c@example.com"],
        "subject": "s",
        "message": "two\nlines",
        "attachments": ["id1", "id2"],
        "expires_at": "2024-12-24",
        "expires_after": 0,
        "send_email": False,
        "authorization": 0,
        "private_message": False,
        "bcc_myself": False,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipients", []),
        ("recipients", "a@example.com"),
        ("recipients", [""]),
        ("recipients", [None]),
        ("recipients", ["a@example.com\r\nBcc: b@example.com"]),
        ("recipients", None),
        ("cc", "a@example.com"),
        ("bcc", [7]),
        ("attachments", [" "]),
        ("subject", 7),
        ("message", b"bytes"),
        ("expires_at", "soon"),
        ("expires_at", 20241224),
        ("expires_after", -1),
        ("expires_after", True),
        ("authorization", 5),
        ("authorization", -1),
        ("authorization", True),
        ("authorization", "anyone"),
        ("send_email", None),
        ("send_email", "yes"),
        ("private_message", 1),
        ("bcc_myself", "no"),
    ],
)
def test_bad_message_arguments(field: str, value: Any) -> None:
    refused(field, lambda: service().send_message(**{"recipients": ["a@example.com"], field: value}))


def test_the_answer_to_a_send() -> None:
    call = service().send_message(recipients=["a@example.com"])
    body = b'{"message": {"id": "abc", "message": "raw\nnewline", "attachments": [{"id": "f", "url": "/secret"}]}}'

    receipt = service().result(call, answer(body))

    assert (receipt.id, receipt.status, receipt.service) == ("abc", Status.SENT, "liquidfiles")
    assert receipt.sent_at is not None
    assert (NOW - receipt.sent_at).total_seconds() == 1
    assert receipt.raw == {"id": "abc"}


# -- credentials ------------------------------------------------------------------------------------------------------


def test_the_key_is_added_to_a_copy_only() -> None:
    request = service().messages_inbox().request
    (sent,) = run_auth(service(), request, [answer({})])

    assert sent.headers["Authorization"] == "Basic " + base64.b64encode(f"{KEY}:x".encode()).decode()
    assert "Authorization" not in request.headers
    assert KEY not in repr(request) + repr(sent)


def test_derived_secrets() -> None:
    assert list(service().derived_secrets()) == [base64.b64encode(f"{KEY}:x".encode()).decode()]
    assert list(service(api_key="a/b").derived_secrets())[1:] == ["a%2Fb"]


@pytest.mark.parametrize("bad", ["", " key", "key\n", "ke:y", "kéy", None, 7])
def test_an_unusable_key_is_refused_and_not_shown(bad: Any) -> None:
    refused("api_key", lambda: service(api_key=bad), "key\n", "ke:y")
