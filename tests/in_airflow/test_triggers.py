"""What runs in the triggerer: small, quiet, never blocking, and gone without a trace when it is cancelled."""

import asyncio
import gc
import json
import logging
import time
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat import connection as compat_connection
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_messaging import exceptions
from airflow_messaging.exceptions import AuthenticationFailed, InvalidInput, RateLimited
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.sensors.messages import NextMessageSensor
from airflow_messaging.triggers import failures, shared
from airflow_messaging.triggers.failures import pause_after
from airflow_messaging.triggers.messages import (
    MessageStatusTrigger,
    NextMessageTrigger,
    RedactedEvent,
    WaitTrigger,
)

from .harness import SERVICES, as_json, as_stored, defer, fire, later

SECRET_TEXT = "the gate code is 4711"
CURSOR = {"floor": None, "since": None, "seen": {}}

texts = st.text(max_size=20)
times = st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
cursors = st.fixed_dictionaries(
    {"floor": st.none() | times, "since": st.none() | times, "seen": st.dictionaries(texts, st.none() | times)}
)
common = {
    "conn_id": texts,
    "poke_interval": st.floats(0, 1e6),
    "end_at": times,
    "end_task": st.booleans(),
    "push_result": st.booleans(),
}
begins = st.fixed_dictionaries({"after": st.none() | texts | cursors, "run_started": times, "now": times})
triggers = st.builds(
    NextMessageTrigger,
    cursor=st.none() | cursors,
    begin=st.none() | begins,
    selection=st.none() | st.dictionaries(texts, texts),
    limit=st.none() | st.integers(1, 100),
    spool=st.none() | texts,
    inline_limit=st.integers(0, 10**9),
    **common,
) | st.builds(MessageStatusTrigger, message_id=texts, wait_for=texts, **common)


def next_message(service: str = "sendhub", *, seconds: float = 5, **changes: Any) -> NextMessageTrigger:
    end_at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    given = {"conn_id": f"{service}_default", "cursor": CURSOR, "poke_interval": 0.2, "end_at": end_at}
    return NextMessageTrigger(**{**given, **changes})


class TestSerializing:
    @settings(deadline=None)
    @given(triggers)
    def test_comes_back_whole(self, trigger: WaitTrigger) -> None:
        path, kwargs = trigger.serialize()
        assert as_json(kwargs) == kwargs
        assert path == f"airflow_messaging.triggers.messages.{type(trigger).__name__}"
        assert as_stored(trigger).serialize() == trigger.serialize()

    @settings(deadline=None)
    @given(triggers)
    def test_through_airflows_own_serialization(self, trigger: WaitTrigger) -> None:
        from airflow.models.trigger import Trigger

        path, kwargs = trigger.serialize()
        stored = Trigger(path, kwargs)
        assert type(trigger)(**stored.kwargs).serialize() == (path, kwargs)

    def test_arguments_of_other_versions_are_accepted(self) -> None:
        path, kwargs = next_message().serialize()
        assert NextMessageTrigger(**kwargs, from_the_future=[1]).serialize() == (path, kwargs)

    def test_no_secret_is_among_the_arguments(self, sandbox: RunningSandbox, connections: dict[str, Any]) -> None:
        for conn_id, connection in connections.items():
            trigger = defer(NextMessageSensor(task_id="a_task", conn_id=conn_id)).trigger
            stored = json.dumps(trigger.serialize())
            assert connection["password"] not in stored
            assert connection.get("login", "none") not in stored


