"""A watcher whose acknowledgements are refused, or whose connection is changed: few runs, and one line in the log."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_messaging.exceptions import AuthenticationFailed, MessagingError
from airflow_messaging.sandbox import RunningSandbox, running
from airflow_messaging.triggers import failures, inbox_places, inbox_reader, shared_client

from .watching import inbound, unread, until, watch

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("connections", "variables", "short_backoff")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_messaging.triggers import inbox_producer

    monkeypatch.setattr(inbox_places, "CLAIM_SETTLES_S", 0.05)
    monkeypatch.setattr(inbox_reader, "pause_after", lambda *_: 0.1)
    monkeypatch.setattr(inbox_producer, "PAUSE_S", 0.1)
    monkeypatch.setattr(inbox_producer, "LONGEST_PAUSE_S", 0.5)
    monkeypatch.setattr(inbox_producer, "_refused", inbox_producer._refused.copy())
    inbox_producer._refused.clear()


@contextlib.asynccontextmanager
async def produced(service: str, **options: Any) -> AsyncIterator[tuple[Any, AsyncIterator[Any]]]:
    """A new producer and its stream, as Airflow makes them whenever the one before has failed."""
    trigger = watch(service, **options)
    producer: Any = trigger.create_shared_stream_producer(trigger.arguments())
    stream = producer.open_stream()
    try:
        yield producer, stream
    finally:
        await stream.aclose()
        await producer.aclose()


def stored(receipt: Any) -> list[Any]:
    return [SimpleNamespace(broker_payload=receipt, outcome=SimpleNamespace(is_clean=True))]


async def seconds_until_refused() -> float:
    async with produced("sendhub") as (producer, stream):
        _, receipt = await anext(stream)
        began = time.monotonic()
        with pytest.raises(AuthenticationFailed):
            await producer.advance(stored(receipt))
        return time.monotonic() - began


async def test_the_pauses_between_refused_acknowledgements_grow(sandbox: RunningSandbox) -> None:
    from airflow_messaging.triggers import inbox_producer

    await inbound(sandbox, "sendhub")
    await asyncio.to_thread(sandbox.faults, [{"service": "sendhub", "path": "*/messages/*", "status": 403}])
    pauses = [await seconds_until_refused() for _ in range(4)]
    assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.5), strict=True)] == [True] * 4
    assert pauses[3] < 0.75
    await asyncio.to_thread(sandbox.clear_faults)
    async with produced("sendhub") as (producer, stream):
        _, receipt = await anext(stream)
        await producer.advance(stored(receipt))
    assert not inbox_producer._refused


async def test_a_watcher_that_goes_on_failing_says_so_once(
    sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def errors() -> int:
        return sum("cannot be watched now" in record.getMessage() for record in caplog.records)

    async def refuse(status: int) -> int:
        await asyncio.to_thread(sandbox.faults, [{"service": "mdi", "status": status}])
        return len(await asyncio.to_thread(sandbox.journal, "mdi"))

    async with produced("mdi", after="earliest") as (_, stream):
        for number in (1, 2):
            asked = await refuse(403)
            coming = asyncio.ensure_future(anext(stream))
            await until(lambda: len(sandbox.journal("mdi")) > asked + 15)  # noqa: B023
            assert errors() == number
            await asyncio.to_thread(sandbox.clear_faults)
            sent = await inbound(sandbox, "mdi", text=str(number))
            payload, _ = await coming
            assert [message["id"] for message in payload["messages"]] == [sent]


@pytest.mark.parametrize("service", ["sendhub", "mdi"])
async def test_a_watcher_ends_where_its_connection_leads_to_another_account(
    service: str, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Airflow begins it anew: what is under way must not be acknowledged there."""
    monkeypatch.setattr(shared_client, "LOOK_EVERY_S", 0.2)
    await inbound(sandbox, service)
    with running(echo=False, hold_s=1.0) as elsewhere:
        async with produced(service, after="earliest") as (producer, stream):
            payload, receipt = await anext(stream)
            monkeypatch.setenv(
                f"AIRFLOW_CONN_{service.upper()}_DEFAULT", json.dumps(elsewhere.connections[f"{service}_default"])
            )
            with pytest.raises(shared_client.AccountChanged):
                await anext(stream)
            known = dict(variables)
            asked = len(await asyncio.to_thread(elsewhere.journal, service))
            await producer.advance(stored(receipt))
            assert len(await asyncio.to_thread(elsewhere.journal, service)) == asked
            assert variables == known
        sent = await inbound(elsewhere, service)
        async with produced(service, after="earliest") as (_, stream):
            again, _ = await anext(stream)
            assert sent in [message["id"] for message in again["messages"]]
            assert again["account"] != payload["account"]


async def test_a_watcher_that_is_stopped_waits_for_no_service(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "pause_after", lambda *_: 60.0)
    await inbound(sandbox, "sendhub")
    async with produced("sendhub") as (producer, stream):
        _, receipt = await anext(stream)
        await asyncio.to_thread(sandbox.faults, [{"service": "sendhub", "path": "*/messages/*", "status": 503}])
        settling = asyncio.ensure_future(producer.advance(stored(receipt)))
        await until(lambda: any("/messages/" in entry["path"] for entry in sandbox.journal("sendhub")))
        await asyncio.sleep(0.5)
        assert not settling.done()
        await stream.aclose()
        await asyncio.wait_for(settling, 5)


async def test_nor_for_an_airflow_that_keeps_nothing(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(name: str, *_: Any) -> None:
        if "marked" in name:
            raise OSError("the API server does not answer")

    await asyncio.to_thread(sandbox.clock, 0, frozen=True)
    sent = {await inbound(sandbox, "serwersms", text=text, sender="48500600700") for text in ("order", "chatter")}
    async with produced("serwersms", contains="order") as (producer, stream):
        _, receipt = await anext(stream)
        monkeypatch.setattr(inbox_places, "save", fails)
        settling = asyncio.ensure_future(producer.advance(stored(receipt)))
        await asyncio.sleep(0.5)
        await stream.aclose()
        with pytest.raises(MessagingError, match="was stopped"):
            await asyncio.wait_for(settling, 5)
    assert await unread(sandbox, "serwersms") >= sent
