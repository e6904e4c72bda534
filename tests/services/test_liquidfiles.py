from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    NotFound,
    ProtocolError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    UnsupportedFeature,
)
from airflow_messaging.messages import Attachment, Draft, Message, Status, as_recipients, upload_from_bytes
from airflow_messaging.services.base import Call
from airflow_messaging.services.http import RawFile, Response
from airflow_messaging.services.liquidfiles import LiquidFiles

from .play import (
    NOW,
    SetClock,
    answer,
    body_of,
    hostile_responses,
    refused,
    run_auth,
    run_flow,
    sample,
    survives,
    unreadable,
)

KEY = "ojubiigauS2TxTy4ovk6Ph"
FILE = upload_from_bytes("a b.gif", b"GIF89a", content_type="image/gif")


def service(**changes: Any) -> LiquidFiles:
    return LiquidFiles("https://files.example.com", **{"api_key": KEY, "clock": SetClock(), **changes})


def inbox(*records: dict[str, Any]) -> Response:
    return answer({"messages": list(records)})


def record(id_: str, created_at: Any = "2024-10-24T10:00:00Z", **fields: Any) -> dict[str, Any]:
    return {"id": id_, "created_at": created_at, **fields}


def sent_json(call: Call[Any]) -> dict[str, Any]:
    return body_of(call)["message"]


def send(api: LiquidFiles, *, to: Any = "a@example.com", **changes: Any) -> Any:
    return api.send(Draft(**{"to": as_recipients(to), "text": "hello", "message_id": "m1", **changes}))


# -- requests -----------------------------------------------------------------------------------------------------


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


# -- credentials --------------------------------------------------------------------------------------------------


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


# -- answers ------------------------------------------------------------------------------------------------------


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


# -- the vendor-neutral face --------------------------------------------------------------------------------------


def test_check_is_a_small_authenticated_read() -> None:
    call = service().check()
    assert (call.request.method, call.request.url, call.repeatable) == ("GET", "messages/inbox", True)


def test_send_uploads_the_files_first() -> None:
    api = service()
    other = upload_from_bytes("b.txt", b"b")
    options = {"cc": ["c@example.com"], "authorization": 3}
    answers = ["id1", "id2", "receipt"]

    played = run_flow(send(api, to=["a@example.com"], subject="s", attachments=(FILE, other), options=options), answers)

    assert played.result == "receipt"
    assert [call.request.body for call in played.calls[:2]] == [RawFile(FILE), RawFile(other)]
    assert sent_json(played.calls[2]) == {
        "recipients": ["a@example.com"],
        "cc": ["c@example.com"],
        "subject": "s",
        "message": "hello",
        "attachments": ["id1", "id2"],
        "authorization": 3,
        "send_email": True,
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": []}, "recipients"),
        ({"to": ""}, "recipients"),
        ({"options": {"colour": "red"}}, "options"),
        ({"options": {"authorization": 9}}, "authorization"),
    ],
)
def test_a_refused_send_uploads_nothing(changes: dict[str, Any], field: str) -> None:
    refused(field, lambda: next(send(service(), attachments=(FILE,), **changes)))


def test_there_are_no_replies_no_read_flag_and_no_status() -> None:
    api = service()
    for flow in (send(api, in_reply_to="m"), api.mark_read([]), api.status("m"), api.wait_next("m")):
        with pytest.raises(UnsupportedFeature):
            next(flow)
    assert (api.has_read_flag, api.long_poll) == (False, False)


@pytest.mark.parametrize(
    ("since", "zone", "day"),
    [
        (datetime(2024, 10, 24, 0, 10, tzinfo=UTC), UTC, "2024-10-23"),
        (datetime(2024, 10, 24, 23, 10, tzinfo=UTC), ZoneInfo("Europe/Warsaw"), "2024-10-24"),
        (datetime(2024, 10, 24, 2, 10, tzinfo=UTC), ZoneInfo("America/New_York"), "2024-10-22"),
    ],
)
def test_received_asks_from_the_day_before(since: datetime, zone: Any, day: str) -> None:
    played = run_flow(service(zone=zone).received(since, seen={}, limit=None), [[]])
    assert played.calls[0].request.params == (("sent_after", day),)


