"""SendHub's scheduled list, deletion, MMS both ways, the address book, and finding what was sent."""

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_messaging.exceptions import InvalidInput, NotFound, UnsupportedFeature
from airflow_messaging.messages import Attachment, Draft, Message, Receipt, Status, upload_from_bytes
from airflow_messaging.services.sendhub import SendHub
from airflow_messaging.services.sendhub_wire import LARGEST_MMS, Contact

from .play import SetClock, answer, body_of, refused, run_flow, sample, unreadable

NUMBER, OTHER = "+16505551234", "+16505551235"
SENT = sample("sendhub/send-message.json")
FILE = upload_from_bytes("plan żółty.png", b"\x89PNG", content_type="image/png")
URL = "https://cdn.example.com/secret-token/a%20b.png?x=1"
BOOK = ({"id": 1111, "name": "Alice", "number": NUMBER}, {"id": 1112, "name": "Bob", "number": OTHER})


@pytest.fixture
def service():
    return SendHub("https://api.sendhub.com/v1", username="USER", api_key="KEY", clock=SetClock())


def listing(*objects, following=None):
    return answer({"meta": {"limit": 100, "next": following}, "objects": list(objects)})


def play(service, flow, *responses):
    return run_flow(flow, responses, service).result


# -- scheduled messages -----------------------------------------------------------------------------------------------


def test_the_scheduled_list(service):
    record = json.loads(sample("sendhub/schedule.json"))
    [got], calls = run_flow(service.scheduled_messages_all(), [listing(record)], service)
    assert (got.id, got.text, got.recipients, got.sent_at) == ("30", "Testing Scheduling", ("21399",), None)
    assert (calls[0].request.method, calls[0].request.url) == ("GET", "messages/scheduled")
    assert calls[0].repeatable


def test_deleting(service):
    call = service.delete_message("30")
    assert (call.request.method, call.request.url, call.repeatable) == ("DELETE", "messages/30/", False)
    assert service.result(call, answer({"message": "Record successfully deleted"})) is None
    assert service.result(call, answer("", 204)) is None
    with pytest.raises(NotFound):
        service.result(call, answer({"error": "Message not found", "status": 404}, 404))
    refused("message_id", lambda: service.delete_message(".."))


# -- MMS out ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mms", [{"filename": "a.png", "url": "https://example.com/a.png"}, {"filename": "a.png", "data": "iVBORw=="}]
)
def test_a_file_goes_along_in_the_vendors_words(service, mms):
    assert body_of(service.send_message(contacts=[1111], text="See", mms=mms)) == {
        "contacts": [1111],
        "text": "See",
        "mms": mms,
    }
    assert body_of(service.send_message(contacts=[1111], mms=mms)) == {"contacts": [1111], "text": "", "mms": mms}
    options = {"mms": mms}
    draft = Draft(to=("1111",), text="See", message_id="m", options=options)
    assert body_of(next(service.send(draft)))["mms"] == mms


@pytest.mark.parametrize(
    "mms",
    [
        {},
        {"filename": "secret.png"},
        {"url": "https://example.com/secret"},
        {"filename": "a", "url": "https://e.com/secret", "data": "AAAA"},
        {"filename": "a", "url": "file:///secret"},
        {"filename": "a", "data": "*secret*"},
        {"filename": "a", "data": ""},
        {"filename": 5, "data": "AAAA"},
        {"filename": "a", "url": "https://e.com/a", "more": "secret"},
        "secret.png",
        ["secret"],
    ],
)
def test_a_file_in_other_words_is_refused(service, mms):
    refused("mms", lambda: service.send_message(contacts=[1], text="x", mms=mms), "secret")


def test_the_largest_file(service):
    data = base64.b64encode(bytes(LARGEST_MMS + 1)).decode()
    error = refused("mms", lambda: service.send_message(contacts=[1], mms={"filename": "a", "data": data}))
    assert f"{LARGEST_MMS + 1} bytes" in str(error)
    large = upload_from_bytes("a", bytes(LARGEST_MMS + 1))
    refused("attachments", lambda: next(neutral(service, large)))
    assert next(neutral(service, upload_from_bytes("a", bytes(LARGEST_MMS))))


def neutral(service, *files, **changed):
    return service.send(Draft(**{"to": ("1111",), "text": "x", "attachments": files, "message_id": "m", **changed}))


def test_the_neutral_attachment_becomes_the_file(service):
    body = body_of(next(neutral(service, FILE, text=None)))
    assert body == {"contacts": [1111], "text": "", "mms": {"filename": FILE.filename, "data": "iVBORw=="}}
    with pytest.raises(UnsupportedFeature, match="2 files"):
        next(neutral(service, FILE, FILE))


