"""What the tests of waiting share: a wait that ends, what it got, and what the services were asked meanwhile."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor
from airflow_messaging.triggers import shared
from airflow_messaging.triggers.waiter import Waiter

TYPES = ("go_integrate", "liquidfiles", "mdi", "sendhub", "serwersms")
SOON_S = 5.0


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def joined(conn_type: str = "sendhub", begin: Any = None, *, interval: float = 0.1, **kwargs: Any) -> Iterator[Waiter]:
    begin = Cursor() if begin is None else begin
    waiter = shared.join(f"{conn_type}_default", begin, poll_interval=interval, **kwargs)
    try:
        yield waiter
    finally:
        waiter.leave()


async def next_of(waiter: Waiter, within: float = SOON_S) -> list[str]:
    async with asyncio.timeout(within):
        return [message.id for message in await waiter.next()]


async def nothing_for(waiter: Waiter, seconds: float = 0.4) -> None:
    with pytest.raises(TimeoutError):
        await next_of(waiter, seconds)


async def once(conn_type: str, begin: Any, **kwargs: Any) -> list[str]:
    with joined(conn_type, begin, **kwargs) as waiter:
        return await next_of(waiter)


async def inbound(sandbox: RunningSandbox, conn_type: str, text: str = "hello", **fields: Any) -> str:
    return await asyncio.to_thread(sandbox.inbound, conn_type, text=text, **fields)


async def requests(sandbox: RunningSandbox, conn_type: str) -> int:
    return len(await asyncio.to_thread(sandbox.journal, conn_type))


async def until_asked(sandbox: RunningSandbox, conn_type: str, more: int = 1) -> None:
    wanted = await requests(sandbox, conn_type) + more
    async with asyncio.timeout(SOON_S):
        while await requests(sandbox, conn_type) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def a_minute_ago() -> Cursor:
    return Cursor(floor=datetime.now(UTC) - timedelta(minutes=1))
