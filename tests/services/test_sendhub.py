import json
from datetime import UTC, datetime, timedelta, timezone

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
from airflow_messaging.services.sendhub import SendHub

from .play import (
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

NUMBER = "+16505551234"
SENT = sample("sendhub/send-message.json")


def make(**options):
    base = "https://api.sendhub.com/v1/"
    return SendHub(base, **{"username": "USER", "api_key": "K/E Y", "clock": SetClock(), **options})


@pytest.fixture
def service():
    return make()


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def entry(id_, sent="2024-10-28T20:00:00", unread=True, **more):
    record = {"id": id_, "contacts": [1111], "direction": "from", "sent": sent, "text": f"text {id_}", "unread": unread}
    return {**record, "type": "message-in", **more}


def outbound(id_, sent="2024-10-28T20:00:00"):
    return entry(id_, sent, None, direction="to", type="message-out")


def conversation(id_, sent="2024-10-28T20:00:00", unread=True, **more):
    return {"id": 9, "threadId": id_, "contacts": [2222], "sent": sent, "unread": unread, **more}


def listing(*objects, following=None):
    return answer({"meta": {"limit": 100, "next": following, "offset": 0, "previous": None}, "objects": list(objects)})


def neutral(service, *, to="1111", **given):
    return service.send(Draft(**{"to": as_recipients(to), "text": "Testing", "message_id": "m", **given}))


# -- the samples ----------------------------------------------------------------------------------------------------


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


# -- refusals -------------------------------------------------------------------------------------------------------


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


# -- credentials and requests ---------------------------------------------------------------------------------------


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


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response, kind, expected",
    [
        (answer("", 401), AuthenticationFailed, (None, None, None)),
        (
            answer({"message": f"Bad contact {NUMBER}", "code": 40, "error": "e"}, 400),
            ServiceError,
            ("40", "Bad contact <number>", None),
        ),
        (answer("<html>Invalid filter</html>", 400), ServiceError, (None, None, None)),
        (answer({"error": "No such message", "status": 404}, 404), NotFound, (None, "No such message", None)),
        (answer({"error": "Plan limit"}, 420), RateLimited, (None, "Plan limit", None)),
        (answer({"error": "Slow down", "timeLeft": "0:00:30"}, 429), RateLimited, (None, "Slow down", 30)),
        (answer({"timeLeft": "1 day, 2:03:04.5"}, 429), RateLimited, (None, None, 86400 + 7384 + 1)),
        (answer({"timeLeft": "soon"}, 429, Retry_After="7"), RateLimited, (None, None, 7)),
        (answer({"timeLeft": 30}, 429), RateLimited, (None, None, None)),
        (answer([], 500), ServiceUnavailable, (None, None, None)),
        (answer({"error": {"a": 1}, "code": []}, 503), ServiceUnavailable, (None, None, None)),
    ],
)
def test_errors(service, response, kind, expected):
    with pytest.raises(ServiceError) as caught:
        service.result(service.get_message("1"), response)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.message, caught.value.retry_after) == expected


@pytest.mark.parametrize("body", ["<html>", SENT[:100], "[]", "5", {}, {"id": []}, {"id": "1", "sent": "x"}])
def test_garbage_is_a_protocol_error(service, body):
    for call in (service.get_message("1"), service.mark_message_read("1"), service.send_message(contacts=1, text="x")):
        unreadable(service, call, answer(body))


@pytest.mark.parametrize(
    "body", ["<html>", "[]", {"objects": 5}, {"objects": [5]}, {"objects": [{}]}, {"objects": [], "meta": []}]
)
def test_garbled_lists_are_a_protocol_error(service, body):
    unreadable(service, service.inbox(), answer(body))
    unreadable(service, service.thread("1"), answer(body))


def test_what_was_written_does_not_appear_in_errors(service):
    text = unreadable(service, service.get_message("1"), answer({"id": 1, "text": ["secret"], "sent": NUMBER}))
    assert "secret" not in text
    assert "650" not in text


FIELDS = (
    "id", "id_str", "message_id", "id_is_thread_id", "contacts", "groups", "sent", "created_at", "scheduled_at", "text",
    "direction", "type", "unread", "threadId", "resource_uri", "objects", "meta", "next", "number", "timeLeft", "code",
    "error", "message", "attachments", "url", "filename", "size", "name",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(response=hostile_responses(*FIELDS))
def test_only_typed_errors_escape(response):
    service = make()
    for call in (
        service.send_message(contacts=[1], text="x"),
        service.get_message("1"),
        service.mark_message_read("1"),
        service.inbox(),
        service.thread("1"),
        service.scheduled_messages(),
        service.contacts(),
        service.groups(),
        next(
            service.attachment(
                Message(service="sendhub", id="1", raw={"threadId": 1}), Attachment(id="1", filename="x")
            )
        ),
    ):
        survives(service, call, response)
        service.observe(response)


# -- answers in newer forms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record, expected",
    [
        ({"id": 25}, "25"),
        ({"id": "25", "id_str": "26"}, "26"),
        ({"id": 25, "id_is_thread_id": True, "message_id": 31}, "31"),
        ({"id": 25, "id_is_thread_id": False, "message_id": 31}, "25"),
    ],
)
def test_which_id_is_the_messages(service, record, expected):
    assert service.result(service.get_message("1"), answer(record)).id == expected
    assert service.result(service.send_message(contacts=[1], text="x"), answer(record, 201)).id == expected


