"""What the tests need of each vendor's rules, written from the documents and not from the package's clients."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import requests

from airflow_messaging.sandbox import RunningSandbox

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], *, within_s: float = 2.0) -> Found:
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.05)
    return found


class Go:
    def __init__(self, sandbox: RunningSandbox, http: requests.Session) -> None:
        self.base = sandbox.url + "/go-integrate/1"
        self.http = http
        credentials = sandbox.credentials["go_integrate"]
        self.route, self.secret = credentials["route"], credentials["key_secret"]
        self.peer, self.peer_secret = credentials["peer_route"], credentials["peer_key_secret"]

    def as_peer(self) -> None:
        self.route, self.secret, self.peer, self.peer_secret = self.peer, self.peer_secret, self.route, self.secret

    def headers(self, *, at: str | None = None, sign_at: str | None = None, signed: str = "") -> dict[str, str]:
        at = at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
        key = hashlib.sha512(f"{sign_at or at}{self.route}{signed}{self.secret}".encode()).hexdigest()
        return {"request-timestamp": at, "request-from": self.route, "request-key": key}

    def get(self, method: str, **options: Any) -> requests.Response:
        return self.http.get(f"{self.base}/{method}", headers=self.headers(**options), timeout=10)

    def send_headers(self, content: bytes, to: str | None = None, **changed: str) -> dict[str, str]:
        to, message_id = to or self.peer, changed.get("message-id", "12345")
        md5 = changed.get("message-md5", hashlib.md5(content).hexdigest())
        return {
            **self.headers(at=changed.pop("at", None), signed=to + message_id + md5),
            "pay-for-reply": "1",
            "message-id": message_id,
            "message-to": to,
            "message-priority": "normal",
            "message-md5": md5,
            "message-expires-after": "120",
            **changed,
        }

    def send(self, content: bytes = b"hello", to: str | None = None, **changed: str) -> requests.Response:
        return self.post(self.send_headers(content, to, **changed), content)

    def post(self, headers: dict[str, str], content: bytes, filename: str = "file.txt") -> requests.Response:
        files = {"data": (filename, content)}
        return self.http.post(f"{self.base}/send-message", headers=headers, files=files, timeout=10)

    def links(self) -> list[str]:
        return [message["link"] for message in self.get("list-messages").json()]


def shifted(seconds: int, moment: datetime | None = None) -> str:
    return ((moment or datetime.now(UTC)) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S+00:00")
