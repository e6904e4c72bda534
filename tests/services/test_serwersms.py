import base64
import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ConnectionLost,
    NotFound,
    ProtocolError,
    ServiceError,
    ServiceUnavailable,
    UnsupportedFeature,
)
from airflow_messaging.messages import Attachment, Draft, Message, Status, as_recipients, upload_from_bytes
from airflow_messaging.services.paging import Page
from airflow_messaging.services.serwersms import SerwerSms

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

PHONE = "+48500600700"
RECIVED = sample("serwersms/recived.json")


def make(zone=UTC, now=NOW, password="p&ss wörd"):
    base = "https://api2.serwersms.pl/"
    return SerwerSms(base, username="demo", password=password, clock=SetClock(now), zone=zone)


@pytest.fixture
def service():
    return make()


def item(id_, recived="2024-10-28 20:00:00", phone=PHONE, **more):
    return {"id": id_, "type": "nd", "phone": phone, "recived": recived, "blacklist": False, "text": "hi", **more}


def page(*items, number=1, count=1):
    return answer({"items": list(items), "paging": {"page": number, "count": count}})


def message(id_, when="2024-10-28T20:00:00+00:00", sender=PHONE):
    return Message(service="serwersms", id=id_, sender=sender, received_at=datetime.fromisoformat(when))


def neutral(service, *, to=PHONE, **given):
    return service.send(Draft(**{"to": as_recipients(to), "text": "hi", "message_id": "dag-run-1", **given}))


# -- the sample -----------------------------------------------------------------------------------------------------


def test_the_documents_own_sample(service):
    got = service.result(service.messages_recived(), answer(RECIVED))
    assert not got.more
    eco, nd, ndi, mms = got.items
    assert eco == Message(
        service="serwersms",
        id="2477793",
        sender=PHONE,
        text="Przyjade o 16",
        received_at=datetime(2014, 10, 21, 11, 18, 3, tzinfo=UTC),
        in_reply_to="eba39e4fe1",
    )
    assert eco.raw == json.loads(RECIVED)["items"][0]
    assert nd.in_reply_to is None
    assert ndi.text == "Dziękuję za informację"
    assert (mms.subject, mms.text, mms.recipients) == ("Temat MMS", None, ("+48664078059",))
    assert mms.attachments == (Attachment(id="2518", filename="text_0002.txt", content_type="text/plain", size=28),)


def test_attachment_bytes_never_travel_in_a_message(service):
    mms = service.result(service.messages_recived(), answer(RECIVED)).items[3]
    assert "SmFrYXMg" not in json.dumps(mms.to_dict())
    assert mms.raw["attachments"] == [{"id": 2518, "name": "text_0002.txt", "content_type": "text/plain"}]
    assert Message.from_dict(json.loads(json.dumps(mms.to_dict()))) == mms


# -- requests -------------------------------------------------------------------------------------------------------


def test_recived_asks_in_the_vendors_words():
    service = make(zone=ZoneInfo("Europe/Warsaw"))
    call = service.messages_recived(
        phone=[PHONE, "+48500600701"],
        date_from=datetime(2024, 7, 1, 12, tzinfo=UTC),
        date_to="2024-07-01T15:00:00",
        type="ndi",
        ndi="+48500600702",
        read=False,
        show_contact=True,
        page=2,
        limit=50,
        order="desc",
    )
    assert (call.request.method, service.url(call.request)) == ("POST", "https://api2.serwersms.pl/messages/recived")
    assert body_of(call) == {
        "phone": [PHONE, "+48500600701"],
        "date_from": "2024-07-01 14:00:00",
        "date_to": "2024-07-01 15:00:00",
        "type": "ndi",
        "ndi": "+48500600702",
        "read": False,
        "show_contact": True,
        "page": 2,
        "limit": 50,
        "order": "desc",
    }


def test_only_what_is_given_is_sent(service):
    assert body_of(service.messages_recived()) == {}
    assert body_of(service.messages_recived(phone=PHONE)) == {"phone": PHONE}
    assert body_of(service.check()) == {"limit": 1}


def test_only_a_look_may_be_repeated(service):
    assert service.messages_recived().repeatable
    assert service.messages_recived(read=False).repeatable
    assert not service.messages_recived(read=True).repeatable
    assert not service.messages_send_sms(phone=PHONE, text="hi").repeatable
    assert service.messages_reports().repeatable


def test_credentials_go_into_a_copy_of_the_body(service):
    call = service.messages_recived(phone=PHONE)
    (sent,) = run_auth(service, call.request, [answer("{}")])
    assert sent.body.value == {"phone": PHONE, "username": "demo", "password": "p&ss wörd"}
    assert body_of(call) == {"phone": PHONE}
    assert "p&ss" not in repr(call) + repr(sent)


