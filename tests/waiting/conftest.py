"""What all tests of waiting need: short pauses, nothing left behind, and a count of the looks at a connection."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airflow_messaging.hooks import registry
from airflow_messaging.transport import pacing, retry
from airflow_messaging.triggers import shared

from .waits import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """Short pauses; returns what pauses were asked for, as number of failures and error."""
    pauses: list[tuple[int, Any]] = []

    def pause_after(failures: int, _interval: float, error: Any) -> float:
        pauses.append((failures, error))
        return 0.05

    monkeypatch.setattr(shared, "SHORTEST_PAUSE_S", 0.02)
    monkeypatch.setattr(shared, "pause_after", pause_after)
    monkeypatch.setattr(pacing, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(retry, "_backoff", lambda _state: 0.01)
    return pauses


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """After each test no task runs, no client is open and the registry is empty."""
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    before = asyncio.all_tasks()
    yield
    known = {*before, asyncio.current_task()}
    await until(lambda: asyncio.all_tasks() <= known)
    gc.collect()
    assert complaints == []
    assert shared._inboxes.get(loop, {}) == {}


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    real = registry.async_hook_for

    async def counting(conn_id: str) -> Any:
        found.append(conn_id)
        return await real(conn_id)

    monkeypatch.setattr(registry, "async_hook_for", counting)
    return found
