"""SendHub's ``created_at`` may be in another zone than its other times, and decides nothing by itself."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_messaging.exceptions import UnsupportedFeature
from airflow_messaging.messages import Draft, Receipt, Status
from airflow_messaging.services.sendhub import SendHub

from .play import NOW, SetClock, answer, run_flow

SINCE = NOW - timedelta(minutes=1)
DRAFT = Draft(to=("1111",), text="The load is done", message_id="m")
LATER = "2024-11-01T08:00:00"
SCHEDULED = dataclasses.replace(DRAFT, options={"scheduled_at": f"{LATER}+0000"})


@pytest.fixture
def service() -> SendHub:
    return SendHub("https://api.sendhub.com/v1", username="USER", api_key="KEY", clock=SetClock())


def written(ago: timedelta) -> str:
    return (NOW - ago).replace(tzinfo=None).isoformat()


def listing(*objects: Any) -> Any:
    return answer({"meta": {"limit": 100, "next": None}, "objects": list(objects)})


def record(**changes: Any) -> dict[str, Any]:
    fields = {"id": 7, "contacts": [1111], "text": DRAFT.text, "direction": "to", "sent": None, "created_at": None}
    return {**fields, **changes}


def find(service: SendHub, *records: dict[str, Any], draft: Draft = DRAFT) -> Receipt | None:
    thread = {"threadId": 9, "contacts": [1111], "sent": written(timedelta(0)), "unread": False}
    waiting = [listing()] if draft is SCHEDULED else []
    flow = service.find_sent(draft, since=SINCE)
    found: Receipt | None = run_flow(flow, [listing(), *waiting, listing(thread), listing(*records)], service).result
    return found


BEHIND = timedelta(hours=5)


@pytest.mark.parametrize(
    ("sent", "created", "is_there"),
    [
        (timedelta(seconds=30), BEHIND + timedelta(seconds=30), True),
        (None, BEHIND + timedelta(seconds=30), True),
        (None, timedelta(seconds=30), True),
        (None, None, True),
        (timedelta(minutes=6), BEHIND + timedelta(minutes=6), False),
        (None, BEHIND + timedelta(minutes=6), False),
        (timedelta(hours=24), timedelta(hours=29), False),
    ],
)
def test_the_later_time_counts(
    service: SendHub, sent: timedelta | None, created: timedelta | None, is_there: bool
) -> None:
    times = {"sent": sent and written(sent), "created_at": created and written(created)}
    found = find(service, record(**times))
    assert (found is not None) is is_there
    if found is not None:
        assert found.sent_at is not None
        assert SINCE <= found.sent_at <= NOW


def test_what_was_sent_as_long_ago_as_zones_differ_is_in_doubt(service: SendHub) -> None:
    older = record(sent=written(timedelta(hours=1)), created_at=written(timedelta(hours=6)))
    with pytest.raises(UnsupportedFeature, match="'timezone'"):
        find(service, older)
    found = find(service, older, record(id=8, sent=written(timedelta(seconds=20))))
    assert found is not None
    assert found.id == "8"


@pytest.mark.parametrize("sent", [None, LATER])
def test_a_scheduled_message_is_known_by_its_second(service: SendHub, sent: str | None) -> None:
    made = written(BEHIND + timedelta(seconds=30))
    found = find(service, record(scheduled_at=LATER, sent=sent, created_at=made), draft=SCHEDULED)
    assert found is not None
    assert find(service, record(scheduled_at="2024-11-01T09:00:00", created_at=made), draft=SCHEDULED) is None


@pytest.mark.parametrize("moved", [timedelta(seconds=30), BEHIND, timedelta(hours=14)])
def test_conversations_that_may_have_moved_are_read(service: SendHub, moved: timedelta) -> None:
    threads = [
        {"threadId": 9, "contacts": [1111], "sent": written(moved)},
        {"threadId": 8, "sent": written(BEHIND * 4)},
    ]
    calls = run_flow(service.find_sent(DRAFT, since=SINCE), [listing(), listing(*threads), listing()], service).calls
    assert [call.request.url for call in calls] == ["contacts/", "inbox/", "threads/9"]


@pytest.mark.parametrize(
    ("times", "sent_at"),
    [
        ({"sent": "2024-10-28T20:18:02.5"}, datetime(2024, 10, 28, 20, 18, 2, 500_000, tzinfo=UTC)),
        ({}, NOW - timedelta(seconds=0.5)),
        ({"created_at": written(timedelta(seconds=0.5))}, NOW - timedelta(seconds=0.5)),
        ({"scheduled_at": LATER}, NOW - timedelta(seconds=0.5)),
        ({"scheduled_at": "2011-02-17T22:30:00", "sent": "2011-02-17T22:30:00"}, NOW - timedelta(seconds=0.5)),
        ({"created_at": None}, NOW - timedelta(seconds=1)),
        ({"created_at": written(timedelta(minutes=4))}, NOW - timedelta(seconds=1)),
    ],
)
def test_no_receipt_lies_hours_before_the_send(service: SendHub, times: dict[str, str], sent_at: datetime) -> None:
    call = service.send_message(contacts=[1111], text=DRAFT.text or "")
    receipt = service.result(
        call, answer(record(**{"created_at": written(BEHIND + timedelta(seconds=0.5)), **times}), 201)
    )
    assert receipt.sent_at == sent_at


def test_a_received_message_is_not_dated_by_it(service: SendHub) -> None:
    inbound = record(direction="from", unread=True, created_at=written(BEHIND))
    call = service.get_message("7")
    assert service.result(call, answer(inbound)).received_at is None
    dated = service.result(call, answer({**inbound, "sent": written(timedelta(0))}))
    assert dated.received_at == NOW
    assert service.result(call, answer(record(sent=written(timedelta(0))))).sent_at == NOW
    assert run_flow(service.status("7"), [answer(record())], service).result == Status.QUEUED
