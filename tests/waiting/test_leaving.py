"""The last one to leave closes everything, and whoever needs the client alone reads no inbox."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.hooks import registry
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor
from airflow_messaging.triggers import shared
from airflow_messaging.triggers.waiter import Waiter

from .waits import TYPES, a_minute_ago, inbound, joined, next_of, nothing_for, once, requests


@contextlib.contextmanager
def client_of(conn_type: str) -> Iterator[Waiter]:
    client = shared.join_without_reading(f"{conn_type}_default")
    try:
        yield client
    finally:
        client.leave()


@pytest.mark.parametrize("after", [0.0, 0.001, 0.05, 0.3])
async def test_the_last_one_to_leave_closes_everything(
    after: float, sandbox: RunningSandbox, connections: Any, recwarn: pytest.WarningsRecorder
) -> None:
    tasks = [asyncio.create_task(once("mdi", a_minute_ago())) for _ in range(20)]
    await asyncio.sleep(after)
    for task in tasks[:-1]:
        task.cancel()
    await asyncio.wait(tasks[:-1])
    assert len(shared._inboxes[asyncio.get_running_loop()]) == 1
    tasks[-1].cancel()
    await asyncio.wait(tasks)
    assert shared._inboxes[asyncio.get_running_loop()] == {}
    await asyncio.sleep(0.1)
    gc.collect()
    assert [str(w.message) for w in recwarn if issubclass(w.category, ResourceWarning | RuntimeWarning)] == []


async def test_who_still_needs_the_client_is_told(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_conn_id: str) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(registry, "async_hook_for", never)
    with client_of("sendhub") as client:
        work = asyncio.create_task(client.run(lambda service: service.check()))
        await asyncio.sleep(0.1)
    with pytest.raises(MessagingError, match="has been left"):
        await asyncio.wait_for(work, 2)


async def test_leaving_twice_and_coming_back(sandbox: RunningSandbox, connections: Any) -> None:
    with joined() as waiter:
        await nothing_for(waiter)
        waiter.leave()
        waiter.leave()
        arrived = await inbound(sandbox, "sendhub")
        assert await once("sendhub", Cursor()) == [arrived]


@pytest.mark.parametrize("conn_type", TYPES)
async def test_who_needs_the_client_alone_reads_no_inbox(
    conn_type: str, sandbox: RunningSandbox, connections: Any, looked_up: list[str]
) -> None:
    with client_of(conn_type) as one, client_of(conn_type) as another:
        await asyncio.gather(*(client.run(lambda service: service.check()) for client in (one, another)))
        asked = await requests(sandbox, conn_type)
        await asyncio.sleep(0.4)
        assert await requests(sandbox, conn_type) == asked
    assert len(looked_up) == 1


@pytest.mark.parametrize("conn_type", TYPES)
async def test_reading_goes_on_where_it_stood_still(conn_type: str, sandbox: RunningSandbox, connections: Any) -> None:
    """While nobody reads, messages come; whoever reads next must not be served from what is old."""
    with client_of(conn_type):
        first = await inbound(sandbox, conn_type)
        begin = a_minute_ago()
        with joined(conn_type, begin) as waiter:
            assert await next_of(waiter) == [first]
            passed = waiter.cursor
        await asyncio.sleep(0.3)
        second = await inbound(sandbox, conn_type)
        assert await once(conn_type, passed) == [second]


async def test_the_client_of_a_missing_connection(sandbox: RunningSandbox, connections: Any, quick: Any) -> None:
    client = shared.join_without_reading("nowhere")
    try:
        with pytest.raises(MessagingError, match="nowhere"):
            await client.run(lambda service: service.check())
    finally:
        client.leave()