class TestEvents:
    def test_their_repr_shows_nothing(self) -> None:
        event = RedactedEvent({"status": "found", "message": {"text": SECRET_TEXT, "sender": "+48500600700"}})
        for shown in (repr(event), str(event), f"{event}", f"{event!r}", repr([event])):
            assert "found" in shown
            assert "4711" not in shown
            assert "+48" not in shown

    @settings(deadline=None)
    @given(
        st.sampled_from(
            [
                InvalidInput("extra", ["a", "b"], "only c"),
                InvalidInput("limit", 0, "at least 1"),
                RateLimited("mdi", "messages", status=429, retry_after=3.5, message="slow down"),
                AuthenticationFailed("mdi", "messages", status=401, code="1", request_id="x"),
                exceptions.UnsupportedFeature("mdi", "x"),
                exceptions.ProtocolError("mdi", "messages", "x"),
                exceptions.DeliveryUnknown("mdi", "messages", "x", "1"),
                exceptions.DeliveryFailed("mdi", "1"),
                exceptions.MessageTooLarge("mdi", "messages", 5),
            ]
        )
    )
    def test_errors_arrive_whole(self, error: exceptions.MessagingError) -> None:
        again = exceptions.from_dict(as_json(exceptions.to_dict(error)))
        assert (type(again), str(again)) == (type(error), str(error))
        assert vars(again).keys() == vars(error).keys()
        assert getattr(again, "retry_after", None) == getattr(error, "retry_after", None)


