"""LiquidFiles as any other service: sending, receiving and attachments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.exceptions import NotFound, ProtocolError, UnsupportedFeature
from airflow_messaging.messages import Attachment, Message, upload_from_bytes
from airflow_messaging.services.http import RawFile

from .play import answer, refused, run_flow
from .play_liquidfiles import FILE, inbox, record, send, sent_json, service


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