def test_every_form_of_the_password_can_be_masked(service):
    assert set(service.derived_secrets()) == {
        "p\\u0026ss w\\u00f6rd".replace("\\u0026", "&"),
        "p%26ss%20w%C3%B6rd",
        "p%26ss+w%C3%B6rd",
    }
    assert list(make(password="plain").derived_secrets()) == []


@pytest.mark.parametrize(
    "field, given",
    [
        ("type", {"type": "sms"}),
        ("type", {"type": "eco|nd"}),
        ("type", {"type": ["eco"]}),
        ("read", {"read": "false"}),
        ("read", {"read": 1}),
        ("phone", {"phone": ""}),
        ("phone", {"phone": []}),
        ("phone", {"phone": [PHONE, 48500600701]}),
        ("date_from", {"date_from": "yesterday"}),
        ("date_to", {"date_to": 5}),
    ],
)
def test_recived_refuses(service, field, given):
    refused(field, lambda: service.messages_recived(**given), "500600700", "48500600701")


@pytest.mark.parametrize(
    "field, given",
    [
        ("phone", {"phone": []}),
        ("phone", {"phone": [PHONE] * 100_001}),
        ("text", {"text": ""}),
        ("text", {"text": None}),
        ("unique_id", {"unique_id": "ab"}),
        ("unique_id", {"unique_id": "x" * 51}),
        ("unique_id", {"unique_id": 12345}),
        ("details", {"details": False}),
        ("date", {"date": "tomorrow"}),
    ],
)
def test_send_sms_refuses(service, field, given):
    refused(
        field, lambda: service.messages_send_sms(**{"phone": PHONE, "text": "words", **given}), "500600700", "words"
    )


def test_reports_refuses_more_than_500_ids(service):
    assert "501 ids" in str(refused("id", lambda: service.messages_reports(id=[str(n) for n in range(501)])))
    assert len(body_of(service.messages_reports(id=[str(n) for n in range(500)]))["id"]) == 500


# -- errors ---------------------------------------------------------------------------------------------------------


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


# -- sending --------------------------------------------------------------------------------------------------------


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


# -- receiving ------------------------------------------------------------------------------------------------------


def test_all_pages_are_read_and_never_marked(service):
    once = [
        page(item(2), item(3), number=1, count=3),
        page(item(1), number=2, count=3),
        page(item(4), number=3, count=3),
    ]
    got, calls = run_flow(service.messages_recived_all(phone=PHONE), [*once, *once], service)
    assert [m.id for m in got] == ["1", "2", "3", "4"]
    assert [body_of(call).get("page") for call in calls] == [None, 2, 3, None, 2, 3]
    assert all("read" not in body_of(call) and call.repeatable for call in calls)


def test_a_message_that_slipped_to_the_page_before_is_found(service):
    first = [page(item(1), item(2), count=2), page(item(4), number=2, count=2)]  # 1 is marked, so 3 moved to page 1
    second = [page(item(2), item(3), count=2), page(item(4), number=2, count=2)]
    got = run_flow(service.messages_recived_all(), [*first, *second, *second], service).result
    assert [m.id for m in got] == ["1", "2", "3", "4"]


def test_paging_that_does_not_move_is_an_error(service):
    with pytest.raises(ProtocolError, match="same"):
        run_flow(service.messages_recived_all(), lambda _: page(item(1), count=2), service)


def test_received_is_oldest_first_without_the_seen(service):
    body = page(
        item(12, "2024-10-28 20:00:01"), item(9, "2024-10-28 20:00:00"), item(10, "2024-10-28 20:00:00"),
        item(5, "2024-10-28 19:00:00"), item(11, "2024-10-28 20:00:00"),
    )  # fmt: skip
    since = datetime(2024, 10, 28, 19, 30, tzinfo=UTC)
    got, calls = run_flow(service.received(since, seen={"10": None}, limit=None), [body], service)
    assert [m.id for m in got] == ["9", "11", "12"]
    assert body_of(calls[0]) == {"date_from": "2024-10-28 19:30:00"}
    limited = run_flow(service.received(None, seen={}, limit=2), [body], service).result
    assert [m.id for m in limited] == ["5", "9"]


@pytest.mark.parametrize(
    "since, now, asked",
    [
        # 27 October 2024, 03:00 summer time becomes 02:00 winter time, at 01:00 UTC.
        ("2024-10-26T23:55", "2024-10-26T23:58", "2024-10-27 01:55:00"),
        ("2024-10-27T00:50", "2024-10-27T01:15", "2024-10-27 01:50:00"),
        ("2024-10-27T01:00", "2024-10-27T01:15", "2024-10-27 02:00:00"),
        ("2024-10-27T02:00", "2024-10-27T02:15", "2024-10-27 03:00:00"),
    ],
)
def test_the_hour_that_autumn_repeats(since, now, asked):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    service = make(ZoneInfo("Europe/Warsaw"), moment)
    written = (moment - timedelta(minutes=1)).astimezone(service.zone).strftime("%Y-%m-%d %H:%M:%S")
    flow = service.received(datetime.fromisoformat(since).replace(tzinfo=UTC), seen={}, limit=None)
    (got,), calls = run_flow(flow, [page(item(1, written))], service)
    assert got.received_at == moment - timedelta(minutes=1)
    assert body_of(calls[0])["date_from"] == asked
    assert written >= asked, "the service would have left it out"


