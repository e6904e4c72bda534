"""An MDI client and canned answers for its tests."""

from __future__ import annotations

from typing import Any

from airflow_messaging.messages import Draft, as_recipients
from airflow_messaging.services.base import Call
from airflow_messaging.services.http import FormBody, Request, Response
from airflow_messaging.services.mdi import Mdi

from .play import SetClock, answer

PASSWORD = "s3cret & more"
GET = Request(method="GET", url="messages.json")
OK = answer([])
ENDED = answer(status=401)


def service(**changes: Any) -> Mdi:
    arguments = {"username": "user", "password": PASSWORD, "client": "acme", "clock": SetClock()}
    return Mdi("http://g8teway.com/api/v2", **{**arguments, **changes})


def record(id_: int, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "unitid": 1, "fromto": True, "content": "c", "datetime": "2024-10-24T12:00:00Z", **fields}


def page(*records: dict[str, Any]) -> Response:
    return answer([{"message": fields} for fields in records])


def form(call: Call[Any]) -> dict[str, str | bytes]:
    assert isinstance(call.request.body, FormBody)
    return dict(call.request.body.fields)


def send(api: Mdi, *, to: Any = "17", **changes: Any) -> Any:
    return api.send(
        Draft(**{"to": as_recipients(to), "text": "test", "message_id": "m1", "options": {"channelid": 11}, **changes})
    )
