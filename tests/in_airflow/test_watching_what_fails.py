"""A watcher survives what fails for one message: files that are gone, filters that raise, marking that breaks off."""

import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_messaging.exceptions import NotFound
from airflow_messaging.hooks import downloads
from airflow_messaging.messages import Message
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.serwersms import SerwerSms
from airflow_messaging.triggers import inbox, inbox_flight, inbox_reader

from .harness import SERVICES
from .watching import READ_FLAG, hurry, inbound, running, unread, until, watch

pytestmark = pytest.mark.usefixtures("connections", "variables")

FILE = {"filename": "a.jpg", "content_base64": "AAAA", "content_type": "image/jpeg"}
SENDER = "48500600700"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, short_backoff: None) -> None:
    monkeypatch.setattr(inbox, "STORED_AFTER_S", 0.2)
    monkeypatch.setattr(inbox_reader, "COMES_AGAIN_S", 0.5)
    hurry(monkeypatch)


@pytest.fixture
def picky_filter(monkeypatch: pytest.MonkeyPatch) -> str:
    def wanted(message: Any) -> bool:
        if "poison" in message.text:
            raise ValueError(message.text)
        return True

    module = ModuleType("picky_filters")
    module.wanted = wanted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return f"{module.__name__}.wanted"


@contextlib.asynccontextmanager
async def running_without_ack(service: str, **changes: Any) -> AsyncIterator[list[str]]:
    got: list[str] = []

    async def run() -> None:
        async for event in watch(service, ack=False, **changes).run():
            got.extend(message["id"] for message in event.payload["messages"])

    task = asyncio.ensure_future(run())
    try:
        yield got
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def stored(receipt: Any) -> Any:
    return SimpleNamespace(broker_payload=receipt, outcome=SimpleNamespace(is_clean=True))


