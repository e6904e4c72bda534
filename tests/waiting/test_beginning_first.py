"""No inbox is asked before somebody has said where to begin: the question would be for all there is."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import start
from airflow_messaging.triggers import shared

from .waits import a_minute_ago, inbound, joined, next_of

LISTS = {"mdi": "messages.json", "liquidfiles": "messages/inbox"}
SINCE = {"mdi": "from", "liquidfiles": "sent_after"}


async def lists(sandbox: RunningSandbox, conn_type: str) -> list[dict[str, Any]]:
    """The queries of all questions for an inbox; the harmless reads of ``check()`` are none."""
    journal = await asyncio.to_thread(sandbox.journal, conn_type)
    asked = [entry["query"] for entry in journal if entry["path"].endswith(LISTS[conn_type])]
    return [query for query in asked if query.get("limit") != "1" and "sent_in_the_last" not in query]


@pytest.mark.parametrize("conn_type", LISTS)
async def test_who_reads_after_using_the_client_asks_from_its_cursor(
    conn_type: str, sandbox: RunningSandbox, connections: Any
) -> None:
    """As a watcher does: it finds out where it stands before it reads."""
    await asyncio.to_thread(sandbox.clock, -3 * 86400)
    await inbound(sandbox, conn_type, "old")
    await asyncio.to_thread(sandbox.clock, 0)
    client = shared.join_without_reading(f"{conn_type}_default")
    try:
        cursor = await client.run(lambda service: start(service, "now", run_started=datetime.now(UTC)))
        with joined(conn_type, cursor) as waiter:
            client.leave()
            await asyncio.sleep(0.2)
            task = asyncio.create_task(next_of(waiter))
            arrived = await inbound(sandbox, conn_type, "new")
            assert await task == [arrived]
    finally:
        client.leave()
    asked = await lists(sandbox, conn_type)
    assert asked
    assert all(SINCE[conn_type] in query for query in asked)


@pytest.mark.parametrize("conn_type", LISTS)
async def test_a_beginning_that_cannot_be_found_asks_for_nothing(
    conn_type: str, sandbox: RunningSandbox, connections: Any
) -> None:
    def broken(service: Any) -> Any:
        raise ZeroDivisionError

    with joined(conn_type, broken) as waiter:
        errors = await asyncio.gather(waiter.next(), return_exceptions=True)
        assert "ZeroDivisionError" in str(errors)
        await asyncio.sleep(0.3)
        assert await lists(sandbox, conn_type) == []
        arrived = await inbound(sandbox, conn_type)
        with joined(conn_type, a_minute_ago()) as another:
            assert await next_of(another) == [arrived]


@pytest.mark.parametrize("conn_type", LISTS)
async def test_who_has_left_meanwhile_asks_for_nothing(
    conn_type: str, sandbox: RunningSandbox, connections: Any
) -> None:
    with joined(conn_type, a_minute_ago()):
        with joined(conn_type, a_minute_ago()) as waiter:
            task = asyncio.create_task(waiter.next())
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.3)
        assert all(SINCE[conn_type] in query for query in await lists(sandbox, conn_type))
