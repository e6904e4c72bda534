"""SerwerSMS: sending, receipts and states."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.exceptions import ServiceError, UnsupportedFeature
from airflow_messaging.messages import Status, upload_from_bytes

from .play import NOW, answer, body_of, refused, run_flow, unreadable
from .play_serwersms import PHONE, make, neutral

service = pytest.fixture(make)


def sent(status, **more):
    return {"id": "a1b2c3", "phone": PHONE, "status": status, "queued": "2024-10-28 20:18:03", "parts": 1, **more}


def test_send(service):
    responses = [answer({"success": True, "queued": 1, "unsent": 0, "items": [sent("queued")]})]
    flow = neutral(service, options={"sender": "INFO", "utf": True, "test": True})
    receipt, calls = run_flow(flow, responses, service)
    assert service.url(calls[0].request) == "https://api2.serwersms.pl/messages/send_sms"
    assert body_of(calls[0]) == {
        "phone": PHONE, "text": "hi", "sender": "INFO", "details": True, "utf": True, "test": True,
        "unique_id": "dag-run-1",
    }  # fmt: skip
    assert calls[0].message_id == "dag-run-1"
    assert (receipt.id, receipt.status) == ("a1b2c3", Status.QUEUED)
    assert receipt.sent_at == NOW - timedelta(seconds=1)
    assert receipt.raw["items"][0]["id"] == "a1b2c3"


@pytest.mark.parametrize("message_id", ["ab", "x" * 51])
def test_a_message_id_that_does_not_fit_is_left_out(service, message_id):
    assert "unique_id" not in body_of(next(neutral(service, message_id=message_id)))


@pytest.mark.parametrize(
    "given",
    [
        {"subject": "s"},
        {"attachments": (upload_from_bytes("a", b""),)},
        {"in_reply_to": "1"},
        {"to": [PHONE, "+48500600701"]},
    ],
)
def test_send_refuses_what_it_cannot_express(service, given):
    with pytest.raises(UnsupportedFeature) as caught:
        next(neutral(service, **given))
    assert "500600" not in str(caught.value)


def test_send_refuses_bad_arguments(service):
    refused("text", lambda: next(neutral(service, text=None)))
    refused("text", lambda: next(neutral(service, text="")))
    refused("to", lambda: next(neutral(service, to=[])))
    refused("options", lambda: next(neutral(service, options={"unique_id": "x"})))


@pytest.mark.parametrize(
    "word, status",
    [
        ("queued", Status.QUEUED),
        ("saved", Status.QUEUED),
        ("in_progress", Status.QUEUED),
        ("sent", Status.SENT),
        ("delivered", Status.DELIVERED),
        ("something new", Status.QUEUED),
    ],
)
def test_the_word_in_the_receipt(service, word, status):
    call = service.messages_send_sms(phone=PHONE, text="hi")
    assert service.result(call, answer({"success": True, "items": [sent(word)]})).status is status


@pytest.mark.parametrize("body", [
    {"success": True, "queued": 0, "unsent": 1,
     "items": [{"phone": PHONE, "status": "unsent", "error_code": 3005, "error_message": f"Bad number {PHONE}"}]},
])  # fmt: skip
def test_the_only_recipient_failed_though_success_is_true(service, body):
    with pytest.raises(ServiceError) as caught:
        service.result(service.messages_send_sms(phone=PHONE, text="hi"), answer(body))
    assert (caught.value.status, caught.value.code, caught.value.message) == (200, "3005", "Bad number <number>")


def test_several_recipients(service):
    call = service.messages_send_sms(phone=[PHONE, "+48500600701"], text="hi")
    bad = {"id": "bad", "status": "unsent", "error_code": 3005}
    some = service.result(call, answer({"success": True, "items": [bad, sent("queued")]}))
    assert (some.id, some.status, len(some.raw["items"])) == ("a1b2c3", Status.QUEUED, 2)
    none = service.result(call, answer({"success": True, "items": [bad, bad]}))
    assert (none.id, none.status) == ("bad", Status.FAILED)


def test_without_details_the_unique_id_is_the_id(service):
    call = service.messages_send_sms(phone=PHONE, text="hi", details=False, unique_id="abc")
    assert service.result(call, answer({"success": True, "queued": 1, "unsent": 0})).id == "abc"
    with pytest.raises(ServiceError):
        service.result(call, answer({"success": False}))


def test_an_accepted_message_without_any_id(service):
    unreadable(service, service.messages_send_sms(phone=PHONE, text="hi"), answer({"success": True}))


def test_scheduled():
    service = make(zone=ZoneInfo("Europe/Warsaw"))
    call = service.messages_send_sms(phone=PHONE, text="hi", date="2024-12-24T18:00:00")
    assert body_of(call)["date"] == "2024-12-24 18:00:00"
    receipt = service.result(call, answer({"success": True, "items": [sent("queued")]}))
    assert receipt.status is Status.SCHEDULED
    assert receipt.scheduled_at == datetime(2024, 12, 24, 17, tzinfo=UTC)


@pytest.mark.parametrize("word, status", [
    ("saved", Status.QUEUED), ("pending", Status.QUEUED), ("in_progress", Status.QUEUED), ("sent", Status.SENT),
    ("delivered", Status.DELIVERED), ("undelivered", Status.FAILED), ("unsent", Status.FAILED),
])  # fmt: skip
def test_status(service, word, status):
    report = {"id": "a1b2c3", "phone": PHONE, "status": word, "queued": "", "sent": "", "delivered": None}
    body = {"items": [{**report, "id": "other", "status": "unsent"}, report]}
    got, calls = run_flow(service.status("a1b2c3"), [answer(body)], service)
    assert got is status
    assert body_of(calls[0]) == {"id": ["a1b2c3"]}


def test_status_of_an_unknown_message_or_word(service):
    assert run_flow(service.status("x"), [answer({"items": []})], service).result is Status.QUEUED
    unreadable(service, service.messages_reports(id="x"), answer({"items": [{"id": "x", "status": "lost"}]}))
