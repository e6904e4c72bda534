"""Go Integrate Me: receiving, waiting for the next message, and attachments."""

from datetime import UTC, datetime

import pytest

from airflow_messaging.exceptions import NotFound, UnsupportedFeature

from .play import answer, run_flow
from .play_go_integrate import LINK, fetched, listing, make

service = pytest.fixture(make)


def test_received_lists_and_then_fetches_what_is_new(service):
    responses = [
        listing(("c", "2024-10-28 20:00:02"), ("a", "2024-10-28 19:00:00"), ("s", "2024-10-28 20:00:01"),
                ("b", "2024-10-28 20:00:00")),
        fetched("b"),
        fetched("c"),
    ]  # fmt: skip
    since = datetime(2024, 10, 28, 20, tzinfo=UTC)
    got, calls = run_flow(service.received(since, seen={"s": None}, limit=None), responses, service)
    assert [(m.id, m.received_at.second) for m in got] == [("b", 0), ("c", 2)]
    assert got[0].expires_at == datetime(2024, 10, 29, tzinfo=UTC)
    assert [call.request.url for call in calls] == ["list-messages", "get-message/b", "get-message/c"]


@pytest.mark.parametrize("gone", [answer("", 404), answer("", 204), answer("", 200)])
def test_a_message_that_expires_in_between_does_not_count_against_the_limit(service, gone):
    both = listing(("a", "2024-10-28 20:00:00"), ("b", "2024-10-28 20:00:01"), ("c", "2024-10-28 20:00:02"))
    flow = service.received(None, seen={}, limit=1)
    (got,), calls = run_flow(flow, [both, gone, fetched("b")], service)
    assert got.id == "b"
    assert len(calls) == 3


def test_message_and_wait(service):
    both = [fetched(), listing((LINK, "2024-10-28 20:00:00"))]
    dates = (datetime(2024, 10, 28, 20, tzinfo=UTC), datetime(2024, 10, 29, tzinfo=UTC))
    got = run_flow(service.message(LINK), both, service).result
    assert (got.id, got.text, got.received_at, got.expires_at) == (LINK, "hello", *dates)
    # One that has gone from the list in between is handed over all the same.
    gone = run_flow(service.message(LINK), [fetched(), listing()], service).result
    assert (gone.id, gone.received_at, gone.expires_at) == (LINK, service.now().replace(microsecond=0), None)
    with pytest.raises(NotFound):
        run_flow(service.message(LINK), [answer("", 404)], service)
    nothing, calls = run_flow(service.wait_next("x"), [answer("", 404)], service)
    assert nothing == []
    assert calls[0].request.hold > 60
    (waited,) = run_flow(service.wait_next("x"), both, service).result
    assert (waited.id, waited.received_at, waited.expires_at) == (LINK, *dates)


def test_an_attachment_is_the_messages_file(service):
    got = service.result(service.get_message(LINK), fetched())
    call = run_flow(service.attachment(got, got.attachments[0])).result
    assert (call.request.url, call.repeatable) == (f"get-message/{LINK}", True)


def test_what_it_does_not_know(service):
    for flow in (service.mark_read([]), service.status("1")):
        with pytest.raises(UnsupportedFeature):
            next(flow)
