import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    NotFound,
    ProtocolError,
    ServiceUnavailable,
    UnsupportedFeature,
)
from airflow_messaging.messages import Attachment, Draft, Message, Status, as_recipients, upload_from_bytes
from airflow_messaging.services.go_integrate import GoIntegrate, request_key
from airflow_messaging.services.http import FileField

from .play import (
    NOW,
    SetClock,
    answer,
    head,
    hostile_responses,
    refused,
    run_auth,
    run_flow,
    sample,
    survives,
    unreadable,
)

ROUTE = "abcd@abcdef01"
PEER = "ef01@1234abcd"
SECRET = "s3cret/KEY"
FILE = upload_from_bytes("file.txt", b"hello", content_type="text/plain")
LINK = "1f393c2d-23e3-7T7GjLMBbU"
GET_HEAD = sample("go_integrate/get-message.headers")
LIST = sample("go_integrate/list-messages.json")


def make(now=NOW, **options):
    base = "https://eu-nl.api.go-integrate.me/1/"
    service = GoIntegrate(base, **{"route": ROUTE, "key_secret": SECRET, "clock": SetClock(now), **options})
    service.secrets = []
    service.on_secret = service.secrets.append
    return service


@pytest.fixture
def service():
    return make()


def sha512sum(text):
    """The oracle: the same tool as in the documents' scripts, and none of Python's."""
    return subprocess.run(["sha512sum"], input=text.encode(), capture_output=True, check=True).stdout[:128].decode()


def md5sum(data):
    return subprocess.run(["md5sum"], input=data, capture_output=True, check=True).stdout[:32].decode()


def fetched(link=LINK, name="a.txt", body=b"hello"):
    return answer(body, Message_Link=link, Message_File_Name=name, Content_Length=str(len(body)))


def dated(when, status=200):
    return answer("[]", status, Date=format_datetime(when, usegmt=True))


def listing(*links):
    return answer(
        [{"link": link, "received_date": when, "expiration_date": "2024-10-29 00:00:00"} for link, when in links]
    )


def neutral(service, *, to=PEER, **given):
    return service.send(Draft(**{"to": as_recipients(to), "text": "hi", "message_id": "12345", **given}))


# -- signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [ROUTE, "r", "ż-is-not-ascii-in-a-secret"])
@pytest.mark.parametrize("secret", [SECRET, "", "zażółć"])
def test_a_request_key_is_what_the_documents_script_computes(route, secret):
    date = "2024-10-28T20:18:03+00:00"
    for parts in ((date, route, secret), (date, route, PEER, "12345", FILE.md5, secret)):
        assert request_key(*parts) == sha512sum("".join(parts))


def test_the_documents_own_script_agrees(tmp_path):
    script = sample("go_integrate/request-key.send.sh")
    for statement in ("FILE_MD5=", "KEY="):
        script = script.replace(f" {statement}", f"\n{statement}")
    path = tmp_path / "file.txt"
    path.write_bytes(b"hello")
    lines = ["date() { echo 2024-10-28T20:18:03+00:00; }", "shasum() { sha512sum; }", script, 'echo "$KEY"']
    found = subprocess.run(
        ["bash", "-c", "\n".join(lines), "script", path, PEER],
        env={"PATH": "/usr/bin:/bin", "ROUTE": ROUTE, "ID": "12345", "KEY_SECRET": SECRET},
        capture_output=True,
        check=True,
        text=True,
    )
    service = make()
    request = service.send_message(data=FILE, message_to=PEER, message_id="12345").request
    (sent,) = run_auth(service, request, [answer()])
    assert sent.headers["request-key"] == found.stdout.strip()


def test_a_send_is_signed_with_recipient_id_and_digest(service):
    call = service.send_message(data=FILE, message_to=PEER, message_id="12345", message_expires_after=120)
    (sent,) = run_auth(service, call.request, [answer()])
    date = "2024-10-28T20:18:03+00:00"
    assert sent.headers == {
        "request-timestamp": date,
        "request-from": ROUTE,
        "request-key": sha512sum(date + ROUTE + PEER + "12345" + md5sum(b"hello") + SECRET),
        "pay-for-reply": "1",
        "message-id": "12345",
        "message-to": PEER,
        "message-priority": "normal",
        "message-md5": md5sum(b"hello"),
        "message-expires-after": "120",
    }
    assert sent.body == FileField("data", FILE)
    assert (sent.method, service.url(sent)) == ("POST", "https://eu-nl.api.go-integrate.me/1/send-message")
    assert (call.repeatable, call.message_id) == (False, "12345")
    assert "request-key" not in call.request.headers
    assert service.secrets == [sent.headers["request-key"]]
    assert sent.headers["request-key"] not in repr(sent)


