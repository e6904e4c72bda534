"""Airflow tries a task again when the service wants it, and not at all where that is no use."""

import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ConnectFailed,
    DeliveryFailed,
    DeliveryUnknown,
    InvalidInput,
    MessagingError,
    NotFound,
    Overloaded,
    RateLimited,
    ServiceUnavailable,
    Shown,
    UnsupportedFeature,
)
from airflow_messaging.operators.base import MessagingOperator
from airflow_messaging.operators.sendhub import SendHubSendMessageOperator
from airflow_messaging.sandbox import RunningSandbox

from .conftest import HERE
from .test_examples import parse

MANY = 200


def decide(error: BaseException, task: Any = None, **arguments: Any) -> Any:
    from airflow_messaging.policies import MessagingRetryPolicy

    context: Any = {"ti": SimpleNamespace(task=task)}
    return MessagingRetryPolicy(**arguments).evaluate(error, 1, 3, context if task else None)


@pytest.mark.newest
class TestDecisions:
    @pytest.mark.parametrize("kind", [RateLimited, Overloaded, ServiceUnavailable])
    def test_the_pause_is_the_services_own_and_a_little_more(self, kind: type[RateLimited]) -> None:
        error = kind("sendhub", "messages", status=429, retry_after=40)
        pauses = [decide(error).retry_delay.total_seconds() for _ in range(MANY)]
        assert 40 <= min(pauses) < 41
        assert 43 < max(pauses) <= 44
        assert decide(error).action.value == "retry"

    def test_the_pause_has_a_bound(self) -> None:
        error = RateLimited("sendhub", "messages", status=429, retry_after=86400)
        assert decide(error).retry_delay == timedelta(hours=1)
        assert decide(error, longest=timedelta(minutes=2)).retry_delay == timedelta(minutes=2)
        with pytest.raises(InvalidInput, match="longest"):
            decide(error, longest=timedelta(seconds=-1))

    @pytest.mark.parametrize(
        "error",
        [
            AuthenticationFailed("mdi", "session", status=401, retry_after=5),
            InvalidInput("text", Shown("nothing"), "a text"),
            UnsupportedFeature("mdi", "a subject"),
            DeliveryFailed("serwersms", "abc"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_no_retry_mends_fails_at_once(self, error: MessagingError) -> None:
        decision = decide(error)
        assert decision.action.value == "fail"
        assert type(error).__name__ in decision.reason

    def test_what_may_have_been_sent_is_tried_again_only_by_those_who_look_first(self) -> None:
        overloaded = Overloaded("sendhub", "messages", status=503, retry_after=40)
        overloaded.may_have_arrived = True
        asked_to_wait = DeliveryUnknown("sendhub", "messages", "Overloaded", retry_after=40)
        unknown = DeliveryUnknown("sendhub", "messages", "ReadTimeout")
        for error, then in ((overloaded, "retry"), (asked_to_wait, "retry"), (unknown, "default")):
            assert decide(error).action.value == "fail"
            assert decide(error, MessagingOperator(task_id="a", conn_id="b")).action.value == "fail"
            assert decide(error, SendHubSendMessageOperator(task_id="a", text="b")).action.value == then

    @pytest.mark.parametrize(
        "error",
        [
            ConnectFailed("mdi", "messages", "ConnectTimeout"),
            NotFound("mdi", "messages", status=404),
            RateLimited("mdi", "messages", status=429),
            RateLimited("mdi", "messages", status=429, retry_after=0.0),
            ServiceUnavailable("mdi", "messages", status=502),
            ValueError("anything else"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_all_else_is_left_to_airflow(self, error: BaseException) -> None:
        assert decide(error).action.value == "default"


@pytest.mark.newest
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("airflow_database", "connections")
def test_airflow_does_what_the_policy_says(sandbox: RunningSandbox) -> None:
    slow_down = '{"message": "slow down", "code": 429, "timeLeft": "0:00:01"}'
    not_you = '{"error": {"code": 1001, "type": "InvalidUser", "message": "no"}}'
    attempts = 4
    sandbox.faults(
        [
            {"service": "sendhub", "status": 429, "body": slow_down, "times": attempts},
            {"service": "serwersms", "status": 200, "body": not_you},
        ]
    )
    finished = parse(HERE / "dags" / "retrying.py").dags["retrying"].test()
    ended = {ti.task_id: (str(ti.state), ti.try_number) for ti in finished.get_task_instances()}
    assert ended == {"limited": ("success", 2), "refused": ("failed", 1)}
    assert len(sandbox.journal("sendhub")) == attempts + 1
    assert len(sandbox.messages("sendhub")["sent"]) == 1


def test_an_older_airflow_is_told_what_it_lacks() -> None:
    script = "import airflow.sdk, sys; airflow.sdk.__dict__.pop('RetryPolicy', None)\n"
    try:
        from airflow.sdk import RetryPolicy  # noqa: F401
    except ImportError:
        pass
    else:
        # This Airflow has it: hide it, as if it were older.
        script += "sys.modules['airflow.sdk.definitions.retry_policy'] = None\n"
    script += "import airflow_messaging.policies"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "AirflowOptionalProviderFeatureException: airflow_messaging.policies needs Airflow 3.3" in done.stderr
