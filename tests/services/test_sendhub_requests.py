"""SendHub: the documents' own requests and receipts, credentials, and what is refused."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_messaging.exceptions import UnsupportedFeature
from airflow_messaging.messages import Message, Status, upload_from_bytes

from .play import answer, body_of, refused, run_auth, run_flow, sample
from .play_sendhub import NUMBER, SENT, listing, make, neutral

service = pytest.fixture(make)

# -- the samples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "contacts, more, document",
    [
        ([1111], {}, "send-message.request.json"),
        (["1111"], {}, "send-message.request.json"),
        (1111, {}, "send-message.request.json"),
        ([1111, 1112, 1113], {"groups": [1000, "1001"]}, "send-many.request.json"),
        (
            [1111],
            {"text": "Testing Scheduling", "scheduled_at": "2011-02-17T14:30:00-0800"},
            "schedule.request.json",
        ),
        (
            [1111],
            {
                "text": "Testing Scheduling",
                "scheduled_at": datetime(2011, 2, 17, 14, 30, 0, 999, tzinfo=timezone(timedelta(hours=-8))),
            },
            "schedule.request.json",
        ),
    ],
)
def test_requests_are_the_documents_own(service, contacts, more, document):
    call = service.send_message(**{"contacts": contacts, "text": "Testing", **more})
    assert body_of(call) == json.loads(sample(f"sendhub/{document}"))
    assert (call.request.method, service.url(call.request)) == ("POST", "https://api.sendhub.com/v1/messages/")
    assert not call.repeatable


def test_numbers_stay_texts(service):
    assert body_of(service.send_message(contacts=[NUMBER, "7"], text="x"))["contacts"] == [NUMBER, 7]


def test_the_documents_receipts(service):
    call = service.send_message(contacts=[1111], text="Testing")
    got = service.result(call, answer(SENT, 201))
    assert (got.id, got.status) == ("25", Status.SENT)
    assert got.sent_at == datetime(2012, 2, 17, 20, 36, 36, 639968, tzinfo=UTC)
    assert got.raw == json.loads(SENT)
    later = service.result(call, answer(sample("sendhub/schedule.json"), 201))
    assert (later.id, later.status) == ("30", Status.SCHEDULED)
    assert later.scheduled_at == datetime(2011, 2, 17, 22, 30, tzinfo=UTC)
    assert later.sent_at == service.now() - timedelta(seconds=1)


def test_the_documents_status(service):
    body = answer(sample("sendhub/status.json"))
    status, calls = run_flow(service.status("25"), [body], service)
    assert status is Status.SENT
    assert (calls[0].request.method, calls[0].request.url) == ("GET", "messages/25/")
    got = run_flow(service.message("25"), [body], service).result
    assert got == Message(
        service="sendhub",
        id="25",
        recipients=("1111",),
        text="Testing",
        sent_at=datetime(2012, 2, 17, 20, 36, 37, 639968, tzinfo=UTC),
    )
    assert Message.from_dict(json.loads(json.dumps(got.to_dict()))) == got


def test_marking_as_read_is_the_documents_request(service):
    call = service.mark_message_read("25")
    assert body_of(call) == json.loads(sample("sendhub/mark-read.request.json"))
    assert (call.request.method, call.request.url, call.repeatable) == ("PUT", "messages/25/", True)
    assert service.result(call, answer("", 202)) is None
    assert service.result(call, answer(sample("sendhub/status.json"))).id == "25"


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field, given, shown",
    [
        ("contacts", {"contacts": []}, "no contacts and no groups"),
        ("contacts", {"contacts": list(range(21))}, "21 contacts"),
        ("contacts", {"contacts": [True]}, "no id"),
        ("contacts", {"contacts": [1.5]}, "no id"),
        ("contacts", {"contacts": ["650-555-1234 secret"]}, "no id"),
        ("contacts", {"contacts": ["+1 secret"]}, "no id"),
        ("contacts", {"contacts": ["9" * 5000]}, "no id"),
        ("contacts", {"contacts": [""]}, "no id"),
        ("groups", {"groups": [1, 2, 3, 4]}, "4 groups"),
        ("groups", {"groups": [NUMBER]}, "no id"),
        ("text", {"text": ""}, "no text"),
        ("text", {"text": None}, "no text"),
        ("text", {"text": "secret" * 100}, "600 characters"),
        ("scheduled_at", {"scheduled_at": datetime(2030, 1, 1)}, "2030-01-01 00:00:00, which lacks a zone"),
        ("scheduled_at", {"scheduled_at": "2011-02-17T20:29:40"}, "2011-02-17"),
        ("scheduled_at", {"scheduled_at": "2011-02-17T20:29:40-08:00"}, "2011-02-17"),
        ("scheduled_at", {"scheduled_at": "2011-02-17 20:29:40-0800"}, "2011-02-17"),
        ("scheduled_at", {"scheduled_at": "2011-02-31T20:29:40-0800"}, "2011-02-31"),
        ("scheduled_at", {"scheduled_at": "2011-02-17T20:29:40-0800\n"}, "2011-02-17"),
        ("scheduled_at", {"scheduled_at": 1}, "1"),
    ],
)
def test_send_message_refuses(service, field, given, shown):
    base = {"contacts": [NUMBER], "text": "secret"}
    error = refused(field, lambda: service.send_message(**{**base, **given}), "secret", "6505551234", "9" * 20)
    assert shown in str(error)


def test_the_limits_are_the_connections():
    service = make(max_contacts=25, max_groups=1, max_text=1600)
    service.send_message(contacts=range(25), groups=[1], text="x" * 1600)
    refused("contacts", lambda: service.send_message(contacts=range(26), text="x"))
    refused("groups", lambda: service.send_message(groups=[1, 2], text="x"))
    refused("text", lambda: service.send_message(contacts=[1], text="x" * 1601))
    assert len(body_of(make().send_message(contacts=range(20), groups=[1, 2, 3], text="ż" * 500))["text"]) == 500


@pytest.mark.parametrize("bad", ["", " ", ".", "..", None, 5])
def test_ids_that_lead_elsewhere(service, bad):
    refused("message_id", lambda: service.get_message(bad))
    refused("message_id", lambda: service.mark_message_read(bad))
    refused("thread_id", lambda: service.thread(bad))


def test_ids_are_one_segment_of_the_path(service):
    assert service.get_message("../inbox?x=1").request.url == "messages/..%2Finbox%3Fx%3D1/"


@pytest.mark.parametrize("given", [{"limit": 0}, {"limit": "many"}, {"limit": True}])
def test_lists_refuse_a_bad_limit(service, given):
    refused("limit", lambda: service.inbox(**given))
    refused("limit", lambda: service.thread("1", **given))
    refused("offset", lambda: service.inbox(offset=-1))


@pytest.mark.parametrize(
    "given", [{"subject": "s"}, {"attachments": (upload_from_bytes("a", b"a"),) * 2}, {"in_reply_to": "1"}]
)
def test_send_refuses_what_it_cannot_express(service, given):
    with pytest.raises(UnsupportedFeature):
        next(neutral(service, **given))


def test_send(service):
    options = {"groups": [1000], "scheduled_at": "2011-02-17T14:30:00-0800"}
    flow = neutral(service, to=["1111", NUMBER], options=options)
    receipt, calls = run_flow(flow, [answer(SENT, 201)], service)
    assert receipt.id == "25"
    assert body_of(calls[0]) == {"contacts": [1111, NUMBER], "text": "Testing", **options}
    assert body_of(next(neutral(service, to=[], options={"groups": ["5"]}))) == {"groups": [5], "text": "Testing"}
    refused("options", lambda: next(neutral(service, options={"contacts": [1]})))
    refused("text", lambda: next(neutral(service, text=None)))
    refused("contacts", lambda: next(neutral(service, to=[])))


# -- credentials and requests -----------------------------------------------------------------------------------------


def test_credentials_go_into_a_copy_of_the_query(service):
    request = service.inbox(limit=5, offset=10, unread=True).request
    assert request.params == (("limit", "5"), ("offset", "10"), ("unread", "true"))
    (sent,) = run_auth(service, request, [listing()])
    assert sent.params == (*request.params, ("username", "USER"), ("api_key", "K/E Y"))
    assert "K/E" not in repr(sent) + repr(request)


def test_every_form_of_the_key_can_be_masked(service):
    assert list(service.derived_secrets()) == ["K%2FE%20Y", "K%2FE+Y"]
    assert list(make(api_key="plain").derived_secrets()) == []


def test_paths(service):
    assert service.url(service.inbox().request) == "https://api.sendhub.com/v1/inbox/"
    assert service.url(service.thread("7").request) == "https://api.sendhub.com/v1/threads/7"
    assert service.check().request.params == (("limit", "1"),)
    assert service.check().repeatable