@pytest.mark.newest
class TestMarkedAlong:
    async def test_what_is_marked_while_its_own_event_is_not_stored_comes_again(
        self, sandbox: RunningSandbox, variables: dict[str, str]
    ) -> None:
        """Two events bring the messages of one second, and only the first is stored before the triggerer dies."""
        await asyncio.to_thread(sandbox.clock, 0, frozen=True)
        sent = [await inbound(sandbox, "serwersms", text=text, sender=SENDER) for text in ("one", "two")]
        trigger = watch("serwersms", max_messages=1)
        producer = trigger.create_shared_stream_producer(trigger.arguments())
        stream = producer.open_stream()
        came = [await anext(stream) for _ in sent]
        assert [message["id"] for payload, _ in came for message in payload["messages"]] == sent
        await producer.advance([stored(came[0][1])])
        assert not await unread(sandbox, "serwersms") & set(sent)
        await stream.aclose()
        await producer.aclose()
        async with running(trigger) as triggerer:
            await until(lambda: triggerer.ids == sent[1:])
            await until(lambda: variables["airflow_messaging.watch_marked.serwersms_default:orders"] == "[]")

    async def test_what_is_marked_under_way_comes_once_if_all_is_well(
        self, sandbox: RunningSandbox, variables: dict[str, str]
    ) -> None:
        await asyncio.to_thread(sandbox.clock, 0, frozen=True)
        sent = [await inbound(sandbox, "serwersms", text=text, sender=SENDER) for text in ("one", "two", "three")]
        async with running(watch("serwersms", max_messages=1)) as triggerer:
            await until(lambda: triggerer.ids == sent)
            await asyncio.sleep(1)
            assert triggerer.ids == sent
        assert variables.get("airflow_messaging.watch_marked.serwersms_default:orders", "[]") == "[]"

    async def test_a_stop_while_the_service_marks_loses_nothing(self, sandbox: RunningSandbox) -> None:
        await asyncio.to_thread(sandbox.clock, 0, frozen=True)
        wanted = await inbound(sandbox, "serwersms", text="order 1", sender=SENDER)
        along = await inbound(sandbox, "serwersms", text="chatter", sender=SENDER)
        trigger = watch("serwersms", contains="order")
        producer = trigger.create_shared_stream_producer(trigger.arguments())
        stream = producer.open_stream()
        payload, receipt = await anext(stream)
        assert [message["id"] for message in payload["messages"]] == [wanted]
        slow = {"service": "serwersms", "delay_s": 2, "when": "after"}
        await asyncio.to_thread(sandbox.faults, [slow])
        marking = asyncio.ensure_future(producer.advance([stored(receipt)]))

        async with asyncio.timeout(20):
            while wanted in await unread(sandbox, "serwersms"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        marking.cancel()
        await asyncio.wait([marking])
        await stream.aclose()  # type: ignore[attr-defined]
        await producer.aclose()
        await asyncio.to_thread(sandbox.clear_faults)
        assert along not in await unread(sandbox, "serwersms")
        async with running(trigger) as triggerer:
            await until(lambda: triggerer.ids == [along])

    async def test_what_was_kept_and_could_not_be_marked_does_not_come_for_ever(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await asyncio.to_thread(sandbox.clock, 0, frozen=True)
        wanted = await inbound(sandbox, "serwersms", text="order 1", sender=SENDER)
        along = await inbound(sandbox, "serwersms", text="chatter", sender=SENDER)
        mark_read, refusals = SerwerSms.mark_read, iter(range(2))

        def refused_at_first(service: SerwerSms, messages: list[Message]) -> Any:
            if next(refusals, None) is not None:
                raise NotFound("serwersms", "messages/recived", status=404)
            return mark_read(service, messages)

        monkeypatch.setattr(SerwerSms, "mark_read", refused_at_first)
        async with running(watch("serwersms", contains="order")) as triggerer:
            await until(lambda: set(triggerer.ids) == {wanted, along} and next(refusals, None) is None, 20)
            await asyncio.sleep(2)
            came = len(triggerer.ids)
            await asyncio.sleep(1.5)
            assert len(triggerer.ids) == came
        assert not {wanted, along} & await unread(sandbox, "serwersms")


@pytest.mark.newest
class TestOneBadMessage:
    @pytest.mark.parametrize("service", READ_FLAG)
    async def test_files_that_are_too_large_hold_nothing_up(
        self,
        service: str,
        sandbox: RunningSandbox,
        tmp_path: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(downloads, "MAX_BYTES", 2)
        bad = await inbound(sandbox, service, text="a secret order", sender=SENDER, attachments=[FILE])
        async with running(watch(service, spool=f"file://{tmp_path}")) as triggerer:
            await until(lambda: triggerer.ids == [bad])
            (message,) = triggerer.stored[0]["messages"]
            assert message["attachments"]
            assert "files" not in message
            await asyncio.sleep(1.1)
            good = await inbound(sandbox, service, text="plain", sender=SENDER)
            await until(lambda: triggerer.ids == [bad, good])
            await asyncio.sleep(0.5)
        left = await unread(sandbox, service)
        assert good not in left
        assert (bad in left) is (service == "serwersms")
        assert f"message {bad} is handed over without its files" in caplog.text
        assert "secret" not in caplog.text
        assert SENDER not in caplog.text

    async def test_files_that_are_gone_hold_nothing_up(self, sandbox: RunningSandbox, tmp_path: Any) -> None:
        bad = await inbound(sandbox, "sendhub", attachments=[FILE])
        gone = {"service": "sendhub", "path": "/attachments/", "status": 404}
        await asyncio.to_thread(sandbox.faults, [gone])
        async with running(watch("sendhub", spool=f"file://{tmp_path}")) as triggerer:
            good = [await inbound(sandbox, "sendhub", text=f"plain {n}") for n in range(3)]
            await until(lambda: triggerer.ids == [bad, *good], 20)

    async def test_a_spool_that_cannot_be_written_is_no_messages_fault(
        self, sandbox: RunningSandbox, tmp_path: Any
    ) -> None:
        place = tmp_path / "spool"
        place.write_text("not a directory")
        sent = await inbound(sandbox, "sendhub", attachments=[FILE])
        async with running(watch("sendhub", spool=f"file://{place}")) as triggerer:
            await asyncio.sleep(1.5)
            assert triggerer.stored == []
            place.unlink()
            await until(lambda: triggerer.ids == [sent])
            assert "spooled" in triggerer.stored[0]["messages"][0]

    @pytest.mark.parametrize("service", SERVICES)
    async def test_a_filter_that_raises_is_skipped(
        self, service: str, sandbox: RunningSandbox, picky_filter: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        bad = await inbound(sandbox, service, text="poison")
        await asyncio.sleep(1.1)
        async with running(watch(service, after="earliest", callable=picky_filter)) as triggerer:
            for count in range(1, 4):
                await inbound(sandbox, service, text="plain")
                await until(lambda: len(triggerer.ids) >= count)  # noqa: B023
            await asyncio.sleep(0.5)
            assert bad not in triggerer.ids
        if service in READ_FLAG:
            assert bad in await unread(sandbox, service)
        assert caplog.text.count(f"message {bad} is passed over") == 1
        assert "poison" not in caplog.text


class TestWithoutAck:
    """Where nobody says when an event is stored, and acknowledging fails."""

    @pytest.fixture
    async def got(self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
        monkeypatch.setattr(inbox_flight, "MOST_IN_FLIGHT", 3)
        async with running_without_ack("sendhub") as got:
            yield got

    async def test_what_the_service_refuses_comes_again_and_takes_no_room(
        self, sandbox: RunningSandbox, got: list[str]
    ) -> None:
        refused = {"service": "sendhub", "path": "/v1/messages/", "status": 404}
        early = await inbound(sandbox, "sendhub")
        await until(lambda: got == [early])
        await asyncio.sleep(0.5)
        sent = []
        for _ in range(4):
            sent.append(await inbound(sandbox, "sendhub"))
            await until(lambda: sent[-1] in got)
            await asyncio.to_thread(sandbox.faults, [refused])
            await asyncio.sleep(0.4)
            await asyncio.to_thread(sandbox.clear_faults)
        await until(lambda: all(got.count(id_) > 1 for id_ in sent))
        await asyncio.sleep(1)
        assert not set(sent) & await unread(sandbox, "sendhub")

    async def test_airflow_that_cannot_store_a_variable_takes_no_room_either(
        self, sandbox: RunningSandbox, got: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.sdk import Variable

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError("no database")

        sent = [await inbound(sandbox, "sendhub")]
        await until(lambda: got == sent)
        await asyncio.sleep(0.5)
        monkeypatch.setattr(Variable, "set", refuse)
        for _ in range(5):
            sent.append(await inbound(sandbox, "sendhub"))
            await until(lambda: sent[-1] in got)


@pytest.mark.newest
async def test_what_cannot_be_marked_keeps_nobody_from_it(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_messaging.services import serwersms_wire

    def nameless(*arguments: Any) -> Message:
        message = read(*arguments)
        return dataclasses.replace(message, sender=None) if message.text == "who is this?" else message

    read = serwersms_wire._message
    monkeypatch.setattr(serwersms_wire, "_message", nameless)
    left = await inbound(sandbox, "serwersms", text="who is this?", sender=SENDER)
    marked = await inbound(sandbox, "serwersms", text="hello", sender="48500600701")
    async with running(watch("serwersms")) as triggerer:
        await until(lambda: set(triggerer.ids) == {left, marked})
        await asyncio.sleep(1)
        assert len(triggerer.ids) == 2
    unread_now = await unread(sandbox, "serwersms")
    assert left in unread_now
    assert marked not in unread_now
