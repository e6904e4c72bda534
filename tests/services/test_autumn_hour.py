"""The hour that autumn repeats, with services that write local times without an offset."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.messages import Message
from airflow_messaging.services.base import Call, Service
from airflow_messaging.services.go_integrate import GoIntegrate
from airflow_messaging.services.http import Response
from airflow_messaging.services.liquidfiles import LiquidFiles
from airflow_messaging.services.parsing import parse_time
from airflow_messaging.services.receiving import Cursor, poll
from airflow_messaging.services.view import InboxView

from .play import SetClock, answer, run_flow

WARSAW = ZoneInfo("Europe/Warsaw")
CLOCKS_GO_BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)
BEGIN = CLOCKS_GO_BACK - timedelta(minutes=50)


def service_of(kind: str, clock: SetClock) -> Service:
    if kind == "liquidfiles":
        return LiquidFiles("https://example.com", api_key="k" * 20, clock=clock, zone=WARSAW)
    return GoIntegrate("https://example.com", route="a@b", key_secret="k" * 20, clock=clock, zone=WARSAW)


class Inbox:
    """An inbox as the service shows it: every message with the local time at which it came."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.written: dict[str, str] = {}

    def arrive(self, when: datetime) -> str:
        id_ = f"m{len(self.written):02}"
        self.written[id_] = when.astimezone(WARSAW).strftime("%Y-%m-%d %H:%M:%S")
        return id_

    def answer(self, call: Call[Any]) -> Response:
        if call.endpoint == "get-message":
            link = call.request.url.rsplit("/", 1)[1]
            return answer(b"text", Message_Link=link, Message_File_Name="a.txt")
        if self.kind == "liquidfiles":
            return answer({"messages": [{"id": id_, "created_at": when} for id_, when in self.written.items()]})
        return answer([{"link": id_, "received_date": when} for id_, when in self.written.items()])


@pytest.mark.parametrize("kind", ["liquidfiles", "go_integrate"])
def test_every_message_of_both_hours_comes_once(kind: str) -> None:
    clock = SetClock(BEGIN)
    service, inbox = service_of(kind, clock), Inbox(kind)
    cursor, sent, got = Cursor(), [], []
    for _ in range(25):
        sent.append(inbox.arrive(clock.now))
        clock.now += timedelta(seconds=5)
        batch = run_flow(poll(service, cursor), inbox.answer, service).result
        got += [message.id for message in batch.messages]
        cursor = Cursor.from_dict(json.loads(json.dumps(batch.cursor.to_dict())))
        clock.now += timedelta(minutes=7)
    assert got == sent


@pytest.mark.parametrize("kind", ["liquidfiles", "go_integrate"])
def test_every_message_of_both_hours_comes_into_sight_for_those_who_share_a_reader(kind: str) -> None:
    clock = SetClock(BEGIN)
    service, inbox = service_of(kind, clock), Inbox(kind)
    view, cursor, sent, got = InboxView(has_read_flag=False), Cursor(), [], []
    for number in range(25):
        sent.append(inbox.arrive(clock.now))
        clock.now += timedelta(seconds=5)
        question = view.question(service, [] if number else [cursor])
        fresh: list[Message] = view.update(service, run_flow(question, inbox.answer, service).result)
        start = cursor.window_start
        new = [m for m in fresh if m.id not in cursor.seen and (start is None or not m.received_at < start)]
        cursor = cursor.past(new, service)
        got += [message.id for message in new]
        clock.now += timedelta(minutes=7)
    assert got == sent


def test_a_time_with_an_offset_means_what_it_says() -> None:
    now = CLOCKS_GO_BACK + timedelta(minutes=50)
    first, second = "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"
    assert parse_time(first, WARSAW, now) == CLOCKS_GO_BACK - timedelta(minutes=30)
    assert parse_time(second, WARSAW, now) == CLOCKS_GO_BACK + timedelta(minutes=30)


def test_a_time_without_an_offset_means_the_latest_that_has_come() -> None:
    written, half_past = "2026-10-25 02:30:00", CLOCKS_GO_BACK + timedelta(minutes=30)
    assert parse_time(written, WARSAW) == half_past - timedelta(hours=1)
    assert parse_time(written, WARSAW, half_past - timedelta(seconds=1)) == half_past - timedelta(hours=1)
    assert parse_time(written, WARSAW, half_past) == half_past
