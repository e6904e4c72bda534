"""Watchers for tests, and what has become of the messages that they were sent."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from typing import Any

import pytest

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


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_messaging.triggers import inbox_places, inbox_reader

    monkeypatch.setattr(inbox_places, "CLAIM_SETTLES_S", 0.05)
    monkeypatch.setattr(inbox_reader, "pause_after", lambda *_: 0.1)
    if find_spec("airflow.triggers.shared_stream") is not None:
        from airflow_messaging.triggers import inbox_producer

        monkeypatch.setattr(inbox_producer, "PAUSE_S", 0.05)


class Triggerer:
    """What Airflow's triggerer does with a watcher, and its database."""

    def __init__(self, trigger: InboxTrigger, *, storing: bool = True) -> None:
        from airflow.triggers.shared_stream import SharedStreamManager

        self.stored: list[dict[str, Any]] = []
        self.errors: list[Exception] = []
        self.storing = storing
        self._trigger = trigger
        self._streams = SharedStreamManager()
        self._task = asyncio.ensure_future(self._run())

    @property
    def ids(self) -> list[str]:
        return [message["id"] for payload in self.stored for message in payload["messages"]]

    async def _run(self) -> None:
        key = self._trigger.shared_stream_key()
        while True:
            stream = self._streams.subscribe(trigger_id=1, trigger=self._trigger, key=key)
            try:
                async for event in self._trigger.filter_shared_stream(stream):
                    seq = self._streams.bind_pending_event(trigger_id=1, key=key)
                    if self.storing and seq is not None:
                        self.stored.append(json.loads(json.dumps(event.payload)))
                        asyncio.get_running_loop().call_later(0.05, self._streams.confirm_persisted, [seq])
            except Exception as error:
                self.errors.append(error)
            finally:
                await self._streams.unsubscribe(1, key)

    async def kill(self) -> None:
        """End without storing or acknowledging anything more."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._streams.stop_all()


@contextlib.asynccontextmanager
async def running(trigger: InboxTrigger, **options: Any) -> AsyncIterator[Triggerer]:
    triggerer = Triggerer(trigger, **options)
    try:
        yield triggerer
    finally:
        await triggerer.kill()