def test_reading_signs_date_and_route_and_not_the_link(service):
    wanted = sha512sum("2024-10-28T20:18:03+00:00" + ROUTE + SECRET)
    calls = [
        service.ping(),
        service.check(),
        service.get_message(LINK),
        service.get_next_message(LINK),
        service.wait_next_message(LINK),
    ]
    for call in calls:
        (sent,) = run_auth(service, call.request, [answer("[]")])
        assert sent.headers["request-key"] == wanted
        assert sent.method == "GET"
        assert call.repeatable


def test_each_attempt_is_signed_anew(service):
    request = service.list_messages().request
    (first,) = run_auth(service, request, [answer("[]")])
    service.clock.now += timedelta(seconds=1)
    (second,) = run_auth(service, request, [answer("[]")])
    assert second.headers["request-timestamp"] == "2024-10-28T20:18:04+00:00"
    assert first.headers["request-key"] != second.headers["request-key"]


@pytest.mark.parametrize("ahead_s", [3600, -3600, 301, -301, 200])
def test_a_refusal_by_a_clock_that_is_far_away_is_signed_once_more(service, ahead_s):
    theirs = NOW + timedelta(seconds=ahead_s)
    request = service.list_messages().request
    first, second = run_auth(service, request, [dated(theirs, 403), dated(theirs)])
    assert first.headers["request-timestamp"] == NOW.isoformat()
    assert second.headers["request-timestamp"] == theirs.isoformat()
    assert second.headers["request-key"] == sha512sum(theirs.isoformat() + ROUTE + SECRET)
    # The next request starts from what was learnt, and a further refusal then has another reason.
    (again,) = run_auth(service, request, [dated(theirs, 403)])
    assert again.headers["request-timestamp"] == theirs.isoformat()


@pytest.mark.parametrize(
    "response",
    [
        dated(NOW + timedelta(seconds=100), 403),
        dated(NOW + timedelta(hours=1), 404),
        dated(NOW + timedelta(hours=1), 500),
        dated(NOW + timedelta(hours=1), 200),
        answer("", 403),
        answer("", 403, Date="gibberish"),
        None,
    ],
)
def test_nothing_is_sent_twice_without_that_reason(service, response):
    assert len(run_auth(service, service.list_messages().request, [response])) == 1


def test_a_far_clock_that_refuses_again_is_not_asked_a_third_time(service):
    theirs = dated(NOW + timedelta(hours=1), 403)
    assert len(run_auth(service, service.list_messages().request, [theirs, theirs])) == 2


# -- refusals -------------------------------------------------------------------------------------------------------

INJECTIONS = ["a\r\nrequest-key: x", "a\nb", "a\rb", "a\0b", " a", "a ", "", "é", "a\u2028b", "a\tb", None, 7, b"a"]


@pytest.mark.parametrize("bad", INJECTIONS)
def test_nothing_can_be_smuggled_into_a_header(service, bad):
    refused("message_to", lambda: service.send_message(data=FILE, message_to=bad, message_id="1"))
    refused("message_id", lambda: service.send_message(data=FILE, message_to=PEER, message_id=bad))
    refused("route", lambda: make(route=bad))


@pytest.mark.parametrize(
    "field, value",
    [
        ("message_expires_after", 0),
        ("message_expires_after", -1),
        ("message_expires_after", 1.5),
        ("message_expires_after", True),
        ("message_expires_after", "120\r\nx: y"),
        ("message_priority", "high"),
        ("pay_for_reply", 0),
    ],
)
def test_send_message_refuses(service, field, value):
    refused(field, lambda: service.send_message(**{"data": FILE, "message_to": PEER, "message_id": "1", field: value}))


@pytest.mark.parametrize("bad", ["", " ", ".", "..", None, 5, "a\nb"])
def test_links_that_lead_elsewhere(service, bad):
    refused("link", lambda: service.get_message(bad))
    refused("after", lambda: service.get_next_message(bad))
    refused("after", lambda: service.wait_next_message(bad))


def test_a_link_is_one_segment_of_the_path(service):
    assert service.get_message("../ping?a=b#c").request.url == "get-message/..%2Fping%3Fa%3Db%23c"


