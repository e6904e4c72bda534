"""A watcher without its strongest promise, which any version of Airflow can run."""

import asyncio
import contextlib
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.triggers import inbox, inbox_places

from .harness import SERVICES
from .watching import READ_FLAG, inbound, unread, watch


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_places, "CLAIM_SETTLES_S", 0.05)
    monkeypatch.setattr(inbox, "STORED_AFTER_S", 0.3)


async def next_ids(stream: Any) -> list[str]:
    """The ids of the next event; nothing if none comes soon."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            event = await anext(stream)
            return [message["id"] for message in event.payload["messages"]]
    return []


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("service", SERVICES)
async def test_it_acknowledges_some_time_after_the_event(
    service: str, sandbox: RunningSandbox, variables: dict[str, str]
) -> None:
    sent = await inbound(sandbox, service)
    stream = watch(service, after="earliest", ack=False).run()
    assert await next_ids(stream) == [sent]
    assert await next_ids(stream) == []
    await stream.aclose()
    if service in READ_FLAG:
        assert sent not in await unread(sandbox, service)
    else:
        assert sent in variables[f"airflow_messaging.watch.{service}_default:orders"]


@pytest.mark.usefixtures("connections", "variables")
@pytest.mark.parametrize("service", SERVICES)
async def test_what_was_not_acknowledged_comes_again(service: str, sandbox: RunningSandbox) -> None:
    sent = await inbound(sandbox, service)
    for _ in range(2):
        stream = watch(service, after="earliest", ack=False).run()
        assert await next_ids(stream) == [sent]
        await stream.aclose()


@pytest.mark.undisturbed
@pytest.mark.usefixtures("connections", "variables")
@pytest.mark.parametrize("service", SERVICES)
async def test_the_event_loop_is_never_held_up(
    service: str, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Three times, because a busy machine holds things up, too; the first time, libraries are imported."""
    for _ in range(20):
        await inbound(sandbox, service)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.05
    slow: list[str] = []
    for _ in range(4):
        caplog.clear()
        stream = watch(service, after="earliest", ack=False).run()
        assert len(await next_ids(stream)) == 20
        await stream.aclose()
        slow = [record.getMessage() for record in caplog.records if "Executing" in record.getMessage()]
        if not slow:
            return
    assert slow == []
