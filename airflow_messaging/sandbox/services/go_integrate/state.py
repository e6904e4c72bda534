"""Go Integrate Me's state: one inbox per route, in order of arrival, and messages that expire."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_messaging.sandbox.bodies import Blob
from airflow_messaging.sandbox.world import World, compact, random_hex, random_text

PREVIEW = 200


@dataclass(frozen=True)
class Envelope:
    """A file and where it goes; the API tells receivers nothing about its sender."""

    sender: str
    recipient: str
    message_id: str
    filename: str
    blob: Blob
    lifetime_s: int


@dataclass(frozen=True)
class StoredMessage:
    """One file on its way."""

    link: str
    envelope: Envelope
    received: datetime
    position: int

    @property
    def expires(self) -> datetime:
        """When the message vanishes."""
        return self.received + timedelta(seconds=self.envelope.lifetime_s)

    def summary(self) -> dict[str, Any]:
        """Describe the message for the page and the control routes."""
        return {
            "id": self.link,
            "message_id": self.envelope.message_id,
            "at": compact(self.received),
            "from": self.envelope.sender,
            "to": self.envelope.recipient,
            "filename": self.envelope.filename,
            "size": self.envelope.blob.size,
            "text": self.envelope.blob.read(PREVIEW).decode("utf-8", "replace"),
            "expires": compact(self.expires),
        }


class Inbox:
    """What waits for one route."""

    def __init__(self) -> None:
        self._link_prefix = f"{random_hex(8)}-{random_hex(4)}"
        self._messages: list[StoredMessage] = []
        self._positions: dict[str, int] = {}
        self._arrived = asyncio.Event()

    def add(self, envelope: Envelope, now: datetime) -> StoredMessage:
        """Take a message in and wake those who wait."""
        position = len(self._positions)
        message = StoredMessage(f"{self._link_prefix}-{random_text(10)}", envelope, now, position)
        self._messages.append(message)
        self._positions[message.link] = position
        self.wake()
        return message

    def available(self, now: datetime) -> list[StoredMessage]:
        """Return what has not expired, oldest first; what has expired is gone for good."""
        self._messages = [message for message in self._messages if message.expires > now]
        return list(self._messages)

    def get(self, link: str, now: datetime) -> StoredMessage | None:
        """Find one message."""
        return next((message for message in self.available(now) if message.link == link), None)

    def knows(self, link: str) -> bool:
        """Whether there ever was such a message here; an expired one still marks a place in the order."""
        return link in self._positions

    def after(self, link: str, now: datetime) -> StoredMessage | None:
        """Find the oldest message that arrived after the one with this link."""
        position = self._positions[link]
        return next((message for message in self.available(now) if message.position > position), None)

    async def wait_for_arrival(self, timeout_s: float) -> None:
        """Return when a message arrives, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), timeout_s)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        self._arrived.set()
        self._arrived = asyncio.Event()


class GoIntegrateState:
    """The routes, their secrets, and what was sent between them."""

    def __init__(self, world: World, secrets_by_route: dict[str, str]) -> None:
        self.world = world
        self.secrets = secrets_by_route
        self.inboxes = {route: Inbox() for route in secrets_by_route}
        self.used_keys: set[str] = set()
        self.sent: list[dict[str, Any]] = []

    def deliver(self, envelope: Envelope) -> StoredMessage:
        """Put a message into the recipient's inbox."""
        return self.inboxes[envelope.recipient].add(envelope, self.world.now())
