"""Of several messages of one second, the worker and the triggerer hand over the same one first."""

import asyncio

import pytest

from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor

from .waits import TYPES, once

pytestmark = pytest.mark.usefixtures("connections")


def polled(conn_type: str) -> list[str]:
    with hook_for(f"{conn_type}_default") as hook:
        return [message.id for message in hook.poll(Cursor()).messages]


@pytest.mark.parametrize("conn_type", TYPES)
async def test_messages_of_one_second_have_the_same_order_in_both_modes(
    conn_type: str, sandbox: RunningSandbox
) -> None:
    sandbox.clock(0, frozen=True)
    for number in range(8):
        await asyncio.to_thread(sandbox.inbound, conn_type, text=f"message {number}")
    in_worker = await asyncio.to_thread(polled, conn_type)
    assert len(in_worker) == 8
    assert await once(conn_type, Cursor(), limit=None) == in_worker