def test_a_file_that_cannot_be_sent_is_refused(service):
    def gone():
        raise FileNotFoundError("/home/secret")

    for file in (
        upload_from_bytes("a", b""),
        dataclasses.replace(FILE, size=3),
        dataclasses.replace(FILE, size=5),
        dataclasses.replace(FILE, open=gone),
    ):
        refused("attachments", lambda file=file: next(neutral(service, file)), "secret")


# -- MMS in -----------------------------------------------------------------------------------------------------------


def inbound(id_="5", **more):
    record = {"id": id_, "contacts": [1111], "direction": "from", "sent": "2024-10-28T20:00:00", "text": "see"}
    return {**record, "type": "message-in", "unread": True, **more}


def conversation(id_=9, contact=1111, sent="2024-10-28T20:00:00", **more):
    return {"threadId": id_, "contacts": [contact], "sent": sent, "created_at": sent, "unread": True, **more}


def receive(service, record):
    flow = service.received(None, seen={}, limit=None)
    [got] = play(service, flow, listing(conversation()), listing(record))
    return got


@pytest.mark.parametrize(
    "entry, expected",
    [
        (
            {"id": 7, "filename": "a.png", "content_type": "image/png", "size": 4, "url": URL},
            Attachment(id="7", filename="a.png", content_type="image/png", size=4),
        ),
        ({"url": URL}, Attachment(id="1", filename="a b.png")),
        (URL, Attachment(id="1", filename="a b.png")),
        ({"name": "b", "link": URL, "size": "4"}, Attachment(id="1", filename="b")),
        ({}, Attachment(id="1", filename="1")),
        (None, Attachment(id="1", filename="1")),
        (5, Attachment(id="1", filename="1")),
        ({"url": "http://[", "id": [1], "size": -1}, Attachment(id="[1]", filename="[")),
    ],
)
def test_files_of_a_received_message_whatever_their_form(service, entry, expected):
    got = receive(service, inbound(attachments=[entry]))
    assert got.attachments == (expected,)
    plain = json.dumps(got.to_dict())
    assert "secret-token" not in plain, "whoever has the address has the file"
    assert Message.from_dict(json.loads(plain)) == got
    assert got.raw["threadId"] == "9"


def test_downloading_asks_the_conversation_for_the_address(service):
    record = inbound(attachments=[{"id": 7, "url": URL}])
    got = receive(service, record)
    call, calls = run_flow(service.attachment(got, got.attachments[0]), [listing(inbound("4"), record)], service)
    assert [made.request.url for made in calls] == ["threads/9"]
    assert (call.request.method, call.request.url, call.repeatable) == ("GET", URL, True)
    assert not service.is_own(call.request.url)


def test_without_the_conversations_id_those_with_the_sender_are_looked_through(service):
    record = inbound(attachments=[{"id": 7, "url": URL}])
    lone = Message(service="sendhub", id="5", sender="1111")
    conversations = listing(conversation(8, 2222), conversation(9))
    flow = service.attachment(lone, Attachment(id="7", filename="x"))
    call, calls = run_flow(flow, [conversations, listing(record)], service)
    assert call.request.url == URL
    assert [made.request.url for made in calls] == ["inbox/", "threads/9"]


@pytest.mark.parametrize(
    "record", [inbound("4"), inbound(), inbound(attachments=[{"id": 8, "url": URL}]), inbound(attachments=[{"id": 7}])]
)
def test_a_file_that_is_not_there(service, record):
    lone = Message(service="sendhub", id="5", sender="1111", raw={"threadId": 9})
    with pytest.raises(NotFound):
        play(service, service.attachment(lone, Attachment(id="7", filename="x")), listing(record))


def test_a_message_by_its_id_gets_its_files_from_its_conversation(service):
    record = {"id": "5", "contacts": [1111], "direction": "from", "sent": "2024-10-28T20:00:00", "text": "see"}
    found = play(
        service,
        service.message("5"),
        answer(record),
        listing(conversation(8, 2222), conversation(9)),
        listing(inbound(attachments=[{"id": 7, "url": URL}])),
    )
    assert [file.id for file in found.attachments] == ["7"]
    assert found.raw["threadId"] == "9"
    # Where the message names its files itself, or went out, nobody else is asked.
    assert play(service, service.message("5"), answer({**record, "attachments": []})).attachments == ()
    assert play(service, service.message("25"), answer(SENT)).id == "25"


# -- the address book -------------------------------------------------------------------------------------------------


