"""SerwerSMS: errors, many of which come with status 200, and answers that are none."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings

from airflow_messaging.exceptions import AuthenticationFailed, ProtocolError, ServiceError, ServiceUnavailable
from airflow_messaging.messages import Attachment

from .play import answer, hostile_responses, survives, unreadable
from .play_serwersms import PHONE, RECIVED, item, make, message

service = pytest.fixture(make)


@pytest.mark.parametrize("code", [1001, 1002, 1003, 1005, 1007, 1008, "1001"])
@pytest.mark.parametrize("endpoint", ["messages_recived", "messages_reports", "check"])
def test_a_refused_account_comes_with_status_200(service, code, endpoint):
    body = {"error": {"code": code, "type": "InvalidUser", "message": f"Wrong user, call {PHONE}"}}
    with pytest.raises(AuthenticationFailed) as caught:
        service.result(getattr(service, endpoint)(), answer(body))
    assert (caught.value.status, caught.value.code) == (200, str(code))
    assert caught.value.message == "InvalidUser: Wrong user, call <number>"


@pytest.mark.parametrize("code", [1000, 1006, 2000, 3000, 4100])
def test_other_errors_come_with_status_200_as_well(service, code):
    body = {"error": {"code": code, "type": "SendError", "message": "no"}}
    with pytest.raises(ServiceError) as caught:
        service.result(service.messages_send_sms(phone=PHONE, text="words"), answer(body))
    assert type(caught.value) is ServiceError
    assert (caught.value.code, caught.value.message) == (str(code), "SendError: no")


def test_errors_by_status(service):
    call = service.messages_recived()
    for response, kind in [
        (answer("<html>", 503), ServiceUnavailable),
        (answer("", 401), AuthenticationFailed),
        (answer({"error": {"code": 1001}}, 400), AuthenticationFailed),
        (answer("", 302), ProtocolError),
        (answer({"error": {"code": [], "type": 5}}), ServiceError),
    ]:
        with pytest.raises(kind):
            service.result(call, response)


@pytest.mark.parametrize(
    "body",
    [
        "<html>Down for maintenance</html>",
        RECIVED[:200],
        "",
        "[]",
        "null",
        {"items": {}},
        {"items": [5]},
        {"items": [{}]},
        {"items": [item("")]},
        {"items": [item(True)]},
        {"items": [item(1, recived="gestern")]},
        {"items": [item(1, recived=5)]},
        {"items": [item(1, text=["secret"])]},
        {"items": [item(1, attachments=[{"name": "x"}])]},
        {"items": [item(1, attachments=[{"id": 1, "data": 5}])]},
        {"items": [], "paging": {"page": 1, "count": "many"}},
        {"items": [], "paging": 7},
        {"error": "no"},
    ],
)
def test_garbage_is_a_protocol_error(service, body):
    assert "secret" not in unreadable(service, service.messages_recived(), answer(body))


FIELDS = (
    "items", "paging", "page", "count", "id", "phone", "recived", "message_id", "to_number", "text", "title", "name",
    "attachments", "data", "error", "code", "type", "message", "success", "status", "error_code", "error_message",
    "sent",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(response=hostile_responses(*FIELDS))
def test_only_typed_errors_escape(response):
    service = make(zone=ZoneInfo("Europe/Warsaw"))
    for call in (
        service.messages_recived(),
        service.messages_reports(),
        service.messages_send_sms(phone=PHONE, text="x"),
        service.messages_send_sms(phone=[PHONE, PHONE], text="x", unique_id="abc", date="2024-01-01"),
        next(service.attachment(message("1"), Attachment(id="1", filename="x"))),
        service.messages_delete(id="1"),
        service.account_limits(),
    ):
        survives(service, call, response)
        service.observe(response)
