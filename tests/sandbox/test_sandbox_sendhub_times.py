"""SendHub's two times of one message are five hours apart, as in the documents' sample."""

from datetime import datetime, timedelta
from typing import Any

import requests

from airflow_messaging.sandbox import RunningSandbox

from .recipes import sample_json


def apart(record: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(record["sent"]) - datetime.fromisoformat(record["created_at"])


def test_the_time_of_creation_lies_behind(sandbox: RunningSandbox, http: requests.Session) -> None:
    sample = sample_json("sendhub/send-message.json")
    assert apart(sample) == timedelta(hours=5)

    keys = {name: sandbox.credentials["sendhub"][name] for name in ("username", "api_key")}

    def get(path: str) -> Any:
        return http.get(f"{sandbox.url}/sendhub/v1/{path}", params=keys, timeout=5).json()

    id_ = sandbox.inbound("sendhub", text="hello")
    [thread] = get("inbox/")["objects"]
    [entry] = get(f"threads/{thread['threadId']}")["objects"]
    assert [apart(record) for record in (get(f"messages/{id_}/"), thread, entry)] == [apart(sample)] * 3
