"""SendHub: what its errors and its newer answers mean."""

import pytest
from hypothesis import given, settings

from airflow_messaging.exceptions import AuthenticationFailed, NotFound, RateLimited, ServiceError, ServiceUnavailable
from airflow_messaging.messages import Attachment, Message, Status

from .play import answer, hostile_responses, run_flow, survives, unreadable
from .play_sendhub import NUMBER, SENT, make

service = pytest.fixture(make)

# -- errors -----------------------------------------------------------------------------------------------------------


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


# -- answers in newer forms -------------------------------------------------------------------------------------------


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
