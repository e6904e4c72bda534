"""SerwerSMS.pl's state: messages sent with their reports, and messages received until they are read."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airflow_messaging.sandbox.service import InboundAttachment
from airflow_messaging.sandbox.world import World, compact, random_hex

SENT_AFTER = timedelta(seconds=1)
DELIVERED_AFTER = timedelta(seconds=2)
TYPES = ("eco", "nd", "ndi", "pre", "mms")
KEPT = timedelta(days=14)
_GSM_PART, _UNICODE_PART = 160, 70


def normal_phone(phone: str) -> str:
    """Write a number with its plus sign, as answers do."""
    return "+" + phone.strip().lstrip("+")


@dataclass
class Outgoing:
    """One text for one number."""

    phone: str
    text: str
    sender: str | None
    due: datetime
    created: datetime
    scheduled: bool
    unique_id: str | None = None
    error: tuple[int, str] | None = None
    id: str = field(default_factory=lambda: random_hex(10))

    @property
    def parts(self) -> int:
        """How many SMS the text takes."""
        size = _GSM_PART if self.text.isascii() else _UNICODE_PART
        return max(1, -(-len(self.text) // size))

    def status(self, now: datetime) -> str:
        """Where the text is now."""
        if self.error:
            return "unsent"
        if now < self.due:
            return "saved"
        if now < self.due + SENT_AFTER:
            return "pending"
        return "sent" if now < self.due + DELIVERED_AFTER else "delivered"

    def item(self, now: datetime) -> dict[str, Any]:
        """Describe the text in the answer to sending it."""
        code, message = self.error or (None, None)
        return {
            "id": self.id,
            "phone": self.phone,
            "status": self.status(now),
            "queued": None if self.error else compact(self.due),
            "parts": self.parts,
            "error_code": code,
            "error_message": message,
            "text": self.text,
        }

    def report(self, now: datetime) -> dict[str, Any]:
        """Describe what became of the text."""
        status = self.status(now)
        gone = status in ("sent", "delivered")
        return {
            "id": self.id,
            "phone": self.phone,
            "status": status,
            "queued": compact(self.due),
            "sent": compact(self.due + SENT_AFTER) if gone else None,
            "delivered": compact(self.due + DELIVERED_AFTER) if status == "delivered" else None,
            "sender": self.sender,
            "type": "full" if self.sender else "eco",
            "text": self.text,
            "parts": self.parts,
            "cost": 0 if self.error else self.parts,
            "reason": self.error[1] if self.error else None,
            "unique_id": self.unique_id,
        }

    def summary(self, now: datetime) -> dict[str, Any]:
        """Describe the text for the page and the control routes."""
        return {
            "id": self.id,
            "at": compact(self.created),
            "from": self.sender or "ECO",
            "to": self.phone,
            "text": self.text,
            "unique_id": self.unique_id,
            "status": self.status(now),
        }


@dataclass
class Incoming:
    """One message received."""

    id: int
    type: str
    phone: str
    received: datetime
    text: str
    message_id: str | None = None
    to_number: str | None = None
    title: str | None = None
    attachments: list[dict[str, Any]] = field(default_factory=list)
    read: bool = False

    def to_json(self) -> dict[str, Any]:
        """Describe the message; each type has fields of its own."""
        described: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "phone": self.phone,
            "recived": compact(self.received),
        }
        if self.type == "eco":
            described["message_id"] = self.message_id
        if self.type == "mms":
            return {
                **described,
                "to_number": self.to_number,
                "blacklist": False,
                "title": self.title,
                "attachments": self.attachments,
            }
        return {**described, "blacklist": False, "text": self.text}

    def summary(self) -> dict[str, Any]:
        """Describe the message for the page and the control routes."""
        return {
            "id": str(self.id),
            "at": compact(self.received),
            "from": self.phone,
            "to": self.to_number,
            "type": self.type,
            "text": self.title if self.type == "mms" else self.text,
            "in_reply_to": self.message_id,
            "attachments": [attachment["name"] for attachment in self.attachments],
        }


class SerwerSmsState:
    """One account."""

    def __init__(self, world: World, own_number: str) -> None:
        self.world = world
        self.own_number = own_number
        self.outgoing: list[Outgoing] = []
        self.incoming: list[Incoming] = []
        self._ids = itertools.count(2477793)
        self._attachment_ids = itertools.count(2518)

    def receive(
        self,
        phone: str,
        text: str,
        *,
        kind: str,
        message_id: str | None = None,
        title: str | None = None,
        attachments: Iterable[InboundAttachment] = (),
    ) -> Incoming:
        """Let a message arrive."""
        message = Incoming(next(self._ids), kind, normal_phone(phone), self.world.now(), text, message_id)
        if kind in ("mms", "ndi"):
            message.to_number = self.own_number
        if kind == "mms":
            message.title = title or ""
            message.attachments = [
                {
                    "id": next(self._attachment_ids),
                    "name": attachment.filename,
                    "content_type": attachment.content_type,
                    "data": base64.b64encode(attachment.content).decode(),
                }
                for attachment in attachments
            ]
        self.incoming.append(message)
        return message

    def unread(self) -> list[Incoming]:
        """Return what has not been marked as read, oldest first."""
        return [message for message in self.incoming if not message.read]

    def reports(self) -> list[Outgoing]:
        """Texts whose reports are still kept."""
        now = self.world.now()
        return [text for text in self.outgoing if text.due + KEPT > now]

    def delete_scheduled(self, wanted: Iterable[Outgoing]) -> int:
        """Call scheduled texts back; return how many."""
        doomed = {text.id for text in wanted if text.status(self.world.now()) == "saved"}
        self.outgoing = [text for text in self.outgoing if text.id not in doomed]
        return len(doomed)

    def still_goes_out(self, text: Outgoing) -> bool:
        """Whether a scheduled text was not called back."""
        return any(other is text for other in self.outgoing)
