"""The pace that a connection asks for, and that a service asked for, holds for all hooks of the process."""

import asyncio
import json
import time
from typing import Any

import pytest

from airflow_messaging.exceptions import InvalidInput, RateLimited
from airflow_messaging.hooks.sendhub import SendHubHook
from airflow_messaging.hooks.serwersms import SerwerSmsHook
from airflow_messaging.sandbox import RunningSandbox

DISTANCE_S = 0.25


def change(monkeypatch: pytest.MonkeyPatch, connections: dict[str, dict[str, Any]], conn_id: str, **extra: Any) -> None:
    connection = connections[conn_id]
    changed = {**connection, "extra": {**(connection.get("extra") or {}), **extra}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(changed))


async def read_in_the_triggerer() -> None:
    async with SendHubHook() as hook:
        await hook.arun(hook.service.check())


def test_requests_of_a_connection_are_spaced(
    sandbox: RunningSandbox, connections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, connections, "sendhub_default", max_per_second=1 / DISTANCE_S)
    began = time.monotonic()
    with SendHubHook() as hook:
        hook.run(hook.service.check())
        hook.send(["1111"], "x")
    asyncio.run(read_in_the_triggerer())
    with SerwerSmsHook() as other:
        other.run(other.service.check())
    assert 2 * DISTANCE_S <= time.monotonic() - began < 10 * DISTANCE_S
    assert len(sandbox.journal()) == 4


def test_a_pause_is_kept_between_worker_and_triggerer_code(
    sandbox: RunningSandbox, connections: dict[str, dict[str, Any]]
) -> None:
    sandbox.faults([{"service": "sendhub", "status": 503, "headers": {"Retry-After": "100"}, "times": 1}])
    with SendHubHook() as hook, pytest.raises(RateLimited, match="HTTP 503"):
        hook.run(hook.service.check())
    with pytest.raises(RateLimited, match="not asked"):
        asyncio.run(read_in_the_triggerer())
    good, said = SendHubHook().test_connection()
    assert not good
    assert "retry after" in said
    assert len(sandbox.journal()) == 1


@pytest.mark.parametrize("value", [0, 0.05, -1, "fast", True, float("inf")])
def test_an_odd_rate_is_refused(
    value: Any, connections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, connections, "sendhub_default", max_per_second=value)
    with pytest.raises(InvalidInput, match="max_per_second"):
        _ = SendHubHook().service


@pytest.mark.parametrize("value", [None, "", 5, "0.5"])
def test_a_rate_may_be_left_out_or_come_as_text(
    value: Any, connections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, connections, "sendhub_default", max_per_second=value)
    assert SendHubHook().settings.transport.max_per_second == (float(value) if value else None)
