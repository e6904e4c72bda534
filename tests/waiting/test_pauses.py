"""How long a wait pauses: the shortest interval counts, and a service that fails is asked less and less often."""

import asyncio
import logging
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor
from airflow_messaging.triggers import shared

from .waits import a_minute_ago, inbound, joined, next_of, nothing_for, requests, until, until_asked


@pytest.mark.parametrize("conn_type", ["sendhub", "mdi"])
async def test_the_shortest_interval_counts_from_when_it_joins(
    conn_type: str, sandbox: RunningSandbox, connections: Any
) -> None:
    with joined(conn_type, a_minute_ago(), interval=60) as slow:
        patient = asyncio.create_task(next_of(slow, 20))
        await until_asked(sandbox, conn_type)
        await asyncio.sleep(0.2)
        with joined(conn_type, a_minute_ago(), interval=0.1) as fast:
            task = asyncio.create_task(next_of(fast))
            await asyncio.sleep(0.2)
            arrived = await inbound(sandbox, conn_type)
            assert await task == [arrived]
            assert await patient == [arrived]
        await asyncio.sleep(0.2)
        asked = await requests(sandbox, conn_type)
        patient = asyncio.create_task(nothing_for(slow, 1.0))
        await patient
        assert await requests(sandbox, conn_type) <= asked + 4


FAULTS: dict[str, dict[str, Any]] = {
    "unavailable": {"status": 503},
    "reset": {"reset": True},
    "rate limited": {"status": 429, "body": {}, "headers": {"Retry-After": "31"}},
    "rate limited, in its own words": {"status": 429, "body": {"code": 429, "timeLeft": "0:00:31"}},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_service_that_fails_is_asked_with_growing_pauses(
    fault: str, sandbox: RunningSandbox, connections: Any, quick: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, shared.__name__)
    with joined() as waiter, joined() as other:
        for expected in (1, 2):
            quick.clear()
            sandbox.faults([{"service": "sendhub", **FAULTS[fault]}])
            task = asyncio.gather(next_of(waiter), next_of(other))
            await until(lambda: len(quick) >= 4)
            arrived = await inbound(sandbox, "sendhub")
            sandbox.clear_faults()
            assert await task == [[arrived], [arrived]]
            assert [failures for failures, _ in quick] == list(range(1, len(quick) + 1))
            asked_for = {getattr(error, "retry_after", None) for _, error in quick}
            assert asked_for == ({31.0} if "rate" in fault else {None})
            said = [record.levelname for record in caplog.records if record.name == shared.__name__]
            assert said == ["WARNING", "INFO"] * expected


async def test_who_left_while_the_service_was_away_is_forgotten(
    sandbox: RunningSandbox, connections: Any, quick: Any
) -> None:
    sandbox.faults([{"service": "mdi", "status": 503}])
    with joined("mdi", a_minute_ago()) as waiter:
        task = asyncio.create_task(next_of(waiter))
        with joined("mdi", Cursor()) as gone:
            await nothing_for(gone)
        quick.clear()
        # The question that was under way may still be for both.
        await until(lambda: len(quick) >= 2)
        await asyncio.to_thread(sandbox.reset)
        arrived = await inbound(sandbox, "mdi")
        assert await task == [arrived]
        asked = [entry["query"] for entry in sandbox.journal("mdi") if entry["path"].endswith("messages.json")]
        assert asked and all("from" in query for query in asked)