def test_contacts_and_groups(service):
    page = service.result(service.contacts(limit=2, offset=4), listing(*BOOK, following="more"))
    assert page.items[0] == Contact(id="1111", name="Alice", number=NUMBER)
    assert page.more
    assert service.contacts(limit=2, offset=4).request.params == (("limit", "2"), ("offset", "4"))
    assert "555" not in repr(page.items)
    assert "Alice" not in repr(page.items)
    [group] = service.result(service.groups(), listing({"id_str": "1000", "id": 5, "name": "All"})).items
    assert (group.id, group.name) == ("1000", "All")
    unreadable(service, service.contacts(), listing({"name": "Alice"}))


def test_adding_to_the_book(service):
    call = service.create_contact(name="Jo", number=NUMBER)
    assert (call.request.method, call.request.url, call.repeatable) == ("POST", "contacts/", False)
    assert body_of(call) == {"name": "Jo", "number": NUMBER}
    assert service.result(call, answer({"id": 7, "name": "Jo", "number": NUMBER}, 201)).id == "7"
    group = service.create_group(name="All", contacts=["7", 8])
    assert body_of(group) == {"name": "All", "contacts": [7, 8]}
    assert service.result(group, answer({"id": 9, "name": "All"}, 201)).id == "9"
    refused("name", lambda: service.create_contact(name=" ", number=NUMBER))
    refused("number", lambda: service.create_contact(name="Jo", number=None))
    refused("name", lambda: service.create_group(name=""))
    refused("contacts", lambda: service.create_group(name="All", contacts=[NUMBER]), "555")


def test_names_are_looked_up_on_all_pages(service):
    pages = [listing(BOOK[0], following="more"), listing(BOOK[1])]
    assert play(service, service.contact_ids([" Bob", "Alice"]), *pages, *pages) == ["1112", "1111"]
    assert play(service, service.contact_ids("Alice"), listing(*BOOK)) == ["1111"]
    assert play(service, service.group_ids(["All"]), listing({"id": 1, "name": "All"})) == ["1"]
    assert play(service, service.contact_ids([])) == []


@pytest.mark.parametrize("name, has", [("Carol", "0 have"), ("alice", "0 have"), ("Eve", "2 have")])
def test_unknown_and_ambiguous_names_are_refused(service, name, has):
    book = listing(*BOOK, {"id": 3, "name": "Eve"}, {"id": 4, "name": "Eve"})
    with pytest.raises(InvalidInput, match=has) as caught:
        play(service, service.contact_ids(["Alice", name]), book)
    assert caught.value.field == "contact_names"


@pytest.mark.parametrize("names", ["", [""], [5], ["Alice", None]])
def test_what_is_no_name_is_refused_before_anything_is_asked(service, names):
    refused("group_names", lambda: next(service.group_ids(names)))


def test_names_in_a_send_are_looked_up_first(service):
    options = {"contact_names": ["Bob"], "group_names": "All", "groups": [2]}
    draft = Draft(to=("1111",), text="x", message_id="m", options=options)
    responses = [listing(*BOOK), listing({"id": 1, "name": "All"}), answer(SENT, 201)]
    calls = run_flow(service.send(draft), responses, service).calls
    assert body_of(calls[-1]) == {"contacts": [1111, 1112], "groups": [2, 1], "text": "x"}
    with pytest.raises(InvalidInput):
        play(service, service.send(draft), listing(BOOK[0]))


# -- finding what was sent --------------------------------------------------------------------------------------------

SINCE = datetime(2024, 10, 28, 20, 0, 0, tzinfo=UTC)
DRAFT = Draft(to=("1111",), text="The load is done", message_id="m")
AT = "2024-10-28T20:00:01"


def outbound(id_="7", contacts=(1111,), created_at=AT, **more):
    record = {"id": id_, "contacts": list(contacts), "created_at": created_at, "sent": None, "text": DRAFT.text}
    return {**record, "direction": "to", "type": "message-out", **more}


def find(service, *messages, draft=DRAFT, thread=None):
    responses = [listing(*BOOK), listing(thread or conversation(9, sent=AT)), listing(*messages)]
    return play(service, service.find_sent(draft, since=SINCE), *responses)


def test_it_is_found_by_contact_text_and_time(service):
    responses = [listing(*BOOK), listing(conversation(9, sent=AT)), listing(inbound(), outbound())]
    found, calls = run_flow(service.find_sent(DRAFT, since=SINCE), responses, service)
    assert (found.id, found.status) == ("7", Status.QUEUED)
    assert found.sent_at == SINCE + timedelta(seconds=1)
    assert Receipt.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert [call.request.url for call in calls] == ["contacts/", "inbox/", "threads/9"]
    assert all(call.request.method == "GET" for call in calls)


