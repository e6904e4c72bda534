"""A trigger may end its task by itself: with the result that a worker would have returned, and only where it can."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, task
from airflow.sdk.execution_time.comms import SetXCom
from airflow.triggers.base import DiscrimatedTriggerEvent, TaskSuccessEvent, TriggerEvent
from pydantic import TypeAdapter

from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.sensors.messages import MessageStatusSensor, NextMessageSensor
from airflow_messaging.triggers.carrying import INLINE_LIMIT

from .harness import SERVICES, FakeTaskInstance, as_json, as_stored, defer, new_context, outcome, resume

pytestmark = pytest.mark.usefixtures("connections", "short_backoff")

SECRET_TEXT = "the gate code is 4711"


def sensor(service: str = "sendhub", **arguments: Any) -> NextMessageSensor:
    given = {"task_id": "a_task", "conn_id": f"{service}_default", "poke_interval": 0.2, "timeout": 10}
    return NextMessageSensor(**{**given, "end_from_trigger": True, **arguments})


class Supervisor:
    """Takes the XComs that a trigger asks Airflow to store."""

    def __init__(self) -> None:
        self.asked: list[SetXCom] = []

    def send(self, message: Any) -> None:
        if isinstance(message, SetXCom):
            self.asked.append(message)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    from airflow.sdk.execution_time import task_runner

    asked = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", asked, raising=False)
    return asked


def run_in_triggerer(deferred: Any) -> TriggerEvent:
    """Run a trigger that knows its task, and return its event as it comes out of the triggerer's process."""
    trigger = as_stored(deferred.trigger)
    trigger.task_instance = FakeTaskInstance(map_index=3)

    async def run() -> TriggerEvent:
        (event,) = [event async for event in trigger.run()]
        return event

    adapter: TypeAdapter[TriggerEvent] = TypeAdapter(DiscrimatedTriggerEvent)
    return adapter.validate_python(as_json(adapter.dump_python(asyncio.run(run()), mode="json")))


def ended(deferred: Any, supervisor: Supervisor) -> Any:
    """Return the XComs of a task that was ended by its trigger."""
    event = run_in_triggerer(deferred)
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms is None
    for asked in supervisor.asked:
        ti = FakeTaskInstance()
        assert (asked.dag_id, asked.run_id, asked.task_id, asked.map_index) == (ti.dag_id, ti.run_id, ti.task_id, 3)
    return {asked.key: as_json(asked.value) for asked in supervisor.asked}


def ends(deferred: Any) -> bool:
    assert as_stored(deferred.trigger).serialize() == deferred.trigger.serialize()
    return bool(deferred.trigger.serialize()[1]["end_task"])


@pytest.mark.parametrize("max_messages", [None, 2])
@pytest.mark.parametrize("service", SERVICES)
def test_the_result_is_what_a_worker_returns(
    sandbox: RunningSandbox, supervisor: Supervisor, service: str, max_messages: int | None
) -> None:
    context = new_context()
    deferred = defer(sensor(service, max_messages=max_messages), context)
    sandbox.inbound(service, text="Gate B. Ünïcode, too.")
    result = ended(deferred, supervisor)["return_value"]
    how, returned = outcome(lambda: sensor(service, max_messages=max_messages, deferrable=False), context)
    for message in (result, returned) if max_messages is None else (*result, *returned):
        message["raw"].pop("request_id", None)
    assert (how, returned) == ("returned", result)
    assert isinstance(result, dict if max_messages is None else list)


def test_the_status_ends_likewise(sandbox: RunningSandbox, supervisor: Supervisor) -> None:
    sandbox.clock(0, frozen=True)
    receipt = SendMessageOperator(task_id="send", conn_id="serwersms_default", to="+48500600700", text="Hello").execute(
        new_context()
    )
    deferred = defer(
        MessageStatusSensor(
            task_id="a_task",
            conn_id="serwersms_default",
            message_id=receipt,
            wait_for="delivered",
            poke_interval=0.2,
            end_from_trigger=True,
        )
    )
    sandbox.clock(60)
    assert ended(deferred, supervisor) == {"return_value": "delivered"}


