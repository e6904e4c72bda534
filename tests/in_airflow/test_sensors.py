"""Where a wait begins, how long it lasts, and what a reader keeps."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException
from airflow.sdk import DAG

from airflow_messaging import readers
from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.operators.messages import MarkMessagesReadOperator, SendMessageOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.sensors.messages import MessageStatusSensor, NextMessageSensor
from airflow_messaging.services.receiving import Cursor

from .harness import SERVICES, WITHOUT_READ_FLAG, as_stored, defer, fire, new_context, resume

pytestmark = pytest.mark.usefixtures("connections", "short_backoff", "variables")


def look_once(service: str, context: Any = None, **arguments: Any) -> Any:
    """Return the message that a sensor finds at its first look, or None."""
    given = {"task_id": "a_task", "conn_id": f"{service}_default", "deferrable": False, "timeout": 0}
    sensor = NextMessageSensor(**{**given, **arguments})
    context = context or new_context()
    sensor.render_template_fields(context)
    try:
        return sensor.execute(context)
    except AirflowSensorTimeout:
        return None


def mark_read(service: str, messages: Any, **arguments: Any) -> Any:
    operator = MarkMessagesReadOperator(
        task_id="mark", conn_id=f"{service}_default", messages=messages, **{"reader": "r", **arguments}
    )
    return operator.execute(new_context())


def arrivals(sandbox: RunningSandbox, service: str, *seconds: float) -> list[str]:
    """Let messages arrive, each so many seconds ago."""
    ids = []
    for ago in seconds:
        sandbox.clock(-ago)
        ids.append(sandbox.inbound(service, text=f"{ago} s ago"))
    sandbox.clock(0)
    return ids


class TestWhereItBegins:
    @pytest.mark.parametrize("service", WITHOUT_READ_FLAG)
    def test_with_the_run_where_there_is_no_read_flag(self, sandbox: RunningSandbox, service: str) -> None:
        _before, during = arrivals(sandbox, service, 600, 60)
        assert look_once(service, new_context(started_ago=300))["id"] == during

    @pytest.mark.parametrize("service", ["serwersms", "sendhub"])
    def test_with_what_is_unread_otherwise(self, sandbox: RunningSandbox, service: str) -> None:
        before, _during = arrivals(sandbox, service, 600, 60)
        assert look_once(service, new_context(started_ago=300))["id"] == before

    @pytest.mark.parametrize("service", SERVICES)
    def test_earliest_and_now(self, sandbox: RunningSandbox, service: str) -> None:
        first, _ = arrivals(sandbox, service, 600, 60)
        assert look_once(service, after="earliest")["id"] == first
        assert look_once(service, after="now") is None

    def test_a_time_without_a_zone_is_in_the_connections(
        self, sandbox: RunningSandbox, connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import json

        connection = connections["mdi_default"]
        connection["extra"] = {**connection["extra"], "timezone": "America/New_York"}
        monkeypatch.setenv("AIRFLOW_CONN_MDI_DEFAULT", json.dumps(connection))
        before, during = arrivals(sandbox, "mdi", 1200, 300)
        ten_minutes_ago = datetime.now(UTC) - timedelta(minutes=10)
        in_new_york = ten_minutes_ago.astimezone(ZoneInfo("America/New_York"))
        for after in (in_new_york.replace(tzinfo=None), in_new_york, ten_minutes_ago):
            for given in (after, after.isoformat(), str(after)):
                message = look_once("mdi", after=given)
                assert message["id"] == during
                assert datetime.fromisoformat(message["received_at"]).utcoffset() == timedelta(0)
        assert look_once("mdi", after=(in_new_york - timedelta(minutes=30)).isoformat())["id"] == before

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_message_a_receipt_or_a_cursor(self, sandbox: RunningSandbox, service: str) -> None:
        _, _, second = arrivals(sandbox, service, 600, 300, 60)
        first = look_once(service, after=str(datetime.now(UTC) - timedelta(seconds=400)))
        assert look_once(service, after=first)["id"] == second
        receipt = {"service": service, "id": "1", "status": "sent", "sent_at": first["received_at"]}
        assert look_once(service, after=receipt)["id"] == first["id"]
        cursor = Cursor(seen={first["id"]: None}, floor=datetime.now(UTC) - timedelta(seconds=400))
        assert look_once(service, after=cursor.to_dict())["id"] == second

    @pytest.mark.parametrize("native", [False, True])
    def test_from_xcom(self, sandbox: RunningSandbox, native: bool) -> None:
        old, new = arrivals(sandbox, "mdi", 600, 60)
        context = new_context(xcom={"send": look_once("mdi", after="earliest"), "when": "2020-01-01T00:00:00Z"})
        with DAG("a_dag", schedule=None, render_template_as_native_obj=native) as dag:
            sensor = NextMessageSensor(
                task_id="a_task",
                conn_id="{{ 'mdi' }}_default",
                after="{{ ti.xcom_pull('send' if native else 'when') }}".replace("native", str(native)),
                deferrable=False,
                timeout=0,
            )
        assert sensor.dag is dag
        sensor.render_template_fields(context)
        assert isinstance(sensor.after, dict if native else str)
        assert sensor.execute(context)["id"] == (new if native else old)

    @pytest.mark.parametrize(
        "after",
        ["tomorrow", "", "None", 5, ["earliest"], {}, {"id": "1"}, {"seen": 1}, {"service": "mdi", "id": "1"}, b"now"],
    )
    @pytest.mark.parametrize("deferrable", [False, True])
    def test_garbage(self, sandbox: RunningSandbox, after: Any, deferrable: bool) -> None:
        with pytest.raises(InvalidInput):
            look_once("mdi", after=after, deferrable=deferrable)
        assert sandbox.journal() == []

    def test_a_receipt_without_a_time_is_no_place_to_begin(self, sandbox: RunningSandbox) -> None:
        arrivals(sandbox, "mdi", 600)
        with pytest.raises(InvalidInput, match="after"):
            look_once("mdi", after={"service": "mdi", "id": "1", "status": "sent", "sent_at": None})

    def test_after_and_reader_exclude_each_other(self) -> None:
        with pytest.raises(ValueError, match="reader"):
            NextMessageSensor(task_id="a_task", conn_id="mdi_default", after="now", reader="r")


class TestHowLong:
    def make(self, **arguments: Any) -> NextMessageSensor:
        given = {"task_id": "a_task", "conn_id": "go_integrate_default", "timeout": 30, "poke_interval": 0.2}
        return NextMessageSensor(**{**given, **arguments})

    def test_deferrable_is_the_default(self, sandbox: RunningSandbox) -> None:
        deferred = defer(self.make())
        assert deferred.method_name == "execute_complete"

    def test_airflow_is_told_the_rest_of_the_time_and_a_minute(self, sandbox: RunningSandbox) -> None:
        sandbox.faults([{"service": "go_integrate", "delay_s": 0.5, "times": 1}])
        deferred = defer(self.make())
        assert timedelta(seconds=80) < deferred.timeout < timedelta(seconds=89.5)
        end_at = datetime.fromisoformat(deferred.trigger.serialize()[1]["end_at"])
        assert timedelta(seconds=20) < end_at - datetime.now(UTC) < timedelta(seconds=29.5)

    def test_an_interrupted_trigger_runs_only_for_the_rest(self, sandbox: RunningSandbox) -> None:
        trigger = defer(self.make(timeout=1.5)).trigger

        async def interrupted() -> tuple[float, Any]:
            begun = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(as_stored(trigger).run()), 0.7)
            event = await fire(as_stored(trigger))
            return asyncio.get_running_loop().time() - begun, event.payload

        took, payload = asyncio.run(interrupted())
        assert payload == {"status": "timeout"}
        assert 1.0 < took < 2.2

    def test_what_arrives_while_no_triggerer_runs_is_found_by_the_next(self, sandbox: RunningSandbox) -> None:
        deferred = defer(self.make())
        message_id = sandbox.inbound("go_integrate", text="meanwhile")
        event = asyncio.run(fire(as_stored(deferred.trigger)))
        assert resume(self.make(), deferred, event, new_context())["id"] == message_id

    @pytest.mark.parametrize(
        ("arguments", "expected"), [({}, AirflowSensorTimeout), ({"soft_fail": True}, AirflowSkipException)]
    )
    def test_airflows_own_timeout_stands_behind(
        self, sandbox: RunningSandbox, arguments: dict[str, Any], expected: type[Exception]
    ) -> None:
        sensor = self.make(**arguments)
        with pytest.raises(expected):
            sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, new_context())

    def test_poke_mode_waits_as_long_as_the_service_asks(self, sandbox: RunningSandbox) -> None:
        sandbox.inbound("sendhub", text="still here")
        body = {"message": "slow down", "timeLeft": "0:00:01"}
        sandbox.faults([{"service": "sendhub", "status": 429, "body": body, "times": 1}])
        begun = datetime.now(UTC)
        sensor = self.make(conn_id="sendhub_default", deferrable=False)
        assert sensor.execute(new_context())["text"] == "still here"
        assert timedelta(seconds=1) <= datetime.now(UTC) - begun < timedelta(seconds=5)
        assert len(sandbox.journal("sendhub")) == 1 + 2  # refused; inbox and thread


class TestReader:
    @pytest.mark.parametrize("service", WITHOUT_READ_FLAG)
    def test_a_run_begins_where_the_last_one_has_marked(self, sandbox: RunningSandbox, service: str) -> None:
        first, second = arrivals(sandbox, service, 60, 30)
        run = new_context(started_ago=300)
        found = look_once(service, run, reader="r")
        assert found["id"] == first
        assert look_once(service, new_context(started_ago=0), reader="r")["id"] == first  # nobody has marked it
        assert mark_read(service, found) == {"acknowledged": [first], "also_received": []}
        # The next run begins after both have arrived, and misses neither.
        found = look_once(service, new_context(started_ago=0), reader="r")
        assert found["id"] == second
        mark_read(service, found)
        assert look_once(service, new_context(started_ago=0), reader="r") is None
        third = sandbox.inbound(service, text="between two runs")
        assert look_once(service, new_context(started_ago=0), reader="r")["id"] == third

    @pytest.mark.parametrize("service", WITHOUT_READ_FLAG)
    def test_marking_the_second_first_keeps_the_first(self, sandbox: RunningSandbox, service: str) -> None:
        first, second = arrivals(sandbox, service, 2000, 30)
        run = new_context(started_ago=4000)
        first_message = look_once(service, run, reader="r")
        second_message = look_once(service, run, after=first_message)
        assert (first_message["id"], second_message["id"]) == (first, second)
        mark_read(service, second_message)
        assert look_once(service, run, reader="r")["id"] == first
        mark_read(service, first_message)
        assert look_once(service, run, reader="r") is None

    def test_readers_are_independent(self, sandbox: RunningSandbox, variables: dict[str, str]) -> None:
        (only,) = arrivals(sandbox, "mdi", 60)
        run = new_context(started_ago=300)
        mark_read("mdi", look_once("mdi", run, reader="a"), reader="a")
        assert look_once("mdi", run, reader="a") is None
        assert look_once("mdi", run, reader="b")["id"] == only
        kept = {name for name in variables if name.startswith("airflow_messaging.reader.")}
        assert kept == {f"airflow_messaging.reader.mdi_default:{name}" for name in "ab"}
        assert readers.load("mdi_default", "c") is None

    def test_a_message_given_by_its_id(self, sandbox: RunningSandbox) -> None:
        (only,) = arrivals(sandbox, "go_integrate", 60)
        run = new_context(started_ago=300)
        assert look_once("go_integrate", run, reader="r")["id"] == only
        mark_read("go_integrate", only)
        assert look_once("go_integrate", run, reader="r") is None

    @pytest.mark.parametrize("service", ["serwersms", "sendhub"])
    def test_where_there_is_a_read_flag_it_counts(
        self, sandbox: RunningSandbox, variables: dict[str, str], service: str
    ) -> None:
        first, second = arrivals(sandbox, service, 60, 30)
        found = look_once(service, reader="r")
        assert found["id"] == first
        mark_read(service, found)
        assert look_once(service, reader="r")["id"] == second
        assert variables == {}

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 101])
    def test_names(self, sandbox: RunningSandbox, name: Any) -> None:
        with pytest.raises(InvalidInput, match="reader"):
            look_once("mdi", reader=name)

    def test_a_damaged_place_is_refused(self, sandbox: RunningSandbox, variables: dict[str, str]) -> None:
        variables["airflow_messaging.reader.mdi_default:r"] = '{"floor": "yesterday"}'
        with pytest.raises(InvalidInput, match="cursor"):
            look_once("mdi", reader="r")


def test_the_receipt_leads_from_sending_to_the_answer(sandbox: RunningSandbox) -> None:
    context = new_context()
    send = SendMessageOperator(task_id="send", conn_id="sendhub_default", to="1111", text="Hello")
    receipt = send.execute(context)
    sent = MessageStatusSensor(
        task_id="sent", conn_id="sendhub_default", message_id=receipt, deferrable=False, poke_interval=0.2, timeout=5
    )
    assert sent.execute(context) == "sent"
    message = look_once("sendhub", context, after=receipt, timeout=5, poke_interval=0.2)
    assert message["text"] == "Hello"
