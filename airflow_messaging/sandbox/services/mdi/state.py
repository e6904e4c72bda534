"""MDI g8teway's state: sessions whose cookie changes with every answer, and numbered messages."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_messaging.sandbox.world import World, random_hex

SESSION_LIFETIME = timedelta(hours=1)
OLD_COOKIE_LIFETIME = timedelta(seconds=5)
DEFAULT_TIMEOUT_MIN = 2880
NEW, SENT, RECEIVED, FAILED = range(4)
SENT_AFTER = timedelta(seconds=1)
RECEIVED_AFTER = timedelta(seconds=2)
FIELDS = ("id", "unitid", "userid", "fromto", "time", "channelid", "content", "replyto", "timeout", "status")
# Two of the fields come back under another name than they are asked by.
ANSWERED_AS = {"time": "datetime", "replyto": "refid"}
NOBODY = -1


@dataclass(frozen=True)
class Message:
    """One message; `fromto` is true when a unit sent it."""

    id: int
    unitid: int
    userid: int
    fromto: bool
    time: datetime
    channelid: int
    content: bytes
    replyto: int
    timeout: int | None
    unit_online: bool

    def timed_out(self, now: datetime) -> bool:
        """Whether the timeout was over before the message was received."""
        if self.timeout is None or (not self.fromto and self.unit_online):
            return False
        return now >= self.time + timedelta(minutes=self.timeout)

    def status(self, now: datetime) -> int:
        """How far the message has come."""
        if self.timed_out(now):
            return FAILED
        if self.fromto or not self.unit_online or now < self.time + SENT_AFTER:
            return NEW
        return SENT if now < self.time + RECEIVED_AFTER else RECEIVED

    def to_json(self, now: datetime, fields: tuple[str, ...] = FIELDS) -> dict[str, Any]:
        """Describe the message by the fields asked for."""
        values = {
            "id": self.id,
            "unitid": self.unitid,
            "userid": self.userid,
            "fromto": self.fromto,
            "time": f"{self.time:%Y-%m-%dT%H:%M:%SZ}",
            "channelid": self.channelid,
            "content": _as_json_text(self.content),
            "replyto": self.replyto,
            "timeout": self.timeout,
            "status": self.status(now),
        }
        return {ANSWERED_AS.get(name, name): values[name] for name in fields}

    def summary(self, now: datetime) -> dict[str, Any]:
        """Describe the message for the page and the control routes."""
        unit, user = f"unit {self.unitid}", f"user {self.userid}"
        return {
            "id": str(self.id),
            "at": f"{self.time:%Y-%m-%d %H:%M:%S}",
            "from": unit if self.fromto else user,
            "to": user if self.fromto else unit,
            "text": _as_json_text(self.content),
            "in_reply_to": None if self.replyto == NOBODY else str(self.replyto),
            "status": self.status(now),
        }


def _as_json_text(content: bytes) -> str:
    """JSON has no bytes: what is not UTF-8 is shown byte by byte."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


class Sessions:
    """Cookies and how long each is still good for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cookies: dict[str, tuple[str, datetime]] = {}

    def begin(self) -> str:
        """Log in and return the first cookie."""
        return self._issue(random_hex(16))

    def renew(self, cookie: str) -> str | None:
        """Accept a cookie and return the next one; the old one stays good for requests already under way."""
        now = self._world.now()
        self._cookies = {value: entry for value, entry in self._cookies.items() if entry[1] > now}
        if cookie not in self._cookies:
            return None
        session, valid_until = self._cookies[cookie]
        self._cookies[cookie] = (session, min(valid_until, now + OLD_COOKIE_LIFETIME))
        return self._issue(session)

    def end(self, cookie: str) -> None:
        """Log out: all cookies of the session are worthless."""
        session, _ = self._cookies[cookie]
        self._cookies = {value: entry for value, entry in self._cookies.items() if entry[0] != session}

    def expire_all(self) -> int:
        """End all sessions."""
        count = len({session for session, _ in self._cookies.values()})
        self._cookies.clear()
        return count

    def _issue(self, session: str) -> str:
        cookie = random_hex(32)
        self._cookies[cookie] = (session, self._world.now() + SESSION_LIFETIME)
        return cookie


class MdiState:
    """One user, some units, and the messages between them."""

    def __init__(self, world: World, online_units: Collection[int]) -> None:
        self.world = world
        self.sessions = Sessions(world)
        self.messages: dict[int, Message] = {}
        self._online_units = online_units
        self._ids = itertools.count(3001)

    def add(
        self,
        *,
        unitid: int,
        userid: int,
        fromto: bool,
        channelid: int,
        content: bytes,
        replyto: int = NOBODY,
        timeout: int | None = DEFAULT_TIMEOUT_MIN,
    ) -> Message:
        """Keep a message under the next number."""
        message = Message(
            id=next(self._ids),
            unitid=unitid,
            userid=userid,
            fromto=fromto,
            time=self.world.now(),
            channelid=channelid,
            content=content,
            replyto=replyto,
            timeout=timeout,
            unit_online=unitid in self._online_units,
        )
        self.messages[message.id] = message
        return message