def test_nothing_of_it_is_logged(
    sandbox: RunningSandbox, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    deferred = defer(sensor())
    sandbox.inbound("sendhub", text=SECRET_TEXT, sender="+16505551234")
    with caplog.at_level("DEBUG"):
        event = run_in_triggerer(deferred)
    assert isinstance(event, TaskSuccessEvent)
    assert supervisor.asked[0].value["text"] == SECRET_TEXT
    for shown in (repr(event), str(event), caplog.text):
        assert "gate code" not in shown
        assert "+1650" not in shown


def test_a_result_that_cannot_be_stored_goes_through_a_worker(
    sandbox: RunningSandbox, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(message: Any) -> None:
        if isinstance(message, SetXCom):
            raise RuntimeError(SECRET_TEXT)

    monkeypatch.setattr(supervisor, "send", refuse)
    deferred = defer(sensor())
    sandbox.inbound("sendhub", text="x")
    event = run_in_triggerer(deferred)
    assert not isinstance(event, TaskSuccessEvent)
    assert resume(sensor(), deferred, event, new_context())["text"] == "x"


def test_without_an_xcom(sandbox: RunningSandbox, supervisor: Supervisor) -> None:
    deferred = defer(sensor(do_xcom_push=False))
    sandbox.inbound("sendhub", text="x")
    assert ended(deferred, supervisor) == {}


def test_off_unless_asked_for(sandbox: RunningSandbox) -> None:
    assert not ends(defer(sensor(end_from_trigger=False)))
    assert ends(defer(sensor()))


@pytest.mark.parametrize("arguments", [{}, {"soft_fail": True}, {"never_fail": True}])
@pytest.mark.parametrize("what", ["timeout", "error"])
def test_timeouts_and_errors_end_on_a_worker(sandbox: RunningSandbox, arguments: dict[str, Any], what: str) -> None:
    deferred = defer(sensor(timeout=0.6 if what == "timeout" else 10, **arguments))
    if what == "error":
        sandbox.faults([{"service": "sendhub", "status": 401}])
    event = run_in_triggerer(deferred)
    assert not isinstance(event, TaskSuccessEvent)
    assert event.payload["status"] == what
    expected = {"timeout": "AirflowSensorTimeout", "error": "AuthenticationFailed"}[what]
    if "never_fail" in arguments or (what == "timeout" and "soft_fail" in arguments):
        expected = "AirflowSkipException"
    with pytest.raises(Exception) as raised:
        resume(sensor(**arguments), deferred, event, new_context())
    assert type(raised.value).__name__ == expected


@pytest.mark.parametrize("spool", [True, False])
def test_messages_that_do_not_travel_whole_end_on_a_worker(
    sandbox: RunningSandbox, tmp_path: Path, spool: bool
) -> None:
    arguments = {"spool": str(tmp_path)} if spool else {}
    deferred = defer(sensor("liquidfiles", **arguments))
    sandbox.inbound("liquidfiles", text="x" * INLINE_LIMIT)
    event = run_in_triggerer(deferred)
    assert not isinstance(event, TaskSuccessEvent)
    message = resume(sensor("liquidfiles", **arguments), deferred, event, new_context())
    assert message["text"] == "x" * INLINE_LIMIT


class TestWhatAirflowDoesOnWorkersOnly:
    def test_outlets(self, sandbox: RunningSandbox) -> None:
        assert not ends(defer(sensor(outlets=[Asset("an_asset")])))

    def test_multiple_outputs(self, sandbox: RunningSandbox) -> None:
        assert not ends(defer(sensor(multiple_outputs=True)))

    @pytest.mark.parametrize("mapped", [True, False])
    def test_mapped_tasks_behind(self, sandbox: RunningSandbox, mapped: bool) -> None:
        with DAG("a_dag", schedule=None):
            found = sensor(max_messages=2)

            @task
            def deal_with(message: Any) -> None:
                """Nothing."""

            deal_with.expand(message=found.output) if mapped else deal_with(found.output)
        assert ends(defer(found)) is not mapped