@pytest.mark.parametrize(
    "given",
    [
        {"subject": "s"},
        {"in_reply_to": "1"},
        {"text": None},
        {"attachments": (FILE,)},
        {"text": None, "attachments": (FILE, FILE)},
        {"to": [PEER, ROUTE]},
    ],
)
def test_send_refuses_what_it_cannot_express(service, given):
    with pytest.raises(UnsupportedFeature):
        next(neutral(service, **given))


def test_send_refuses_bad_arguments(service):
    refused("to", lambda: next(neutral(service, to=[])))
    refused("options", lambda: next(neutral(service, options={"message_id": "7"})))


# -- answers --------------------------------------------------------------------------------------------------------


def test_the_documents_receipt(service):
    service.observe(head(sample("go_integrate/send-message.ok.headers")))
    receipt = run_flow(
        neutral(service, options={"message_expires_after": 120}),
        [head(sample("go_integrate/send-message.ok.headers"))],
        service,
    ).result
    assert (receipt.id, receipt.status) == ("12345", Status.SENT)
    assert receipt.request_id == "20241027210256-f185965753b0b5ac"
    assert receipt.sent_at == datetime(2024, 10, 27, 21, 2, 55, tzinfo=UTC)


def test_text_travels_as_a_file(service):
    call = next(neutral(service, text="zażółć"))
    upload = call.request.body.upload
    assert (upload.filename, upload.content_type) == ("12345.txt", "text/plain")
    assert upload.open().read() == "zażółć".encode()
    assert upload.md5 == md5sum("zażółć".encode())


def test_the_documents_error(service):
    call = service.send_message(data=FILE, message_to=PEER, message_id="1")
    with pytest.raises(NotFound) as caught:
        service.result(call, head(sample("go_integrate/send-message.404.headers")))
    error = caught.value
    assert (error.code, error.message) == ("201", "Message recipient cannot be found")
    assert error.request_id == "20241027210658-f76ede36711a79e4"


@pytest.mark.parametrize(
    "header, code, message",
    [
        ("code=5; message=a; b=c", "5", "a; b=c"),
        ("code=5", "5", None),
        ("no idea", None, None),
        ("message=only +48 500 600 700", None, "only <number>"),
    ],
)
def test_error_headers(service, header, code, message):
    with pytest.raises(AuthenticationFailed) as caught:
        service.result(service.list_messages(), answer("", 401, ERROR=header))
    assert (caught.value.code, caught.value.message) == (code, message)


def test_errors_by_status(service):
    for status, kind in [(500, ServiceUnavailable), (302, ProtocolError), (204, ProtocolError)]:
        with pytest.raises(kind):
            service.result(service.list_messages(), answer("", status))


def test_the_documents_list(service):
    first, second, third = service.result(service.list_messages(), answer(LIST))
    assert first == Message(
        service="go_integrate",
        id="1f393c2d-23e3-JZ0TstJk39",
        recipients=(ROUTE,),
        received_at=datetime(2024, 10, 28, 20, 11, 57, tzinfo=UTC),
        expires_at=datetime(2024, 10, 28, 20, 13, 57, tzinfo=UTC),
    )
    assert (second.id, third.id) == ("1f393c2d-23e3-T95JhiPqLl", "1f393c2d-23e3-mOCy9jeLOn")
    assert first.raw == json.loads(LIST)[0]


@pytest.mark.parametrize("method", ["get_message", "get_next_message", "wait_next_message"])
def test_the_documents_file(service, method):
    name = re.sub("_", "-", method)
    body = b"<xml/>".ljust(925)
    got = service.result(getattr(service, method)(LINK), head(sample(f"go_integrate/{name}.headers"), body))
    assert (got.id, got.subject, got.text) == (LINK, "your_file.xml", body.decode())
    assert got.attachments == (
        Attachment(id=LINK, filename="your_file.xml", content_type="application/octet-stream", size=925),
    )
    assert got.raw["request_id"] == "20241028201803-1b55526c6a7599ef"


def test_what_is_not_text_and_what_is_too_large(service):
    binary = service.result(service.get_message(LINK), fetched(body=b"\xff\x00"))
    assert (binary.text, binary.content) == (None, b"\xff\x00")
    assert Message.from_dict(json.loads(json.dumps(binary.to_dict()))) == binary
    call = service.get_message(LINK)
    assert call.cut
    cut = head(GET_HEAD).__class__(status=200, headers=head(GET_HEAD).headers, body=b"abc", complete=False)
    large = service.result(call, cut)
    assert (large.text, large.content, large.attachments[0].size) == (None, None, 925)


