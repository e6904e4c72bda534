"""SerwerSMS: the documents' own sample, what is asked, with which credentials, and what is refused."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.messages import Attachment, Message

from .play import answer, body_of, refused, run_auth
from .play_serwersms import PHONE, RECIVED, make

service = pytest.fixture(make)

# -- the sample -------------------------------------------------------------------------------------------------------


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


# -- requests ---------------------------------------------------------------------------------------------------------


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
