"""Go Integrate Me: what its receipts, lists, files and errors mean."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings

from airflow_messaging.exceptions import AuthenticationFailed, NotFound, ProtocolError, ServiceUnavailable
from airflow_messaging.messages import Attachment, Message, Status

from .play import answer, head, hostile_responses, run_flow, sample, survives, unreadable
from .play_go_integrate import FILE, GET_HEAD, LINK, LIST, PEER, ROUTE, fetched, make, md5sum, neutral

service = pytest.fixture(make)


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
