"""The open connection of Go Integrate Me: it brings messages at once, also to whoever joins while it is held."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from airflow_messaging.sandbox import RunningSandbox, running
from airflow_messaging.services.receiving import Cursor

from .waits import SOON_S, inbound, joined, next_of, once


@pytest.fixture
def patient_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    with running(hold_s=30, echo=False) as sandbox:
        for conn_id, connection in sandbox.connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        yield sandbox


def a_second_ahead() -> Cursor:
    return Cursor(floor=(datetime.now(UTC) + timedelta(seconds=1)).replace(microsecond=0))


async def until_held(sandbox: RunningSandbox) -> None:
    async with asyncio.timeout(SOON_S):
        while True:
            last = (await asyncio.to_thread(sandbox.journal, "go_integrate"))[-1:]
            if last and "wait-next-message" in last[0]["path"] and last[0]["status"] is None:
                return
            await asyncio.sleep(0.02)


async def test_the_open_connection_brings_messages_at_once_one_after_the_other(
    patient_sandbox: RunningSandbox,
) -> None:
    await inbound(patient_sandbox, "go_integrate", "before")
    with joined("go_integrate", a_second_ahead(), interval=30) as waiter:
        task = asyncio.create_task(next_of(waiter))
        await asyncio.sleep(1.1)
        for number in range(3):
            await until_held(patient_sandbox)
            began = time.monotonic()
            arrived = await inbound(patient_sandbox, "go_integrate", str(number))
            assert await task == [arrived]
            assert time.monotonic() - began < 1
            task = asyncio.create_task(next_of(waiter))
        task.cancel()
        await asyncio.wait([task])


async def test_who_joins_during_a_held_poll_is_answered_at_once(patient_sandbox: RunningSandbox) -> None:
    old = await inbound(patient_sandbox, "go_integrate", "old")
    await asyncio.sleep(1.1)
    floor = Cursor(floor=datetime.now(UTC).replace(microsecond=0))
    with joined("go_integrate", floor, interval=30) as waiter:
        task = asyncio.create_task(next_of(waiter, 20))
        await until_held(patient_sandbox)
        began = time.monotonic()
        assert await once("go_integrate", Cursor(), interval=30) == [old]
        assert time.monotonic() - began < 1
        await until_held(patient_sandbox)
        new = await inbound(patient_sandbox, "go_integrate", "new")
        assert await task == [new]


async def test_leaving_during_a_held_poll_closes_the_connection(patient_sandbox: RunningSandbox) -> None:
    await inbound(patient_sandbox, "go_integrate", "old")
    with joined("go_integrate", a_second_ahead()) as waiter:
        task = asyncio.create_task(waiter.next())
        await until_held(patient_sandbox)
        task.cancel()
        await asyncio.wait([task])
    # The fixture sees to it that nothing is left.
