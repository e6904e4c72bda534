"""SendHub: the address book, names in it, scheduled messages and their deletion."""

import json

import pytest

from airflow_messaging.exceptions import InvalidInput, NotFound
from airflow_messaging.messages import Draft
from airflow_messaging.services.sendhub_wire import Contact

from .play import answer, body_of, refused, run_flow, sample, unreadable
from .play_sendhub import NUMBER, SENT, listing, make
from .play_sendhub_threads import BOOK, play

service = pytest.fixture(make)

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
