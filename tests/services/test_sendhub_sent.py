"""SendHub: finding what was sent."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_messaging.exceptions import UnsupportedFeature
from airflow_messaging.messages import Draft, Receipt, Status

from .play import run_flow
from .play_sendhub import NUMBER, listing, make
from .play_sendhub_threads import BOOK, FILE, OTHER, URL, conversation, inbound, play

service = pytest.fixture(make)

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