def test_a_threads_id_is_never_taken_for_the_messages(service):
    unreadable(service, service.get_message("1"), answer({"id": 25, "id_is_thread_id": True}))


def test_contacts_and_groups_as_objects(service):
    record = {"id": 1, "contacts": [{"id": 5, "id_str": "5"}, {"number": NUMBER}], "groups": [{"id": 7}]}
    assert service.result(service.get_message("1"), answer(record)).recipients == ("5", NUMBER, "7")


@pytest.mark.parametrize(
    "record, status",
    [
        ({"sent": None, "scheduled_at": None}, Status.QUEUED),
        ({}, Status.QUEUED),
        ({"sent": None, "scheduled_at": "2030-01-01T00:00:00"}, Status.SCHEDULED),
        ({"sent": "2030-01-01T00:00:01", "scheduled_at": "2030-01-01T00:00:00"}, Status.SENT),
    ],
)
def test_status(service, record, status):
    body = answer({"id": 1, "contacts": [1], "groups": None, "direction": "to", **record})
    assert run_flow(service.status("1"), [body], service).result is status


# -- receiving ------------------------------------------------------------------------------------------------------


def test_all_unread_messages_of_a_conversation_are_received(service):
    responses = [
        listing(conversation(1), conversation(2, unread=None, threadId=None, resource_uri="/v1/threads/2/")),
        listing(
            entry(5, "2024-10-28T20:00:02"),
            entry(4, "2024-10-28T20:00:01", unread=False),
            entry(3, "2024-10-28T20:00:00"),
            outbound(8),
            entry(9, type="voicecall-in"),
        ),
        listing(entry(6, "2024-10-28T20:00:01.5", contacts=None, type=None)),
    ]
    got, calls = run_flow(service.received(None, seen={}, limit=None), responses, service)
    assert [(m.id, m.sender) for m in got] == [("3", "1111"), ("6", "2222"), ("5", "1111")]
    assert got[1].received_at == utc("2024-10-28T20:00:01.5")
    assert [call.request.url for call in calls] == ["inbox/", "threads/1", "threads/2"]
    assert calls[0].request.params == (("limit", "100"), ("unread", "true"))
    assert all(call.request.method == "GET" for call in calls)


def test_a_conversation_is_read_though_its_last_message_is_seen(service):
    responses = [listing(conversation(1)), listing(entry(4), entry(5))]
    got = run_flow(service.received(None, seen={"5": None}, limit=None), responses, service).result
    assert [m.id for m in got] == ["4"]


def test_a_conversation_that_ended_before_the_window_is_not_read(service):
    responses = [
        listing(conversation(1, "2024-10-28T19:00:00"), conversation(2, unread=False), conversation(3)),
        listing(entry(4, "2024-10-28T19:59:59"), entry(5, "2024-10-28T20:00:00"), entry(6, "2024-10-28T20:00:01")),
    ]
    flow = service.received(utc("2024-10-28T20:00:00"), seen={}, limit=1)
    got, calls = run_flow(flow, responses, service)
    assert [m.id for m in got] == ["5"]
    assert [call.request.url for call in calls] == ["inbox/", "threads/3"]


def test_the_offset_counts_what_came_not_what_was_asked_for(service):
    first = [listing(conversation(1), conversation(2), following="/v1/inbox?offset=2"), listing(conversation(3))]
    threads = [listing(entry(1)), listing(entry(2)), listing(entry(3))]
    got, calls = run_flow(service.received(None, seen={}, limit=None), [*first, *first, *threads], service)
    assert [m.id for m in got] == ["1", "2", "3"]
    offsets = [dict(call.request.params).get("offset") for call in calls[:4]]
    assert offsets == [None, "2", None, "2"]


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_long_conversation_is_read_as_far_as_the_window(service, newest_first):
    def hour(h):
        return entry(h, f"2024-10-28T{h}:00:00")

    pages = [(hour(20), hour(19)), (hour(18), hour(17)), (hour(16), hour(15))]
    if not newest_first:
        pages = [tuple(reversed(page)) for page in reversed(pages)]
    more = [listing(*page, following=None if n == 2 else "more") for n, page in enumerate(pages)]
    needed = more[:2] if newest_first else more
    flow = service.received(utc("2024-10-28T17:30:00"), seen={}, limit=None)
    got, calls = run_flow(flow, [listing(conversation(1)), *needed], service)
    assert [m.id for m in got] == ["18", "19", "20"]
    assert len(calls) == 1 + len(needed)


def test_a_server_that_ignores_the_offset_is_noticed(service):
    same = listing(conversation(1), following="more")
    with pytest.raises(ProtocolError, match="same"):
        run_flow(service.received(None, seen={}, limit=None), lambda _: same, service)


def test_mark_read_puts_each(service):
    messages = [Message(service="sendhub", id="4"), Message(service="sendhub", id="5")]
    extra, calls = run_flow(service.mark_read(messages), [answer("", 204), answer(SENT)], service)
    assert extra == []
    assert [(call.request.method, call.request.url) for call in calls] == [
        ("PUT", "messages/4/"),
        ("PUT", "messages/5/"),
    ]


def test_what_it_does_not_know(service):
    with pytest.raises(UnsupportedFeature):
        next(service.wait_next("1"))
