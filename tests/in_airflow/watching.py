"""Watchers for tests, and what has become of the messages that they were sent."""

import asyncio
from collections.abc import Callable
from typing import Any

from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.triggers.inbox import InboxTrigger

READ_FLAG = ("sendhub", "serwersms")
CURSOR = ("go_integrate", "liquidfiles", "mdi")


def watch(service: str, **changes: Any) -> InboxTrigger:
    options: dict[str, Any] = {"reader": "orders", "poke_interval": 0.2, "gather": 0.2, "flush_after": 0.5}
    return InboxTrigger(conn_id=f"{service}_default", **{**options, **changes})


async def until(reached: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def inbound(sandbox: RunningSandbox, service: str, **message: Any) -> str:
    given = {"text": "hello", **message}
    return await asyncio.to_thread(sandbox.inbound, service, **given)


async def unread(sandbox: RunningSandbox, service: str) -> set[str]:
    messages = await asyncio.to_thread(sandbox.messages, service)
    return {str(message["id"]) for message in messages["waiting"]}