@pytest.mark.usefixtures("connections")
class TestRunning:
    def run(self, trigger: WaitTrigger) -> dict[str, Any]:
        payload: dict[str, Any] = as_json(asyncio.run(fire(trigger)).payload)
        return payload

    @pytest.mark.parametrize("service", SERVICES)
    def test_one_event_then_the_end(self, sandbox: RunningSandbox, service: str) -> None:
        message_id = sandbox.inbound(service, text="x")
        event = self.run(next_message(service))
        assert (event["status"], event["messages"][0]["id"]) == ("found", message_id)

    @pytest.mark.parametrize("seconds", [0.4, 0, -3600])
    def test_the_time_is_over(self, sandbox: RunningSandbox, seconds: float) -> None:
        assert self.run(next_message(seconds=seconds)) == {"status": "timeout"}

    @pytest.mark.usefixtures("short_backoff")
    def test_a_timeout_of_something_else_is_not_the_end_of_the_wait(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def too_slow(*_: Any) -> Any:
            raise TimeoutError("the secrets backend does not answer")

        monkeypatch.setattr(compat_connection, "get_async_connection", too_slow)
        event = self.run(next_message())
        assert (event["status"], event["error"]["type"]) == ("error", "LookUpFailed")
        assert "TimeoutError" in event["error"]["args"][0]

    @pytest.mark.usefixtures("short_backoff")
    def test_a_missing_connection(self, sandbox: RunningSandbox) -> None:
        event = self.run(next_message(conn_id="nowhere"))
        assert event["status"] == "error"
        assert "nowhere" in event["error"]["args"][0]

    def test_a_damaged_cursor(self, sandbox: RunningSandbox) -> None:
        event = self.run(next_message(cursor={"seen": 1}))
        assert event["error"]["type"] == "InvalidInput"

    def test_the_connection_is_looked_up_once(self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        looked_up: list[str] = []
        real = compat_connection.get_async_connection

        async def counting(conn_id: str, *arguments: Any) -> Any:
            looked_up.append(conn_id)
            return await real(conn_id, *arguments)

        monkeypatch.setattr(compat_connection, "get_async_connection", counting)
        assert self.run(next_message(seconds=1))["status"] == "timeout"
        assert looked_up == ["sendhub_default"]
        assert len(sandbox.journal("sendhub")) > 2

    def test_it_pauses_as_long_as_the_service_asks(self) -> None:
        refused = [RateLimited("mdi", "messages", status=429, retry_after=wait) for wait in (None, 120.0, 1e12)]
        assert pause_after(1, 0.2, refused[0]) <= 2
        assert 30 <= pause_after(50, 0.2, refused[0]) <= 60
        assert pause_after(1, 0.2, refused[1]) == 120
        assert pause_after(1, 0.2, refused[2]) == 3600

    @pytest.mark.parametrize("waits_for", ["message", "status"])
    def test_an_unreachable_service_is_asked_less_and_less_often(
        self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, waits_for: str
    ) -> None:
        counts: list[int] = []
        for module in (failures, shared):
            monkeypatch.setattr(module, "pause_after", lambda count, *_: counts.append(count) or 0.05)
        sandbox.faults([{"service": "sendhub", "status": 503}])
        trigger: WaitTrigger = next_message(seconds=0.8)
        if waits_for == "status":
            arguments = {"conn_id": "sendhub_default", "poke_interval": 0.2, "end_at": trigger.end_at}
            trigger = MessageStatusTrigger(message_id="25", wait_for="sent", **arguments)
        assert self.run(trigger) == {"status": "timeout"}
        assert len(counts) > 2
        assert counts == [*range(1, len(counts) + 1)]


@pytest.mark.usefixtures("connections")
class TestManners:
    @pytest.mark.usefixtures("short_backoff")
    def test_one_warning_per_change_of_state(self, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture) -> None:
        trigger = next_message(seconds=3)
        log = logging.getLogger("airflow_messaging.triggers.shared")
        caplog.set_level(logging.DEBUG)
        sandbox.faults([{"service": "sendhub", "status": 503, "times": 9}])
        with later(0.9, sandbox.inbound, "sendhub", text=SECRET_TEXT, sender="+16505551234"):
            event = asyncio.run(fire(trigger))
        assert event.payload["messages"][0]["text"] == SECRET_TEXT
        said = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == log.name]
        assert [level for level, _ in said] == ["WARNING", "INFO"], said
        everything = "\n".join(record.getMessage() + str(record.args) for record in caplog.records)
        for secret in (SECRET_TEXT, "+16505551234", sandbox.credentials["sendhub"]["api_key"]):
            assert secret not in everything

    @pytest.mark.parametrize("service", SERVICES)
    def test_cancelling_leaves_nothing_open(
        self, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture, service: str
    ) -> None:
        complaints: list[Any] = []

        async def cancelled() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _loop, context: complaints.append(context))
            before = asyncio.all_tasks()
            running = asyncio.ensure_future(anext(next_message(service, seconds=60).run()))
            deadline = time.monotonic() + 5
            while not await asyncio.to_thread(sandbox.journal, service):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            gc.collect()
            await asyncio.sleep(0.05)
            assert asyncio.all_tasks() == before

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ResourceWarning)
            asyncio.run(cancelled())
            gc.collect()
        assert complaints == []
        assert [str(warning.message) for warning in warned if "nclosed" in str(warning.message)] == []
        assert "nclosed" not in caplog.text

    @pytest.mark.undisturbed
    @pytest.mark.parametrize("service", SERVICES)
    def test_the_event_loop_is_never_held_up(
        self, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture, service: str
    ) -> None:
        """Twice in a row, because a busy machine holds things up, too."""
        sandbox.inbound(service, text="x" * 1000)
        asyncio.run(fire(next_message(service)))  # imports

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.slow_callback_duration = 0.05
            await fire(next_message(service))
            await fire(next_message(service, seconds=0.5, cursor={**CURSOR, "floor": "2100-01-01T00:00:00+00:00"}))

        slow: list[str] = []
        for _ in range(3):
            caplog.clear()
            with caplog.at_level(logging.WARNING, "asyncio"):
                asyncio.run(watched(), debug=True)
            slow = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
            if not slow:
                return
        assert slow == []

    @pytest.mark.undisturbed
    def test_not_even_by_the_first_import(self, sandbox: RunningSandbox) -> None:
        """In a fresh process, the HTTP libraries are imported in a thread."""
        import subprocess
        import sys

        script = """
import asyncio, json, sys, time
from airflow_messaging.triggers.messages import NextMessageTrigger

gaps = []

async def watch():
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        gaps.append(time.perf_counter() - begun)

async def main():
    from airflow.providers.common.compat.connection import get_async_connection
    await get_async_connection("sendhub_default")  # Airflow's own imports
    watching = asyncio.create_task(watch())
    events = [event async for event in NextMessageTrigger(**json.loads(sys.argv[1])).run()]
    watching.cancel()
    print(json.dumps([events[0].payload["status"], max(gaps)]))

asyncio.run(main())
"""
        sandbox.inbound("sendhub", text="x")
        gap = float("inf")
        for _ in range(3):
            argument = json.dumps(next_message(seconds=30).serialize()[1])
            finished = subprocess.run(
                [sys.executable, "-c", script, argument], capture_output=True, text=True, timeout=60, check=True
            )
            status, gap = json.loads(finished.stdout.splitlines()[-1])
            assert status == "found"
            if gap < 0.2:
                return
        assert gap < 0.2
