"""However a sensor waits, it ends the same way."""

from collections.abc import Callable
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.sensors.messages import MessageStatusSensor, NextMessageSensor

from .harness import MODES, SERVICES, as_json, later, new_context, outcome

pytestmark = pytest.mark.usefixtures("connections", "short_backoff")

ONE_OF_EACH_KIND = ("go_integrate", "sendhub")
SLOW_DOWN = {"status": 429, "body": "{}"}  # SendHub's own says to come back after 30 s
MakeSensor = Callable[[], Any]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def next_message(service: str, mode: str, *, timeout: float = 3.0, **arguments: Any) -> MakeSensor:
    given = {"task_id": "a_task", "conn_id": f"{service}_default", "poke_interval": 0.2, "timeout": timeout}
    return lambda: NextMessageSensor(**{**given, **MODES[mode], **arguments})


@pytest.mark.parametrize("service", SERVICES)
def test_a_message_that_is_there_comes_alike_in_all_modes(sandbox: RunningSandbox, service: str) -> None:
    context = new_context()
    first = sandbox.inbound(service, text="Gate B. Ünïcode, too.", subject="Stop 4")
    sandbox.clock(2)
    sandbox.inbound(service, text="the second", subject="Stop 5")
    outcomes = [outcome(next_message(service, mode), context) for mode in MODES]
    for _, message in outcomes:
        message["raw"].pop("request_id", None)
    assert outcomes[0] == outcomes[1] == outcomes[2]
    ended, message = outcomes[0]
    assert (ended, message["id"], message["service"]) == ("returned", first, service)
    assert message["text"] == "Gate B. Ünïcode, too."
    assert message["received_at"].endswith("+00:00")


@pytest.mark.parametrize("service", SERVICES)
def test_a_message_that_comes_later(sandbox: RunningSandbox, service: str, mode: str) -> None:
    with later(0.3, sandbox.inbound, service, text="at last"):
        ended, message = outcome(next_message(service, mode))
    assert (ended, message["text"]) == ("returned", "at last")
    assert message["id"] == sandbox.messages(service)["waiting"][0]["id"]
    look = next_message(service, "poke")()
    assert {**as_json(look.execute(new_context())), "raw": None} == {**message, "raw": None}


def test_now_means_when_the_task_first_ran(sandbox: RunningSandbox, mode: str) -> None:
    """Also in reschedule mode, where each look is a new process."""
    service = "go_integrate"
    sandbox.clock(-60)
    sandbox.inbound(service, text="too old")
    sandbox.clock(0)
    with later(0.5, sandbox.inbound, service, text="at last"):
        # With seconds between two looks, the message would be older than the second look's present.
        ended, message = outcome(next_message(service, mode, after="now", poke_interval=1.2, timeout=5))
    assert (ended, message["text"]) == ("returned", "at last")


@pytest.mark.parametrize("service", ONE_OF_EACH_KIND)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "AirflowSensorTimeout"),
        ({"soft_fail": True}, "AirflowSkipException"),
        ({"never_fail": True}, "AirflowSkipException"),
    ],
    ids=["plain", "soft_fail", "never_fail"],
)
def test_nothing_comes(
    sandbox: RunningSandbox, service: str, mode: str, arguments: dict[str, Any], expected: str
) -> None:
    assert outcome(next_message(service, mode, timeout=0.3, **arguments)) == ("raised", expected)


@pytest.mark.parametrize("service", SERVICES)
def test_refused_credentials(sandbox: RunningSandbox, service: str, mode: str) -> None:
    sandbox.faults([{"service": service, "status": 401}])
    assert outcome(next_message(service, mode)) == ("raised", "AuthenticationFailed")


@pytest.mark.parametrize("service", SERVICES)
def test_credentials_refused_once_the_wait_has_begun(sandbox: RunningSandbox, service: str) -> None:
    """In the triggerer this ends the wait, and the error arrives typed."""
    with later(0.2, sandbox.faults, [{"service": service, "status": 401}]):
        assert outcome(next_message(service, "deferrable")) == ("raised", "AuthenticationFailed")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"soft_fail": True}, "AuthenticationFailed"), ({"never_fail": True}, "AirflowSkipException")],
)
@pytest.mark.parametrize("after_s", [0, 0.2])
def test_what_becomes_of_refused_credentials(
    sandbox: RunningSandbox, mode: str, arguments: dict[str, Any], expected: str, after_s: float
) -> None:
    with later(after_s, sandbox.faults, [{"service": "sendhub", "status": 401}]):
        assert outcome(next_message("sendhub", mode, **arguments)) == ("raised", expected)


@pytest.mark.parametrize("service", ONE_OF_EACH_KIND)
@pytest.mark.parametrize(
    "fault", [SLOW_DOWN, {"status": 503}, {"reset": True}], ids=["slow down", "unavailable", "reset"]
)
def test_a_service_that_is_out_of_reach_for_a_while(
    sandbox: RunningSandbox, service: str, mode: str, fault: dict[str, Any]
) -> None:
    message_id = sandbox.inbound(service, text="still here")
    sandbox.faults([{"service": service, "times": 6, **fault}])
    ended, message = outcome(next_message(service, mode, after="earliest", timeout=10))
    assert (ended, message["id"]) == ("returned", message_id)