def test_message_by_id(service):
    assert run_flow(service.message("2"), [page(item(1), item(2))], service).result.id == "2"
    with pytest.raises(NotFound):
        run_flow(service.message("3"), [page(item(1), item(2))], service)


def test_mark_read_narrows_to_sender_and_second(service):
    messages = [message("1"), message("2"), message("3", "2024-10-28T20:00:01+00:00")]
    responses = [page(item(1), item(2)), page(item(3))]
    extra, calls = run_flow(service.mark_read(messages), responses, service)
    assert extra == []
    common = {"phone": PHONE, "read": True}
    assert [body_of(call) for call in calls] == [
        {**common, "date_from": "2024-10-28 20:00:00", "date_to": "2024-10-28 20:00:00"},
        {**common, "date_from": "2024-10-28 20:00:01", "date_to": "2024-10-28 20:00:01"},
    ]
    assert not any(call.repeatable for call in calls)


def test_what_marking_handed_out_on_top_is_returned(service):
    responses = [page(item(1), item(7), count=2), page(item(2), item(8))]  # the second page has become the first
    extra, calls = run_flow(service.mark_read([message("1"), message("2")]), responses, service)
    assert [m.id for m in extra] == ["7", "8"]
    assert [body_of(call).get("page") for call in calls] == [None, None]


def test_marking_ends_when_nothing_new_comes(service):
    responses = [page(item(1), count=9), page(item(1), count=9)]
    assert run_flow(service.mark_read([message("1")]), responses, service).result == []


def test_what_was_handed_out_survives_a_failure_of_a_later_call(service):
    messages = [message("1"), message("2", "2024-10-28T20:00:01+00:00")]
    lost = ConnectionLost("serwersms", "messages/recived", "reset")
    (extra,) = run_flow(service.mark_read(messages), [Page([message("1"), message("7")]), lost]).result
    assert extra.id == "7"
    with pytest.raises(ConnectionLost):
        run_flow(service.mark_read(messages), [Page([message("1")]), lost])


@pytest.mark.parametrize(
    "lacking",
    [
        Message(service="serwersms", id="1", sender=PHONE),
        Message(service="serwersms", id="1", received_at=NOW),
    ],
)
def test_only_a_message_with_sender_and_time_can_be_marked(service, lacking):
    refused("message", lambda: run_flow(service.mark_read([lacking])), "500600700")
    refused("message", lambda: next(service.attachment(lacking, Attachment(id="1", filename="x"))), "500600700")


def test_marking_nothing_asks_nothing(service):
    assert run_flow(service.mark_read([])).result == []


# -- attachments ----------------------------------------------------------------------------------------------------


def test_the_bytes_of_an_attachment(service):
    mms = service.result(service.messages_recived(), answer(RECIVED)).items[3]
    data, calls = run_flow(service.attachment(mms, mms.attachments[0]), [answer(RECIVED)], service)
    assert data == b"Jakas tam jeszcze wiadaomosc"
    assert body_of(calls[0]) == {"phone": PHONE, "date_from": "2014-10-21 14:09:15", "date_to": "2014-10-21 14:09:15"}


def test_an_attachment_of_a_message_that_was_marked_meanwhile(service):
    wanted = Attachment(id="2518", filename="x")
    for body in (page(), page(item(1)), page(item(2, attachments=[{"id": 2518, "data": "AA=="}]))):
        with pytest.raises(NotFound, match="unread"):
            run_flow(service.attachment(message("1"), wanted), [body], service)


def test_a_damaged_attachment_hides_no_message(service):
    damaged = item(1, attachments=[{"id": 5, "name": "x.jpg", "data": "*not base64*"}])
    got = service.result(service.messages_recived(), page(damaged, item(2)))
    assert [m.id for m in got.items] == ["1", "2"]
    assert got.items[0].attachments[0].size is None
    for data in ({"data": "*not base64*"}, {}):
        broken = page(item(1, attachments=[{"id": 5, **data}]))
        with pytest.raises(ProtocolError):
            run_flow(service.attachment(got.items[0], Attachment(id="5", filename="x")), [broken], service)


@given(data=st.binary(max_size=200))
def test_attachments_come_back_whole(data):
    service = make()
    text = base64.encodebytes(data).decode()
    body = page(item(1, attachments=[{"id": 5, "name": "x", "data": text}]))
    got = service.result(service.messages_recived(), body).items[0]
    assert got.attachments[0].size == len(data)
    assert run_flow(service.attachment(got, got.attachments[0]), [body], service).result == data
