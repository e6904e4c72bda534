"""SendHub: files that go out and come in by MMS."""

import base64
import dataclasses
import json

import pytest

from airflow_messaging.exceptions import NotFound, UnsupportedFeature
from airflow_messaging.messages import Attachment, Draft, Message, upload_from_bytes
from airflow_messaging.services.sendhub_wire import LARGEST_MMS

from .play import answer, body_of, refused, run_flow
from .play_sendhub import SENT, listing, make
from .play_sendhub_threads import FILE, URL, conversation, inbound, play

service = pytest.fixture(make)

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
