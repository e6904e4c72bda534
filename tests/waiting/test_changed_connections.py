"""A connection that is changed while somebody waits is taken up: by all of them, soon, and at little cost."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_messaging.hooks import registry
from airflow_messaging.sandbox import RunningSandbox, running
from airflow_messaging.triggers import shared_client
from airflow_messaging.triggers.messages import MessageStatusTrigger, NextMessageTrigger
from airflow_messaging.triggers.shared_client import AccountChanged

from .waits import TYPES, a_minute_ago, inbound, joined, next_of, nothing_for, until, until_asked


@pytest.fixture(scope="module")
def running_elsewhere() -> Iterator[RunningSandbox]:
    with running(hold_s=1.0, echo=False) as sandbox:
        yield sandbox


@pytest.fixture
def elsewhere(running_elsewhere: RunningSandbox, connections: Any) -> RunningSandbox:
    """Five other services, to which no connection leads yet."""
    running_elsewhere.reset()
    return running_elsewhere


@pytest.fixture
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_client, "LOOK_EVERY_S", 0.2)


@pytest.fixture
def looked_at_when_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_client, "FRESH_S", 0.2)


def lead(monkeypatch: pytest.MonkeyPatch, conn_type: str, connection: dict[str, Any]) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", json.dumps(connection))


def lead_to(monkeypatch: pytest.MonkeyPatch, conn_type: str, sandbox: RunningSandbox) -> None:
    lead(monkeypatch, conn_type, sandbox.connections[f"{conn_type}_default"])


def with_timeout(connections: Any, conn_type: str, seconds: float) -> dict[str, Any]:
    connection = connections[f"{conn_type}_default"]
    extra = connection.get("extra") or {}
    extra = json.loads(extra) if isinstance(extra, str) else extra
    return {**connection, "extra": json.dumps({**extra, "read_timeout": seconds})}


def wait_for(conn_type: str) -> asyncio.Task[Any]:
    trigger = NextMessageTrigger(
        conn_id=f"{conn_type}_default",
        cursor=a_minute_ago().to_dict(),
        poke_interval=0.1,
        end_at=(datetime.now(UTC) + timedelta(seconds=5)).isoformat(),
    )

    async def found() -> Any:
        payloads = [event.payload async for event in trigger.run()]
        return [message["id"] for message in payloads[0].get("messages", [])] or payloads

    return asyncio.create_task(found())


@pytest.mark.usefixtures("looked_at_often")
@pytest.mark.parametrize("conn_type", TYPES)
async def test_waits_go_on_where_the_connection_leads_now(
    conn_type: str, sandbox: RunningSandbox, elsewhere: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = wait_for(conn_type)
    await until_asked(sandbox, conn_type)
    lead_to(monkeypatch, conn_type, elsewhere)
    arrived = await inbound(elsewhere, conn_type)
    assert await task == [arrived]


@pytest.mark.usefixtures("looked_at_when_joined")
@pytest.mark.parametrize("conn_type", TYPES)
async def test_who_comes_after_the_change_takes_all_along(
    conn_type: str, sandbox: RunningSandbox, elsewhere: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = wait_for(conn_type)
    await until_asked(sandbox, conn_type)
    lead_to(monkeypatch, conn_type, elsewhere)
    arrived = await inbound(elsewhere, conn_type)
    await asyncio.sleep(0.3)
    assert not first.done()
    assert await asyncio.gather(wait_for(conn_type), first) == [[arrived]] * 2


@pytest.mark.usefixtures("looked_at_when_joined")
async def test_nobody_is_served_from_what_was_known_of_the_place_before(
    sandbox: RunningSandbox, elsewhere: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(sandbox.clock, -3600)
    await inbound(sandbox, "mdi", "so that ids differ")
    await asyncio.to_thread(sandbox.clock, 0)
    old = await inbound(sandbox, "mdi", "old")
    with joined("mdi", a_minute_ago()) as waiter:
        assert await next_of(waiter) == [old]
        lead_to(monkeypatch, "mdi", elsewhere)
        new = await inbound(elsewhere, "mdi", "new")
        await asyncio.sleep(0.3)
        assert await wait_for("mdi") == [new]


@pytest.mark.usefixtures("looked_at_when_joined")
async def test_an_open_long_poll_is_left_for_whoever_comes(
    sandbox: RunningSandbox, elsewhere: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(hold_s=30, echo=False) as holding:
        lead_to(monkeypatch, "go_integrate", holding)
        old = await inbound(holding, "go_integrate", "old")
        with joined("go_integrate", a_minute_ago()) as waiter:
            assert await next_of(waiter) == [old]
            first = asyncio.create_task(next_of(waiter))
            await asyncio.sleep(0.5)
            lead_to(monkeypatch, "go_integrate", elsewhere)
            new = await inbound(elsewhere, "go_integrate", "new")
            assert await wait_for("go_integrate") == [new]
            with pytest.raises(AccountChanged):
                await first


@pytest.mark.usefixtures("looked_at_often")
@pytest.mark.parametrize("conn_type", TYPES)
async def test_other_settings_of_one_account_disturb_nobody(
    conn_type: str, sandbox: RunningSandbox, connections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await inbound(sandbox, conn_type, "old")
    with joined(conn_type, a_minute_ago()) as waiter:
        assert await next_of(waiter) == [old]
        for seconds in (11, 12):
            hooks = [await waiter.use(_itself)]
            task = asyncio.create_task(next_of(waiter))
            lead(monkeypatch, conn_type, with_timeout(connections, conn_type, seconds))
            async with asyncio.timeout(5):
                while hooks[-1].settings.transport.read_timeout != seconds:
                    await asyncio.sleep(0.05)
                    hooks.append(await waiter.use(_itself))
            await asyncio.sleep(0.3)
            assert not task.done()
            arrived = await inbound(sandbox, conn_type, "new")
            assert await task == [arrived]


async def _itself(hook: Any) -> Any:
    return hook


@pytest.mark.usefixtures("looked_at_often")
async def test_a_call_under_way_ends_over_the_connection_it_began_with(
    sandbox: RunningSandbox, connections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with joined("sendhub", a_minute_ago()) as waiter:
        await waiter.run(lambda service: service.check())

        async def slowly(hook: Any) -> Any:
            await asyncio.sleep(1)
            await hook.arun(hook.service.check())
            return hook.settings.transport.read_timeout, hook.async_transport._session is not None

        task = asyncio.create_task(waiter.use(slowly))
        await asyncio.sleep(0.1)
        lead(monkeypatch, "sendhub", with_timeout(connections, "sendhub", 11))
        assert await task == (60, True)
        assert await waiter.use(_read_timeout_of) == 11


async def _read_timeout_of(hook: Any) -> float:
    return float(hook.settings.transport.read_timeout)


@pytest.mark.usefixtures("looked_at_often")
async def test_a_look_that_fails_ends_no_wait(
    sandbox: RunningSandbox,
    connections: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks: list[str] = []

    async def broken(conn_id: str) -> Any:
        looks.append(conn_id)
        raise ConnectionError("a secret")

    with joined("sendhub", a_minute_ago()) as waiter:
        await nothing_for(waiter, 0.1)
        monkeypatch.setattr(registry, "async_hook_for", broken)
        task = asyncio.create_task(next_of(waiter))
        await until(lambda: len(looks) > 2)
        arrived = await inbound(sandbox, "sendhub")
        assert await task == [arrived]
    assert caplog.text.count("cannot be looked up now") == 1
    assert "a secret" not in caplog.text


@pytest.mark.usefixtures("looked_at_when_joined")
async def test_a_thousand_that_come_together_make_one_look(
    sandbox: RunningSandbox, connections: Any, looked_up: list[str]
) -> None:
    with joined("sendhub", a_minute_ago()) as waiter:
        await nothing_for(waiter, 0.4)
        tasks = [wait_for("sendhub") for _ in range(1000)]
        await asyncio.sleep(0.1)
        arrived = await inbound(sandbox, "sendhub")
        assert await asyncio.gather(*tasks) == [[arrived]] * 1000
    assert len(looked_up) <= 2 + 1


@pytest.mark.usefixtures("looked_at_often")
async def test_a_status_of_a_message_of_the_account_before_is_not_asked_of_another(
    sandbox: RunningSandbox, elsewhere: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(sandbox.faults, [{"service": "mdi", "status": 503}])
    trigger = MessageStatusTrigger(
        conn_id="mdi_default",
        message_id="1",
        wait_for="delivered",
        poke_interval=0.1,
        end_at=(datetime.now(UTC) + timedelta(seconds=5)).isoformat(),
    )
    monkeypatch.setattr("airflow_messaging.triggers.failures.pause_after", lambda *_: 0.05)
    ended = asyncio.create_task(anext(trigger.run()))
    await until_asked(sandbox, "mdi")
    lead_to(monkeypatch, "mdi", elsewhere)
    event = await ended
    assert "another account" in str(event.payload["error"])