@pytest.mark.parametrize("method", ["get_next_message", "wait_next_message"])
@pytest.mark.parametrize("response", [answer("", 404), answer("", 204), answer("", 200)])
def test_nothing_newer(service, method, response):
    assert service.result(getattr(service, method)(LINK), response) is None


def test_an_empty_file_is_a_message(service):
    got = service.result(service.get_next_message(LINK), fetched(body=b""))
    assert (got.id, got.text, got.attachments[0].size) == (LINK, "", 0)


@pytest.mark.parametrize("body", [
    "<html>", LIST[:50], "", "{}", "[5]", '[{"link": ""}]', '[{"link": "x", "received_date": "soon"}]', "[[]]",
    '[{"link": "x", "received_date": 5}]',
])  # fmt: skip
def test_garbled_lists_are_a_protocol_error(service, body):
    unreadable(service, service.list_messages(), answer(body))


def test_a_page_instead_of_a_file_is_a_protocol_error(service):
    for call in (service.get_message(LINK), service.get_next_message(LINK), service.wait_next_message(LINK)):
        assert "secret" not in unreadable(service, call, answer("<html>secret</html>"))
    unreadable(service, service.send_message(data=FILE, message_to=PEER, message_id="1"), answer())


@settings(max_examples=150, deadline=None)
@given(response=hostile_responses("link", "received_date", "expiration_date"))
def test_only_typed_errors_escape(response):
    service = make()
    for call in (
        service.ping(),
        service.list_messages(),
        service.get_message(LINK),
        service.get_next_message(LINK),
        service.send_message(data=FILE, message_to=PEER, message_id="1"),
    ):
        survives(service, call, response)
        service.observe(response)


# -- receiving ------------------------------------------------------------------------------------------------------


def test_received_lists_and_then_fetches_what_is_new(service):
    responses = [
        listing(("c", "2024-10-28 20:00:02"), ("a", "2024-10-28 19:00:00"), ("s", "2024-10-28 20:00:01"),
                ("b", "2024-10-28 20:00:00")),
        fetched("b"),
        fetched("c"),
    ]  # fmt: skip
    since = datetime(2024, 10, 28, 20, tzinfo=UTC)
    got, calls = run_flow(service.received(since, seen={"s": None}, limit=None), responses, service)
    assert [(m.id, m.received_at.second) for m in got] == [("b", 0), ("c", 2)]
    assert got[0].expires_at == datetime(2024, 10, 29, tzinfo=UTC)
    assert [call.request.url for call in calls] == ["list-messages", "get-message/b", "get-message/c"]


@pytest.mark.parametrize("gone", [answer("", 404), answer("", 204), answer("", 200)])
def test_a_message_that_expires_in_between_does_not_count_against_the_limit(service, gone):
    both = listing(("a", "2024-10-28 20:00:00"), ("b", "2024-10-28 20:00:01"), ("c", "2024-10-28 20:00:02"))
    flow = service.received(None, seen={}, limit=1)
    (got,), calls = run_flow(flow, [both, gone, fetched("b")], service)
    assert got.id == "b"
    assert len(calls) == 3


def test_message_and_wait(service):
    both = [fetched(), listing((LINK, "2024-10-28 20:00:00"))]
    dates = (datetime(2024, 10, 28, 20, tzinfo=UTC), datetime(2024, 10, 29, tzinfo=UTC))
    got = run_flow(service.message(LINK), both, service).result
    assert (got.id, got.text, got.received_at, got.expires_at) == (LINK, "hello", *dates)
    # One that has gone from the list in between is handed over all the same.
    gone = run_flow(service.message(LINK), [fetched(), listing()], service).result
    assert (gone.id, gone.received_at, gone.expires_at) == (LINK, service.now().replace(microsecond=0), None)
    with pytest.raises(NotFound):
        run_flow(service.message(LINK), [answer("", 404)], service)
    nothing, calls = run_flow(service.wait_next("x"), [answer("", 404)], service)
    assert nothing == []
    assert calls[0].request.hold > 60
    (waited,) = run_flow(service.wait_next("x"), both, service).result
    assert (waited.id, waited.received_at, waited.expires_at) == (LINK, *dates)


def test_an_attachment_is_the_messages_file(service):
    got = service.result(service.get_message(LINK), fetched())
    call = run_flow(service.attachment(got, got.attachments[0])).result
    assert (call.request.url, call.repeatable) == (f"get-message/{LINK}", True)


def test_what_it_does_not_know(service):
    for flow in (service.mark_read([]), service.status("1")):
        with pytest.raises(UnsupportedFeature):
            next(flow)
