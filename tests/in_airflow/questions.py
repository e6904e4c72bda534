"""What the tests of questions share: one question per service, a task that asks it, and the page for approvals."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_messaging.operators.approving import ApprovalByMessageOperator
from airflow_messaging.operators.asking import SendAndWaitForReplyOperator
from airflow_messaging.sandbox import RunningSandbox

from .harness import fire, new_context, resume

NUMBER = "+48500600700"
TO = {
    "go_integrate": "9d2e@b7f05c38",
    "liquidfiles": "robin@peer.example",
    "mdi": "17",
    "serwersms": NUMBER,
    "sendhub": "1111",
}
NAMES_ANSWERED = ("mdi", "serwersms")
QUESTION = "When do you arrive?"
ANN = SimpleNamespace(id="7", name="ann")


class Store(dict[str, Any]):
    """As much of Airflow's task state store as is used, and as strict about what it holds."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


def context_of(store: Store | None = None, *, max_tries: int = 0, **changes: Any) -> Any:
    context = new_context(**changes)
    context["ti"].max_tries = max_tries
    context["ti"].xcom_push = lambda key, value: context["ti"].xcom.__setitem__(key, json.loads(json.dumps(value)))
    return context if store is None else {**context, "task_state_store": store}


def question(service: str, **changes: Any) -> SendAndWaitForReplyOperator:
    given = {"to": TO[service], "text": QUESTION, "poke_interval": 0.2, "response_timeout": 10, **changes}
    if service == "mdi":
        given["options"] = {"channelid": 11, **given.get("options", {})}
    return SendAndWaitForReplyOperator(task_id="ask", conn_id=f"{service}_default", **given)


def asked(operator: Any, context: Any) -> TaskDeferred:
    operator.render_template_fields(context)
    try:
        returned = operator.execute(context)
    except TaskDeferred as deferred:
        return deferred
    raise AssertionError(f"did not defer but returned {returned}")


def answered(make: Callable[[], Any], context: Any = None) -> Any:
    """Run a task to its end, with a new operator where Airflow would start a new process."""
    context = context or context_of()
    deferred = asked(make(), context)
    return resume(make(), deferred, asyncio.run(fire(deferred.trigger)), context)


def sent(sandbox: RunningSandbox, service: str) -> list[dict[str, Any]]:
    return sandbox.messages(service)["sent"]


def reply_fields(service: str, sandbox: RunningSandbox, place: int = -1) -> dict[str, Any]:
    """Say how somebody would answer the question that was sent last."""
    question = sent(sandbox, service)[place]
    if service == "go_integrate":
        return {}
    sender = {"sender": TO[service]}
    return {**sender, "in_reply_to": str(question["id"])} if service in NAMES_ANSWERED else sender


class Page:
    """Airflow's record of questions to people: one row, and the first answer stays."""

    def __init__(self) -> None:
        self.question: dict[str, Any] = {}
        self.row: Any = None
        self.looks = 0
        self.broken = False

    def upsert(self, **question: Any) -> None:
        self.question = question
        self.row = SimpleNamespace(
            response_received=False, chosen_options=None, responded_by_user=None, params_input={}, responded_at=None
        )

    def get(self, ti_id: Any) -> Any:
        assert ti_id == self.question["ti_id"]
        self.looks += 1
        if self.broken:
            raise ConnectionError("the API server is gone")
        return self.row

    def update(self, ti_id: Any, chosen_options: list[str], params_input: dict[str, Any], user: Any = None) -> None:
        assert ti_id == self.question["ti_id"]
        if self.broken or self.row.response_received:
            raise RuntimeError("409 Conflict")
        self.row = SimpleNamespace(
            response_received=True,
            chosen_options=chosen_options,
            params_input=params_input,
            responded_by_user=user,
            responded_at=datetime.now(UTC),
        )

    def press(self, option: str) -> None:
        self.update(self.question["ti_id"], [option], {}, ANN)

    def resumes_with(self) -> dict[str, Any]:
        """Return the event with which Airflow 3.3 resumes the task when the button is pressed."""
        return {
            "chosen_options": self.row.chosen_options,
            "params_input": self.row.params_input,
            "responded_at": self.row.responded_at,
            "responded_by_user": {"id": ANN.id, "name": ANN.name},
            "timedout": False,
        }


def approval(service: str = "sendhub", **changes: Any) -> ApprovalByMessageOperator:
    given = {"to": TO[service], "text": QUESTION, "poke_interval": 0.2, "response_timeout": 10, **changes}
    if service == "mdi":
        given["options"] = {"channelid": 11}
    return ApprovalByMessageOperator(task_id="ask", conn_id=f"{service}_default", **given)


def approval_context(store: Store | None = None, **changes: Any) -> Any:
    context = context_of(store, **changes)
    context["ti"].id = uuid4()
    return context


def answer(sandbox: RunningSandbox, service: str, text: str, **fields: Any) -> str:
    about = {**reply_fields(service, sandbox), **fields}
    if service == "go_integrate":
        text = f"{text}\n{sent(sandbox, service)[-1]['message_id']}"
    return sandbox.inbound(service, **{**about, "text": text})


def go_on(make: Callable[[], Any], deferred: TaskDeferred, context: Any) -> Any:
    return resume(make(), deferred, asyncio.run(fire(deferred.trigger)), context)


def deferred_again(make: Callable[[], Any], deferred: TaskDeferred, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as again:
        go_on(make, deferred, context)
    return again.value
