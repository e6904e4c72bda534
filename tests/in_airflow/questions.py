"""What the tests of questions share: one question per service, and a task that asks it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

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
