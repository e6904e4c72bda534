"""What the tests of sending share: one message per service, and a state store that outlives a process."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.sandbox import RunningSandbox

SERVICES = ("go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub")
NUMBER = "+48500600700"
TO = {
    "go_integrate": "9d2e@b7f05c38",
    "liquidfiles": "robin@peer.example",
    "mdi": "17",
    "serwersms": NUMBER,
    "sendhub": "1111",
}
OPTIONS: dict[str, dict[str, Any]] = {"mdi": {"channelid": 11}}
SEND_PATHS = {
    "go_integrate": "*/send-message",
    "liquidfiles": "*/message",
    "mdi": "*/messages.json",
    "serwersms": "*/messages/send_sms*",
    "sendhub": "*/messages/",
}
LOOK_PATHS = {
    "liquidfiles": "*/messages/sent",
    "mdi": "*/messages.json",
    "serwersms": "*/messages/reports*",
    "sendhub": "*/inbox/*",
}
WITH_LOOK = tuple(LOOK_PATHS)


class FileStore:
    """As much of Airflow's task state store as a file can hold; it survives SIGKILL."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.all().get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self._write({**self.all(), key: value})

    def delete(self, key: str) -> None:
        self._write({name: value for name, value in self.all().items() if name != key})

    def _write(self, everything: dict[str, Any]) -> None:
        new = self.path.with_suffix(".new")
        with new.open("w") as file:
            json.dump(everything, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.path)


def context_of(store: Any = None, **changes: Any) -> Any:
    """Return the context of one try; without a store, as Airflow before 3.3 gives it."""
    names = {"dag_id": "a_dag", "run_id": "a_run", "task_id": "a_task", "map_index": -1, **changes}
    context: dict[str, Any] = {"ti": SimpleNamespace(**names)}
    return context if store is None else context | {"task_state_store": store}


def operator_of(service: str, text: str | None, **arguments: Any) -> SendMessageOperator:
    given = {"to": TO[service], "options": OPTIONS.get(service), "conn_id": f"{service}_default", **arguments}
    return SendMessageOperator(task_id="a_task", text=text, **given)


def send(
    service: str, text: str | None, store: Any = None, *, run_id: str = "a_run", **arguments: Any
) -> dict[str, Any]:
    """Do what one try of a task does, in a new operator with a new hook."""
    return operator_of(service, text, **arguments).execute(context_of(store, run_id=run_id))


def sends_asked(sandbox: RunningSandbox, service: str) -> int:
    path = SEND_PATHS[service].strip("*")
    return sum(path in entry["path"] and entry["method"] == "POST" for entry in sandbox.journal(service))
