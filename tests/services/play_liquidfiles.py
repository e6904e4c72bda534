"""A LiquidFiles client and canned answers for its tests."""

from __future__ import annotations

from typing import Any

from airflow_messaging.messages import Draft, as_recipients, upload_from_bytes
from airflow_messaging.services.base import Call
from airflow_messaging.services.http import Response
from airflow_messaging.services.liquidfiles import LiquidFiles

from .play import SetClock, answer, body_of

KEY = "ojubiigauS2TxTy4ovk6Ph"
FILE = upload_from_bytes("a b.gif", b"GIF89a", content_type="image/gif")


def service(**changes: Any) -> LiquidFiles:
    return LiquidFiles("https://files.example.com", **{"api_key": KEY, "clock": SetClock(), **changes})


def inbox(*records: dict[str, Any]) -> Response:
    return answer({"messages": list(records)})


def record(id_: str, created_at: Any = "2024-10-24T10:00:00Z", **fields: Any) -> dict[str, Any]:
    return {"id": id_, "created_at": created_at, **fields}


def sent_json(call: Call[Any]) -> dict[str, Any]:
    return body_of(call)["message"]


def send(api: LiquidFiles, *, to: Any = "a@example.com", **changes: Any) -> Any:
    return api.send(Draft(**{"to": as_recipients(to), "text": "hello", "message_id": "m1", **changes}))