@pytest.mark.parametrize("fault", [{"status": 429}, {"reset": True}])
def test_a_service_that_stays_out_of_reach_is_a_timeout(
    sandbox: RunningSandbox, mode: str, fault: dict[str, Any]
) -> None:
    sandbox.faults([{"service": "sendhub", **fault}])
    assert outcome(next_message("sendhub", mode, timeout=0.5)) == ("raised", "AirflowSensorTimeout")


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_large_message_is_the_same_in_all_modes(sandbox: RunningSandbox, when: str) -> None:
    """It does not travel through the triggerer, and yet nothing of it is missing."""
    context = new_context()
    text = "x" * (64 * 1024 - 100)
    outcomes = []
    for mode in MODES:
        sandbox.reset()
        with later(0.3 if when == "later" else 0, sandbox.inbound, "go_integrate", text=text, expires_after=600):
            ended, message = outcome(next_message("go_integrate", mode, timeout=5), context)
        assert (ended, message["text"]) == ("returned", text)
        known = ("received_at", "expires_at", "subject", "recipients", "in_reply_to")
        outcomes.append({name: message[name] is not None for name in known} | {"raw": sorted(message["raw"])})
    assert outcomes[0] == outcomes[1] == outcomes[2]


class TestStatus:
    def make(self, service: str, mode: str, receipt: Any, **arguments: Any) -> MakeSensor:
        given = {"task_id": "a_task", "conn_id": f"{service}_default", "poke_interval": 0.2, "timeout": 5}
        return lambda: MessageStatusSensor(**{**given, "message_id": receipt, **MODES[mode], **arguments})

    def send(self, service: str, to: str) -> dict[str, Any]:
        from airflow_messaging.operators.messages import SendMessageOperator

        options = {"channelid": 11, "timeout": 0} if service == "mdi" else {}
        operator = SendMessageOperator(
            task_id="send", conn_id=f"{service}_default", to=to, text="Hello", options=options
        )
        receipt: dict[str, Any] = operator.execute(new_context())
        return receipt

    @pytest.mark.parametrize(
        ("service", "to", "wait_for"),
        [("mdi", "17", "sent"), ("serwersms", "+48500600700", "sent"), ("sendhub", "1111", "sent")],
    )
    def test_reached_later(self, sandbox: RunningSandbox, mode: str, service: str, to: str, wait_for: str) -> None:
        sandbox.clock(0, frozen=True)
        receipt = self.send(service, to)
        # From one second on it is sent, and from two on delivered, where a busy machine may have brought the clock.
        with later(0.3, sandbox.clock, 0.9, frozen=True):
            ended, status = outcome(self.make(service, mode, receipt, wait_for=wait_for))
        assert ended == "returned"
        assert status in ("sent", "delivered")
        assert outcome(self.make(service, mode, receipt["id"], wait_for="queued")) == ("returned", status)

    def test_delivered(self, sandbox: RunningSandbox, mode: str) -> None:
        receipt = self.send("serwersms", "+48500600700")
        sandbox.clock(60)
        assert outcome(self.make("serwersms", mode, receipt, wait_for="delivered")) == ("returned", "delivered")

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, "DeliveryFailed"),
            ({"soft_fail": True}, "DeliveryFailed"),
            ({"never_fail": True}, "AirflowSkipException"),
        ],
    )
    def test_failed(self, sandbox: RunningSandbox, mode: str, arguments: dict[str, Any], expected: str) -> None:
        receipt = self.send("mdi", "18")  # a unit that is offline, and no time to wait for it
        assert outcome(self.make("mdi", mode, receipt, **arguments)) == ("raised", expected)

    def test_too_late(self, sandbox: RunningSandbox, mode: str) -> None:
        receipt = self.send("serwersms", "+48500600700")
        sandbox.clock(0, frozen=True)
        make = self.make("serwersms", mode, receipt, wait_for="delivered", timeout=0.5)
        assert outcome(make) == ("raised", "AirflowSensorTimeout")

    @pytest.mark.parametrize(
        ("service", "arguments", "expected"),
        [
            ("sendhub", {"wait_for": "garbage"}, "InvalidInput"),
            ("sendhub", {"message_id": None}, "InvalidInput"),
            ("sendhub", {"message_id": {"service": "sendhub"}}, "InvalidInput"),
            ("mdi", {"message_id": "nonsense"}, "InvalidInput"),
            ("sendhub", {"message_id": "999999"}, "NotFound"),
            ("go_integrate", {}, "UnsupportedFeature"),
            ("liquidfiles", {}, "UnsupportedFeature"),
        ],
    )
    def test_refused(
        self, sandbox: RunningSandbox, mode: str, service: str, arguments: dict[str, Any], expected: str
    ) -> None:
        assert outcome(self.make(service, mode, "25", **arguments)) == ("raised", expected)