@pytest.mark.parametrize(
    "record",
    [
        outbound(text="The load is done."),
        outbound(text=None),
        outbound(contacts=[1112]),
        outbound(contacts=[1111, 1112]),
        outbound(created_at="2024-10-28T19:59:59"),
        outbound(created_at=None, sent="2024-10-28T19:59:59"),
        outbound(direction="from", type="message-in"),
        outbound(type="voicecall-out"),
        outbound(attachments=[{"filename": "a.png"}]),
        outbound(groups=[1000]),
        outbound(scheduled_at="2024-10-29T00:00:00"),
    ],
    ids=[
        "text",
        "no text",
        "contact",
        "more contacts",
        "older",
        "sent before",
        "inbound",
        "call",
        "file",
        "group",
        "later",
    ],
)
def test_what_is_not_this_message(service, record):
    assert find(service, record) is None


@pytest.mark.parametrize("to", [NUMBER, "1111", 1111])
@pytest.mark.parametrize(
    "contact", [1111, NUMBER, {"id": 1111, "number": NUMBER}, {"number": NUMBER}, {"id_str": "1111"}]
)
def test_contacts_and_numbers_are_the_same_people(service, to, contact):
    draft = dataclasses.replace(DRAFT, to=(to,))
    assert find(service, outbound(contacts=[contact]), draft=draft).id == "7"


def test_where_the_message_does_not_say_the_conversation_does(service):
    thread = conversation(9, sent=AT, groups=[{"id": 1000}])
    draft = dataclasses.replace(DRAFT, options={"groups": ["1000"]})
    assert find(service, outbound(contacts=[]), draft=draft, thread=thread).id == "7"


def test_the_oldest_of_two_is_taken(service):
    assert find(service, outbound("8", created_at="2024-10-28T20:00:05"), outbound("7")).id == "7"


def test_only_conversations_that_moved_are_read(service):
    threads = [
        conversation(1, sent="2024-10-28T05:59:59"),
        conversation(2, sent=None),
        {**conversation(3, sent="2024-10-28T19:59:59"), "created_at": AT},
    ]
    responses = [listing(*BOOK), listing(*threads), listing(), listing()]
    found, calls = run_flow(service.find_sent(DRAFT, since=SINCE), responses, service)
    assert found is None
    assert [call.request.url for call in calls[2:]] == ["threads/2", "threads/3"]


def test_a_scheduled_one_is_looked_for_among_what_waits(service):
    draft = dataclasses.replace(DRAFT, options={"scheduled_at": "2024-10-29T00:00:00-0800"})
    waiting = [
        outbound("6", scheduled_at="2024-10-29T09:00:00"),
        outbound("7", scheduled_at="2024-10-29T08:00:00", type=None),
    ]
    found = play(service, service.find_sent(draft, since=SINCE), listing(*BOOK), listing(*waiting), listing())
    assert (found.id, found.status) == ("7", Status.SCHEDULED)
    assert found.scheduled_at == datetime(2024, 10, 29, 8, tzinfo=UTC)


def test_a_file_counts_too(service):
    draft = dataclasses.replace(DRAFT, attachments=(FILE,))
    assert find(service, outbound(attachments=[{"filename": FILE.filename, "url": URL}]), draft=draft).id == "7"
    for files in ([], [{"filename": "other.png"}], [{"filename": FILE.filename}] * 2):
        assert find(service, outbound(attachments=files), draft=draft) is None


@pytest.mark.parametrize(
    "draft, record",
    [
        ({"to": ("1111", "1112")}, outbound(contacts=[1111])),
        ({"to": (), "options": {"groups": [1000]}}, outbound(contacts=[1112])),
        ({}, outbound(contacts=[])),
    ],
    ids=["one of two", "a group's member", "nobody named"],
)
def test_what_may_be_a_part_of_it_is_neither_it_nor_nothing(service, draft, record):
    thread = conversation(9, sent=AT, contacts=[])
    with pytest.raises(UnsupportedFeature, match="may have gone to some") as caught:
        find(service, record, draft=dataclasses.replace(DRAFT, **draft), thread=thread)
    assert DRAFT.text not in str(caught.value)


def test_several_recipients_of_one_message(service):
    draft = dataclasses.replace(DRAFT, to=("1111", OTHER))
    assert find(service, outbound(contacts=[1112, 1111]), draft=draft).id == "7"
    assert find(service, outbound(contacts=[2222]), draft=draft) is None


def test_names_are_looked_up(service):
    draft = dataclasses.replace(DRAFT, to=(), options={"contact_names": ["Alice"]})
    responses = [listing(*BOOK), listing(*BOOK), listing(conversation(9, sent=AT)), listing(outbound())]
    assert play(service, service.find_sent(draft, since=SINCE), *responses).id == "7"
