"""A service's clock, or the connection's time zone, is wrong for a while: nothing is hidden once it is put right."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor, acknowledged

from .waits import inbound, joined, next_of, nothing_for, once

WITHOUT_FLAG = ("mdi", "liquidfiles", "go_integrate")
TYPES = (*WITHOUT_FLAG, "serwersms", "sendhub")
HOURS_S = 7200


def polled(conn_type: str, cursor: Cursor) -> tuple[list[str], Cursor]:
    with hook_for(f"{conn_type}_default") as hook:
        batch = hook.poll(cursor)
    return [message.id for message in batch.messages], Cursor.from_dict(json.loads(json.dumps(batch.cursor.to_dict())))


@pytest.mark.parametrize("conn_type", TYPES)
@pytest.mark.parametrize("wrong_s", [HOURS_S, -HOURS_S])
def test_a_poll(conn_type: str, wrong_s: int, sandbox: RunningSandbox, connections: Any) -> None:
    first = sandbox.inbound(conn_type, text="first")
    got, cursor = polled(conn_type, Cursor())
    assert got == [first]
    sandbox.clock(wrong_s)
    second = sandbox.inbound(conn_type, text="second")
    got, cursor = polled(conn_type, cursor)
    assert set(got) == {second}
    sandbox.clock(0)
    third = sandbox.inbound(conn_type, text="third")
    got, cursor = polled(conn_type, cursor)
    assert got == [third]
    assert polled(conn_type, cursor)[0] == []


@pytest.mark.parametrize("conn_type", TYPES)
@pytest.mark.parametrize("wrong_s", [HOURS_S, -HOURS_S])
async def test_a_shared_wait(conn_type: str, wrong_s: int, sandbox: RunningSandbox, connections: Any) -> None:
    with joined(conn_type) as waiter:
        first = await inbound(sandbox, conn_type, "first")
        assert await next_of(waiter) == [first]
        await asyncio.to_thread(sandbox.clock, wrong_s)
        second = await inbound(sandbox, conn_type, "second")
        assert await next_of(waiter) == [second]
        await asyncio.to_thread(sandbox.clock, 0)
        third = await inbound(sandbox, conn_type, "third")
        assert await next_of(waiter) == [third]
        await nothing_for(waiter)


@pytest.mark.parametrize("conn_type", WITHOUT_FLAG)
def test_what_was_acknowledged(conn_type: str, sandbox: RunningSandbox, connections: Any) -> None:
    sandbox.clock(HOURS_S)
    sandbox.inbound(conn_type, text="first")
    with hook_for(f"{conn_type}_default") as hook:
        cursor = hook.run(acknowledged(hook.service, Cursor(), hook.poll().messages))
    assert cursor.since is not None and cursor.since <= datetime.now(UTC)
    sandbox.clock(0)
    second = sandbox.inbound(conn_type, text="second")
    assert polled(conn_type, cursor)[0] == [second]


@pytest.mark.parametrize("conn_type", WITHOUT_FLAG)
async def test_a_place_in_the_future_that_was_stored_before(
    conn_type: str, sandbox: RunningSandbox, connections: Any
) -> None:
    future = datetime.now(UTC) + timedelta(hours=2)
    cursor = Cursor.from_dict({"floor": None, "since": future.isoformat(), "seen": {"an id": future.isoformat()}})
    new = await inbound(sandbox, conn_type)
    assert (await asyncio.to_thread(polled, conn_type, cursor))[0] == [new]
    assert await once(conn_type, cursor) == [new]


@pytest.mark.parametrize("conn_type", ["liquidfiles", "go_integrate"])
def test_the_zone_of_the_connection(
    conn_type: str, sandbox: RunningSandbox, connections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zone(name: str) -> None:
        connection = {**connections[f"{conn_type}_default"]}
        extra = connection.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        changed = json.dumps({**connection, "extra": {**extra, "timezone": name}})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", changed)

    zone("America/New_York")
    first = sandbox.inbound(conn_type, text="first")
    got, cursor = polled(conn_type, Cursor())
    assert got == [first]
    zone("UTC")
    second = sandbox.inbound(conn_type, text="second")
    assert polled(conn_type, cursor)[0] == [second]