def test_received_is_everything_new_oldest_first() -> None:
    api = service()
    response = inbox(
        record("new2", "2024-10-24T12:00:02Z"),
        record("seen", "2024-10-24T12:00:01Z"),
        record("old", "2024-10-24T11:59:59Z"),
        record("new1", "2024-10-24T12:00:00Z"),
        record("undated", None),
    )
    since = datetime(2024, 10, 24, 12, tzinfo=UTC)

    played = run_flow(api.received(since, seen={"seen": since}, limit=1), [response], api)
    assert [message.id for message in played.result] == ["undated", "new1", "new2"]

    played = run_flow(api.received(None, seen={}, limit=None), [response], api)
    assert [message.id for message in played.result] == ["undated", "old", "new1", "seen", "new2"]
    assert played.calls[0].request.params == ()


def test_message_looks_one_up() -> None:
    played = run_flow(service().message("abc"), [answer({"message": record("abc")})], service())
    assert played.result.id == "abc"


@pytest.mark.parametrize(
    ("url", "target", "own"),
    [
        ("https://files.example.com/message/m/f/t/n.gif", "https://files.example.com/message/m/f/t/n.gif", True),
        ("/message/m/f/t/n.gif", "https://files.example.com/message/m/f/t/n.gif", True),
        ("message/m/f/t/n.gif", "https://files.example.com/message/m/f/t/n.gif", True),
        ("https://www.example.com/message/m/f/t/n", "https://www.example.com/message/m/f/t/n", False),
        ("HTTPS://other.example.com:8443/x", "HTTPS://other.example.com:8443/x", False),
        ("//other.example.com/x", "https://files.example.com/other.example.com/x", True),
        ("/message/m/f/t/ä b#1%20.gif", "https://files.example.com/message/m/f/t/%C3%A4%20b%231%20.gif", True),
        ("/x?next=https://other.example.com/", "https://files.example.com/x?next=https://other.example.com/", True),
    ],
)
def test_an_attachment_is_downloaded_from_a_fresh_url(url: str, target: str, own: bool) -> None:
    api = service()
    message = Message(service="liquidfiles", id="m")
    attachment = Attachment(id="f", filename="n.gif")
    files = [{"id": "g", "filename": "n", "url": "/wrong"}, {"id": "f", "filename": "n.gif", "url": url}]

    played = run_flow(api.attachment(message, attachment), [answer({"message": record("m", attachments=files)})], api)

    assert played.calls[0].request.url == "message/m"
    assert (played.result.request.method, api.url(played.result.request)) == ("GET", target)
    assert api.is_own(target) is own
    assert played.result.request.headers["Accept"] == "application/json"
    assert api.result(played.result, answer(b"GIF89a")) is None


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "ftp://x/y",
        "https://",
        "https://[::1/x",
        "http://x:99999/",
    ],
)
def test_a_url_that_is_not_of_the_web(url: str) -> None:
    with pytest.raises(ProtocolError):
        service().download(url)


@pytest.mark.parametrize("files", [[], [{"id": "g", "filename": "n", "url": "/x"}]])
def test_an_attachment_that_is_gone(files: list[Any]) -> None:
    api = service()
    flow = api.attachment(Message(service="liquidfiles", id="m"), Attachment(id="f", filename="n"))
    with pytest.raises(NotFound, match="attachment any more"):
        run_flow(flow, [answer({"message": record("m", attachments=files)})], api)


def test_a_used_url_is_not_found() -> None:
    with pytest.raises(NotFound):
        service().result(service().download("/message/m/f/t/n"), answer(status=404))


@pytest.mark.parametrize("files", [[{"id": "f"}], [7], {}, [{"id": "f", "url": "ftp://x"}]])
def test_an_attachment_without_a_usable_url(files: Any) -> None:
    api = service()
    flow = api.attachment(Message(service="liquidfiles", id="m"), Attachment(id="f", filename="n"))
    with pytest.raises(ProtocolError):
        run_flow(flow, [answer({"message": record("m", attachments=files)})], api)
