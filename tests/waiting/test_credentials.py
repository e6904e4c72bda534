"""Wrong and changed passwords, sessions that end, and a service that is started again, under waits that go on."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from airflow.exceptions import AirflowNotFoundException

from airflow_messaging.exceptions import AuthenticationFailed
from airflow_messaging.hooks import registry
from airflow_messaging.sandbox import RunningSandbox, running
from airflow_messaging.triggers import shared

from .waits import TYPES, a_minute_ago, inbound, joined, next_of, nothing_for, until, until_asked


def set_password(connections: Any, monkeypatch: pytest.MonkeyPatch, conn_type: str, password: str | None) -> None:
    connection = connections[f"{conn_type}_default"]
    changed = {**connection, "password": password or connection["password"]}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", json.dumps(changed))


@pytest.mark.parametrize("conn_type", TYPES)
async def test_a_wrong_password_ends_all_waits_after_some_tries(
    conn_type: str, connections: Any, monkeypatch: pytest.MonkeyPatch, looked_up: list[str]
) -> None:
    set_password(connections, monkeypatch, conn_type, "wrong" * 8)
    with joined(conn_type) as first, joined(conn_type) as second:
        waits = await asyncio.gather(first.next(), second.next(), return_exceptions=True)
        assert [type(error) for error in waits] == [AuthenticationFailed] * 2
        assert looked_up == [f"{conn_type}_default"] * shared.CONNECTION_TRIES
        with pytest.raises(AuthenticationFailed):
            await first.next()
        # Who comes now begins anew.
        set_password(connections, monkeypatch, conn_type, None)
        with joined(conn_type) as third:
            await nothing_for(third)
    assert len(looked_up) == shared.CONNECTION_TRIES + 1


@pytest.mark.parametrize("times", [shared.CONNECTION_TRIES - 1, shared.CONNECTION_TRIES])
async def test_a_look_up_that_fails_is_tried_again_and_not_for_ever(
    times: int, sandbox: RunningSandbox, connections: Any, monkeypatch: pytest.MonkeyPatch, quick: Any
) -> None:
    """Airflow says "not defined" also when its API server does not answer."""

    async def look_up(conn_id: str) -> Any:
        if next(failures, False):
            raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
        return await found(conn_id)

    failures = iter([True] * times)
    found = registry.async_hook_for
    monkeypatch.setattr(registry, "async_hook_for", look_up)
    arrived = await inbound(sandbox, "sendhub")
    with joined() as first, joined() as second:
        waits = await asyncio.gather(first.next(), second.next(), return_exceptions=True)
    if times < shared.CONNECTION_TRIES:
        assert [[message.id for message in messages] for messages in waits] == [[arrived]] * 2
    else:
        assert ["isn't defined" in str(error) for error in waits] == [True] * 2


@pytest.mark.parametrize("conn_type", TYPES)
async def test_a_password_that_is_changed_meanwhile_is_taken_up(
    conn_type: str,
    sandbox: RunningSandbox,
    connections: Any,
    monkeypatch: pytest.MonkeyPatch,
    looked_up: list[str],
    quick: Any,
) -> None:
    arrived = await inbound(sandbox, conn_type)
    set_password(connections, monkeypatch, conn_type, "wrong" * 8)
    with joined(conn_type) as waiter:
        task = asyncio.create_task(next_of(waiter))
        await until(lambda: bool(quick))
        set_password(connections, monkeypatch, conn_type, None)
        assert await task == [arrived]
    assert 2 <= len(looked_up) <= shared.CONNECTION_TRIES


async def test_only_refusals_in_a_row_end_the_waits(
    sandbox: RunningSandbox, connections: Any, looked_up: list[str]
) -> None:
    with joined() as waiter:
        for number in range(shared.CONNECTION_TRIES + 1):
            sandbox.faults([{"service": "sendhub", "status": 401, "times": 1}])
            arrived = await inbound(sandbox, "sendhub", str(number))
            assert await next_of(waiter) == [arrived]
    assert len(looked_up) == shared.CONNECTION_TRIES + 2


async def test_other_work_waits_for_the_connection_to_be_mended(
    sandbox: RunningSandbox, connections: Any, quick: Any
) -> None:
    with joined() as waiter:
        task = asyncio.create_task(waiter.next())
        await waiter.run(lambda service: service.check())
        sandbox.faults([{"service": "sendhub", "status": 401, "times": 1}])
        await until(lambda: bool(quick))
        await waiter.run(lambda service: service.check())
        task.cancel()
        await asyncio.wait([task])


async def test_sessions_that_end_are_renewed(
    sandbox: RunningSandbox, connections: Any, quick: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with joined("mdi", a_minute_ago()) as waiter:
        task = asyncio.create_task(next_of(waiter))
        for number in range(3):
            await until_asked(sandbox, "mdi", 2)
            assert await asyncio.to_thread(sandbox.expire_sessions) >= 1
            arrived = await inbound(sandbox, "mdi", str(number))
            assert await task == [arrived]
            task = asyncio.create_task(next_of(waiter))
        task.cancel()
        await asyncio.wait([task])
    assert quick == []
    assert not [record for record in caplog.records if record.name == shared.__name__]


@pytest.mark.parametrize("conn_type", ["go_integrate", "sendhub"])
async def test_a_service_that_is_started_again_is_taken_up(conn_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = running(echo=False, hold_s=5)
        sandbox = first.__enter__()
        port = int(sandbox.url.rpartition(":")[2])
        for conn_id, connection in sandbox.connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        waiter = stack.enter_context(joined(conn_type, a_minute_ago()))
        task = asyncio.create_task(next_of(waiter, 10))
        await until_asked(sandbox, conn_type, 2)
        await asyncio.to_thread(first.__exit__, None, None, None)
        await asyncio.sleep(0.3)
        with running(port=port, echo=False, hold_s=5) as sandbox:
            again = await inbound(sandbox, conn_type)
            assert await task == [again]
            waiter.leave()
