"""A watcher, with Airflow's own shared streams and the sandbox: acknowledged is what is stored, and nothing else."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.triggers import inbox_flight
from airflow_messaging.triggers.inbox import InboxEvent, InboxTrigger

from .harness import SERVICES, as_json, as_stored
from .watching import CURSOR, READ_FLAG, hurry, inbound, running, unread, until, watch

pytestmark = pytest.mark.newest

texts = st.text(max_size=20)
json_values = st.none() | texts | st.dictionaries(texts, st.none() | texts | st.integers())
seconds = st.floats(0, 1e6)
triggers = st.builds(
    InboxTrigger,
    conn_id=texts,
    reader=st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True),
    after=json_values,
    sender=st.none() | texts,
    contains=st.none() | texts,
    matches=st.none() | texts,
    in_reply_to=st.none() | texts,
    callable=st.none() | texts,
    poke_interval=seconds,
    gather=seconds,
    flush_after=seconds,
    max_messages=st.integers(1, 1000),
    spool=st.none() | texts,
    ack=st.booleans(),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, short_backoff: None) -> None:
    hurry(monkeypatch)


class TestSerializing:
    @settings(deadline=None)
    @given(triggers)
    def test_comes_back_whole(self, trigger: InboxTrigger) -> None:
        path, kwargs = trigger.serialize()
        assert as_json(kwargs) == kwargs
        assert path == "airflow_messaging.triggers.inbox.InboxTrigger"
        assert as_stored(trigger).serialize() == trigger.serialize()

    @settings(deadline=None)
    @given(triggers)
    def test_the_same_arguments_share_a_stream(self, trigger: InboxTrigger) -> None:
        again = InboxTrigger(**trigger.arguments())
        assert again.shared_stream_key() == trigger.shared_stream_key()
        assert (trigger.shared_stream_key() is None) is not trigger.ack

    @pytest.mark.parametrize(
        "wrong",
        [
            {"reader": "a/b"},
            {"reader": ""},
            {"max_messages": 0},
            {"max_messages": True},
            {"gather": -1},
            {"gather": "soon"},
            {"flush_after": float("nan")},
            {"poke_interval": float("inf")},
            {"after": {1, 2}},
        ],
    )
    def test_what_cannot_be_used_is_refused_where_it_is_written(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput):
            watch("sendhub", **wrong)

    def test_events_do_not_show_their_messages(self) -> None:
        event = InboxEvent({"conn_id": "sendhub_default", "messages": [{"text": "secret", "sender": "+1555"}]})
        assert str(event) == repr(event) == "TriggerEvent<sendhub_default: 1 messages>"


@pytest.mark.usefixtures("connections", "variables")
class TestDelivery:
    @pytest.mark.parametrize("service", SERVICES)
    async def test_every_message_once_however_often_the_triggerer_dies(
        self, service: str, sandbox: RunningSandbox
    ) -> None:
        trigger, sent, got = watch(service, after="earliest"), [], []
        for round_ in range(4):
            sent.append(await inbound(sandbox, service, text=f"before {round_}"))
            async with running(trigger) as triggerer:
                sent.append(await inbound(sandbox, service, text=f"while {round_}"))
                await until(lambda: set(sent) <= {*got, *triggerer.ids})  # noqa: B023
                got += triggerer.ids
                # Time to acknowledge, so that no message has a reason to come twice.
                await asyncio.sleep(0.5)
                assert triggerer.errors == []
        assert sorted(got) == sorted(sent)

    @pytest.mark.parametrize("service", SERVICES)
    async def test_what_was_not_stored_comes_again(self, service: str, sandbox: RunningSandbox) -> None:
        trigger = watch(service, after="earliest")
        sent = {await inbound(sandbox, service) for _ in range(3)}
        async with running(trigger, storing=False):
            await asyncio.sleep(1)
        if service in READ_FLAG:
            assert await unread(sandbox, service) >= sent
        async with running(trigger) as triggerer:
            await until(lambda: set(triggerer.ids) == sent)

    @pytest.mark.parametrize("service", CURSOR)
    async def test_a_new_reader_keeps_its_beginning_though_nothing_has_come_yet(
        self, service: str, sandbox: RunningSandbox
    ) -> None:
        trigger = watch(service)
        await inbound(sandbox, service, text="too early")
        # A beginning is in whole seconds, and so is the service's Date.
        await asyncio.sleep(2.1)
        async with running(trigger):
            await asyncio.sleep(0.5)
        sent = await inbound(sandbox, service, text="while nobody was there")
        async with running(trigger) as triggerer:
            await until(lambda: triggerer.ids == [sent])

    @pytest.mark.parametrize("service", READ_FLAG)
    async def test_marked_read_is_what_is_stored(self, service: str, sandbox: RunningSandbox) -> None:
        wanted = await inbound(sandbox, service, text="order 1")
        # SerwerSMS marks what the same sender sent in the same second.
        await asyncio.sleep(1.1)
        other = await inbound(sandbox, service, text="chatter")
        async with running(watch(service, contains="order")) as triggerer:
            await until(lambda: triggerer.ids == [wanted])
            await asyncio.sleep(0.5)
        left = await unread(sandbox, service)
        assert wanted not in left
        assert other in left

    async def test_what_is_marked_read_along_with_others_is_handed_over(self, sandbox: RunningSandbox) -> None:
        await asyncio.to_thread(sandbox.clock, 0, frozen=True)
        wanted = await inbound(sandbox, "serwersms", text="order 1", sender="48500600700")
        along = await inbound(sandbox, "serwersms", text="chatter", sender="48500600700")
        async with running(watch("serwersms", contains="order")) as triggerer:
            await until(lambda: triggerer.ids == [wanted, along])

    async def test_what_was_marked_along_survives_the_triggerer(
        self, sandbox: RunningSandbox, variables: dict[str, str]
    ) -> None:
        await asyncio.to_thread(sandbox.clock, 0, frozen=True)
        await inbound(sandbox, "serwersms", text="order 1", sender="48500600700")
        along = await inbound(sandbox, "serwersms", text="chatter", sender="48500600700")
        async with running(watch("serwersms", contains="order")) as triggerer:
            await until(lambda: len(triggerer.ids) == 1)
            triggerer.storing = False
            await until(lambda: along in variables.get("airflow_messaging.watch_marked.serwersms_default:orders", ""))
        async with running(watch("serwersms", contains="order")) as triggerer:
            await until(lambda: triggerer.ids == [along])
            await asyncio.sleep(0.3)
        assert json.loads(variables["airflow_messaging.watch_marked.serwersms_default:orders"]) == []

    async def test_an_attachment_that_nobody_has_keeps_a_message_unread(self, sandbox: RunningSandbox) -> None:
        attachment = {"filename": "a.jpg", "content_base64": "AAAA", "content_type": "image/jpeg"}
        sent = await inbound(sandbox, "serwersms", attachments=[attachment])
        async with running(watch("serwersms")) as triggerer:
            await until(lambda: triggerer.ids == [sent])
            await asyncio.sleep(0.7)
            assert triggerer.ids == [sent]
        assert sent in await unread(sandbox, "serwersms")

    async def test_with_a_spool_it_is_marked_once_the_attachment_is_there(
        self, sandbox: RunningSandbox, tmp_path: Any
    ) -> None:
        attachment = {"filename": "a.jpg", "content_base64": "AAAA", "content_type": "image/jpeg"}
        sent = await inbound(sandbox, "serwersms", attachments=[attachment])
        async with running(watch("serwersms", spool=f"file://{tmp_path}")) as triggerer:
            await until(lambda: triggerer.ids == [sent])
            await asyncio.sleep(0.5)
        assert sent not in await unread(sandbox, "serwersms")
        assert [path.read_bytes() for path in tmp_path.rglob("a.jpg")] == [b"\0\0\0"]

    @pytest.mark.parametrize("service", SERVICES)
    async def test_a_service_that_is_down_is_asked_again(self, service: str, sandbox: RunningSandbox) -> None:
        fault = {"service": service, "status": 503}
        await asyncio.to_thread(sandbox.faults, [fault])
        async with running(watch(service, after="earliest")) as triggerer:
            await asyncio.sleep(0.5)
            await asyncio.to_thread(sandbox.clear_faults)
            sent = await inbound(sandbox, service)
            await until(lambda: triggerer.ids == [sent])
            assert triggerer.errors == []

    async def test_messages_that_come_together_travel_together(self, sandbox: RunningSandbox) -> None:
        sent = [await inbound(sandbox, "mdi", text=str(n)) for n in range(7)]
        async with running(watch("mdi", after="earliest", max_messages=3)) as triggerer:
            await until(lambda: triggerer.ids == sent)
            assert [len(payload["messages"]) for payload in triggerer.stored] == [3, 3, 1]

    async def test_a_bursts_tail_is_named_again(self, sandbox: RunningSandbox) -> None:
        async with running(watch("go_integrate", after="earliest", gather=0)) as triggerer:
            sent = []
            for _ in range(3):
                sent.append(await inbound(sandbox, "go_integrate"))
                await until(lambda: triggerer.ids == sent)
            await until(lambda: triggerer.stored[-1]["repeats"] == sent[1:])
            count = len(triggerer.stored)
            await asyncio.sleep(1)
            assert len(triggerer.stored) == count

    async def test_a_burst_whose_reader_dies_is_ended_by_the_next(self, sandbox: RunningSandbox) -> None:
        trigger = watch("go_integrate", after="earliest", gather=0, flush_after=1.5)
        async with running(trigger) as triggerer:
            for count in range(1, 4):
                await inbound(sandbox, "go_integrate")
                await until(lambda: len(triggerer.ids) == count)  # noqa: B023
            await asyncio.sleep(0.5)
        for events in (1, 0):
            async with running(trigger) as triggerer:
                await asyncio.sleep(2.5)
                assert [payload["messages"] for payload in triggerer.stored] == [[]] * events

    async def test_a_single_message_is_not_followed_by_anything(self, sandbox: RunningSandbox) -> None:
        async with running(watch("mdi", after="earliest")) as triggerer:
            sent = await inbound(sandbox, "mdi")
            await until(lambda: triggerer.ids == [sent])
            await asyncio.sleep(1.2)
            assert len(triggerer.stored) == 1


@pytest.mark.usefixtures("connections", "variables")
class TestTwoWatchers:
    @pytest.mark.parametrize("service", CURSOR)
    async def test_with_readers_of_their_own_each_gets_all(self, service: str, sandbox: RunningSandbox) -> None:
        first, second = watch(service, after="earliest"), watch(service, after="earliest", reader="others")
        async with running(first) as one, running(second) as two:
            sent = {await inbound(sandbox, service) for _ in range(3)}
            await until(lambda: set(one.ids) == set(two.ids) == sent)

    @pytest.mark.parametrize("service", READ_FLAG)
    async def test_where_there_is_a_read_flag_the_second_is_refused(
        self, service: str, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with running(watch(service)) as one:
            sent = [await inbound(sandbox, service)]
            await until(lambda: one.ids == sent)
            async with running(watch(service, reader="others")) as two:
                sent.append(await inbound(sandbox, service))
                await until(lambda: one.ids == sent)
                await until(lambda: "is watched by reader 'orders'" in caplog.text)
                assert two.stored == []

    async def test_one_reader_is_not_shared_by_watchers_that_differ(
        self, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with running(watch("mdi", after="earliest")) as one:
            await inbound(sandbox, "mdi")
            await until(lambda: len(one.ids) == 1)
            async with running(watch("mdi", after="earliest", contains="x")):
                await until(lambda: "another watcher reads as 'orders'" in caplog.text)


class TestFlight:
    def test_what_has_landed_is_left_out_until_no_list_can_show_it(self) -> None:
        from airflow_messaging.messages import Message

        now = 0.0
        flight = inbox_flight.Flight(now=lambda: now)
        messages = [Message(service="sendhub", id=id_) for id_ in "abc"]
        flight.takes_off(messages)
        flight.lands(messages[:1])
        flight.lands(messages[1:2], stale_s=float("inf"))
        assert set(flight.ids()) == {"a", "b", "c"}
        now = inbox_flight.STALE_S + 1
        assert set(flight.ids()) == {"b", "c"}

    def test_what_a_cursor_leaves_out_need_not_be_remembered(self) -> None:
        from airflow_messaging.messages import Message

        flight = inbox_flight.Flight()
        for number in range(3):
            message = Message(service="mdi", id=str(number))
            flight.takes_off([message])
            flight.lands([message], stale_s=0)
        assert flight.ids() == {}
        assert flight._left_out_until == {}
