"""No trigger holds up the event loop of its triggerer, however many messages a service lists."""

import asyncio
import gc
import linecache
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor
from airflow_messaging.triggers import inbox_places
from airflow_messaging.triggers.asking import ApprovalTrigger
from airflow_messaging.triggers.messages import MessageStatusTrigger, NextMessageTrigger

from .harness import SERVICES, fire
from .questions import Page
from .watching import inbound, watch

pytestmark = [pytest.mark.undisturbed, pytest.mark.usefixtures("connections", "variables")]

TRIES = 4


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[RunningSandbox]:
    """A sandbox in a process of its own: on a thread of ours it would take turns with the event loop."""
    command = [sys.executable, "-m", "airflow_messaging.sandbox", "--port", "0", "--hold", "1", "--echo-delay", "0.3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield RunningSandbox(child.stdout.readline().split()[-1])
        finally:
            child.terminate()


@pytest.fixture(autouse=True)
def only_our_garbage() -> Iterator[None]:
    """Leave out of each collection what the test session holds: walking all of it takes 150 ms."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_look_at_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debug mode asks the disk about each callback's source: each time another thread's turn comes first."""
    monkeypatch.setattr(linecache, "checkcache", lambda *_: None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_places, "CLAIM_SETTLES_S", 0.05)


async def slow_steps(caplog: pytest.LogCaptureFixture, work: Callable[[], Awaitable[Any]]) -> list[str]:
    """What held up the loop in the best of some tries: a busy machine does that, too, and so do first imports."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.05
    slow: list[str] = []
    for _ in range(TRIES):
        caplog.clear()
        await work()
        slow = [record.getMessage() for record in caplog.records if "Executing" in record.getMessage()]
        if not slow:
            break
    return slow


def wait_for(service: str, kind: type[Any] = NextMessageTrigger, seconds: float = 10, **changes: Any) -> Any:
    end_at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    return kind(conn_id=f"{service}_default", poke_interval=0.2, end_at=end_at, **changes)


@pytest.mark.newest
@pytest.mark.parametrize("service", SERVICES)
async def test_a_watcher_that_acknowledges(
    service: str, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        for number in range(20):
            await inbound(sandbox, service, text=f"{number} {'x' * 500}")
        await watch_and_acknowledge(service, after="earliest")

    assert await slow_steps(caplog, work) == []


@pytest.mark.newest
async def test_a_watcher_that_keeps_the_files_of_what_is_marked_along(
    sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    await asyncio.to_thread(sandbox.clock, 0, frozen=True)
    picture = {"filename": "a.jpg", "content": b"x" * 300_000}

    def kept() -> int:
        return sum(1 for _ in tmp_path.rglob("a.jpg"))

    async def work() -> None:
        await inbound(sandbox, "serwersms", text="order", sender="48500600700")
        await inbound(sandbox, "serwersms", sender="48500600700", attachments=[dict(picture)])
        before = await asyncio.to_thread(kept)
        await watch_and_acknowledge("serwersms", contains="order", spool=f"file://{tmp_path}")
        assert await asyncio.to_thread(kept) == before + 1

    assert await slow_steps(caplog, work) == []


async def watch_and_acknowledge(service: str, **options: Any) -> None:
    trigger = watch(service, **options)
    producer: Any = trigger.create_shared_stream_producer(trigger.arguments())
    stream = producer.open_stream()
    payload, receipt = await anext(stream)
    assert payload["messages"]
    await producer.advance([SimpleNamespace(broker_payload=receipt, outcome=SimpleNamespace(is_clean=True))])
    await stream.aclose()
    await producer.aclose()


async def test_a_wait_for_an_approval(sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture, page: Page) -> None:
    ti_id = uuid4()
    await inbound(sandbox, "sendhub", text="yes")

    async def work() -> None:
        page.upsert(ti_id=ti_id)
        begin = Cursor().to_dict()
        trigger = wait_for("sendhub", ApprovalTrigger, ti_id=str(ti_id), yes=["yes"], no=["no"], cursor=begin)
        event = await fire(trigger)
        assert event.payload["approved"]

    assert await slow_steps(caplog, work) == []


async def test_a_wait_for_a_status(sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture) -> None:
    sent = await inbound(sandbox, "mdi")

    async def work() -> None:
        trigger = wait_for("mdi", MessageStatusTrigger, 1.0, message_id=sent, wait_for="delivered")
        assert (await fire(trigger)).payload["status"] in ("found", "timeout")

    assert await slow_steps(caplog, work) == []


@pytest.mark.parametrize(("service", "count"), [("liquidfiles", 2000), ("mdi", 500)])
async def test_a_wait_on_a_full_inbox(
    service: str, count: int, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def fill() -> None:
        for _ in range(count):
            sandbox.inbound(service, text="x" * 500)

    await asyncio.to_thread(fill)
    cursor = Cursor().to_dict()

    async def work() -> None:
        for changes in ({"selection": {"contains": "nothing like this"}}, {"limit": 500}):
            event = await fire(wait_for(service, seconds=1.5, cursor=cursor, **changes))
            assert event.payload["status"] in ("found", "timeout")

    assert await slow_steps(caplog, work) == []
