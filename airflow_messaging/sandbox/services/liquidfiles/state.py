"""LiquidFiles' state: messages, attachments, and URLs that work once."""

from __future__ import annotations

import mimetypes
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote

from airflow_messaging.sandbox.bodies import Blob
from airflow_messaging.sandbox.world import World, compact, random_text

LIFETIME = timedelta(days=14)
ID_LENGTH = 22
TOKENS_PER_FILE = 100
AUTHORIZATIONS = {
    0: "Anyone can access",
    1: "Anyone can access after authentication",
    2: "Specified Recipients and local users can access",
    3: "Only Specified Recipients can access",
    4: "Specified Recipients and their domains can access",
}


@dataclass
class Attachment:
    """An uploaded file; `tokens` are the URLs which still work."""

    filename: str
    content_type: str
    blob: Blob
    created_at: datetime
    id: str = field(default_factory=lambda: random_text(ID_LENGTH))
    tokens: deque[str] = field(default_factory=lambda: deque(maxlen=TOKENS_PER_FILE))

    def to_json(self) -> dict[str, Any]:
        """Describe the file as every answer does."""
        return {
            "id": self.id,
            "filename": self.filename,
            "size": self.blob.size,
            "content_type": self.content_type,
            "checksum": self.blob.digests["sha256"],
            "crc32": self.blob.digests["crc32"],
            "created_at": compact(self.created_at),
        }

    def copy(self, now: datetime) -> Attachment:
        """Make the same file an attachment of another message."""
        return Attachment(self.filename, self.content_type, self.blob, now)


@dataclass
class Message:
    """A message with its files."""

    sender: str
    recipients: list[str]
    subject: str
    message: str
    created_at: datetime
    expires: datetime
    ccs: list[str] = field(default_factory=list)
    bccs: list[str] = field(default_factory=list)
    expires_after: int | None = 0
    authorization: int = 3
    private_message: bool = False
    attachments: list[Attachment] = field(default_factory=list)
    id: str = field(default_factory=lambda: random_text(ID_LENGTH))

    @property
    def addressees(self) -> list[str]:
        """Everyone who gets the message."""
        return [*self.recipients, *self.ccs, *self.bccs]

    @property
    def size(self) -> int:
        """Total of the files, as the vendor counts."""
        return sum(attachment.blob.size for attachment in self.attachments)

    def to_json(self, base_url: str) -> dict[str, Any]:
        """Describe the message; each description brings fresh one-time URLs."""
        return {
            "id": self.id,
            "sender": self.sender,
            "recipients": self.recipients,
            # The last day on which the message exists.
            "expires_at": (self.expires - timedelta(microseconds=1)).date().isoformat(),
            "expires_after": self.expires_after,
            "authorization": self.authorization,
            "authorization_description": AUTHORIZATIONS[self.authorization],
            "size": self.size,
            "subject": self.subject,
            "message": self.message,
            "private_message": self.private_message,
            "ccs": self.ccs,
            "bccs": self.bccs,
            "url": f"{base_url}/message/{self.id}",
            "created_at": compact(self.created_at),
            "attachments": [
                {**attachment.to_json(), "url": self._fresh_url(base_url, attachment)}
                for attachment in self.attachments
            ],
        }

    def _fresh_url(self, base_url: str, attachment: Attachment) -> str:
        token = random_text(ID_LENGTH)
        attachment.tokens.append(token)
        return f"{base_url}/message/{self.id}/{attachment.id}/{token}/{quote(attachment.filename, safe='')}"

    def summary(self) -> dict[str, Any]:
        """Describe the message for the page and the control routes, without touching its URLs."""
        return {
            "id": self.id,
            "at": compact(self.created_at),
            "from": self.sender,
            "to": self.addressees,
            "subject": self.subject,
            "text": self.message,
            "attachments": [attachment.filename for attachment in self.attachments],
            "expires": compact(self.expires),
        }


class LiquidFilesState:
    """One account."""

    def __init__(self, world: World, account: str) -> None:
        self.world = world
        self.account = account
        self.inbox: list[Message] = []
        self.sent: list[Message] = []
        self.attachments: dict[str, Attachment] = {}
        self.uploads: dict[str, list[Blob]] = {}

    def listed(self, messages: list[Message], since: datetime | None = None) -> list[Message]:
        """Return what has not expired, newest first; what has expired is gone for good."""
        now = self.world.now()
        messages[:] = [message for message in messages if message.expires > now]
        return [message for message in reversed(messages) if since is None or message.created_at >= since]

    def find(self, message_id: str) -> Message | None:
        """Find a message in either box."""
        both = [*self.listed(self.inbox), *self.listed(self.sent)]
        return next((message for message in both if message.id == message_id), None)

    def add_attachment(self, filename: str, content_type: str | None, blob: Blob) -> Attachment:
        """Keep an uploaded file until a message takes it."""
        guessed = content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
        attachment = Attachment(filename, guessed, blob, self.world.now())
        self.attachments[attachment.id] = attachment
        return attachment

    def delete_attachments(self, attachment_ids: Iterable[str]) -> None:
        """Remove files from the account and from all messages."""
        doomed = set(attachment_ids)
        for attachment_id in doomed:
            self.attachments.pop(attachment_id, None)
        for message in [*self.inbox, *self.sent]:
            message.attachments = [kept for kept in message.attachments if kept.id not in doomed]

    def deliver(self, message: Message) -> Message:
        """Put a message into the account's inbox."""
        self.inbox.append(message)
        for attachment in message.attachments:
            self.attachments[attachment.id] = attachment
        return message

    def reply_to(self, message: Message, sender: str) -> Message:
        """Answer a message with its own text and copies of its files."""
        now = self.world.now()
        copies = [attachment.copy(now) for attachment in message.attachments]
        reply = Message(sender, [message.sender], f"Re: {message.subject}", message.message, now, now + LIFETIME)
        reply.attachments = copies
        return self.deliver(reply)


def end_of_day(day: date) -> datetime:
    """Return the moment at which a message that expires on this day vanishes."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def start_of_day(day: date) -> datetime:
    """Midnight, UTC."""
    return datetime.combine(day, time(), UTC)
