"""SendHub's state: contacts, groups, and threads of messages."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_messaging.sandbox.bodies import Blob
from airflow_messaging.sandbox.world import World, compact, random_text

SENT_AFTER = timedelta(seconds=1)
CREATED_BEHIND = timedelta(hours=5)


def precise(moment: datetime | None) -> str | None:
    """`2012-02-17T15:36:36.639968`: UTC, without a zone."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


@dataclass
class Contact:
    """Somebody with a number."""

    id: int
    name: str
    number: str
    created: datetime

    def to_json(self) -> dict[str, Any]:
        """Describe the contact."""
        return {
            "id": self.id,
            "id_str": str(self.id),
            "name": self.name,
            "number": self.number,
            "blocked": False,
            "date_created": precise(self.created),
            "resource_uri": f"/api/v1/contacts/{self.id}/",
        }


@dataclass
class Group:
    """Some contacts under one name."""

    id: int
    name: str
    contacts: list[int]

    def to_json(self) -> dict[str, Any]:
        """Describe the group."""
        return {
            "id": self.id,
            "id_str": str(self.id),
            "name": self.name,
            "contact_count": len(self.contacts),
            "resource_uri": f"/api/v1/groups/{self.id}/",
        }


@dataclass
class Message:
    """One message; `direction` is `to` for outbound and `from` for inbound."""

    id: int
    thread: int
    direction: str
    contacts: list[int | str]
    groups: list[int] | None
    text: str
    created: datetime
    due: datetime
    scheduled: bool = False
    unread: bool | None = None
    attachments: list[dict[str, Any]] = field(default_factory=list)

    def sent(self, now: datetime) -> datetime | None:
        """When the message went out; an inbound one has always come in."""
        if self.direction == "from":
            return self.created
        gone = self.due if self.scheduled else self.due + SENT_AFTER
        return gone if now >= gone else None

    @property
    def created_at(self) -> str | None:
        """When it was made, in another zone than all other times, as in the documents' sample."""
        return precise(self.created - CREATED_BEHIND)

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Describe the message as the Messages resource does."""
        acknowledgment = "Message queued for sending."
        if self.scheduled:
            acknowledgment = f"Message scheduled for delivery at {compact(self.due)}."
        return {
            "acknowledgment": acknowledgment,
            "contacts": self.contacts,
            "created_at": self.created_at,
            "direction": self.direction,
            "groups": self.groups,
            "id": str(self.id),
            "resource_uri": f"/api/v1/messages/{self.id}/",
            "scheduled_at": f"{self.due:%Y-%m-%dT%H:%M:%S}" if self.scheduled else None,
            "sent": precise(self.sent(now)),
            "text": self.text,
            "unread": self.unread,
        }

    def summary(self, now: datetime) -> dict[str, Any]:
        """Describe the message for the page and the control routes."""
        other = [str(contact) for contact in self.contacts] + [f"group {group}" for group in self.groups or []]
        return {
            "id": str(self.id),
            "at": compact(self.created),
            "from": "me" if self.direction == "to" else other,
            "to": other if self.direction == "to" else "me",
            "text": self.text,
            "thread": self.thread,
            "sent": precise(self.sent(now)),
            "attachments": [attachment["filename"] for attachment in self.attachments],
        }


class SendHubState:
    """One account."""

    def __init__(self, world: World, contact_id: int, number: str) -> None:
        self.world = world
        self._contact_ids = itertools.count(contact_id)
        self._group_ids = itertools.count(1000)
        self._message_ids = itertools.count(25)
        self._threads: dict[tuple[Any, ...], int] = {}
        self._last_read: dict[int, datetime] = {}
        self.contacts: dict[int, Contact] = {}
        self.groups: dict[int, Group] = {}
        self.messages: dict[int, Message] = {}
        self.files: dict[str, tuple[str, Blob]] = {}
        # The documents' own examples write to these contacts and groups.
        peer = self.add_contact("Sandbox Peer", number)
        others = [
            self.add_contact(f"Contact {name}", f"+1650555{digits}")
            for name, digits in (("Two", 1235), ("Three", 1236))
        ]
        self.add_group("Everyone", [peer.id, *(other.id for other in others)])
        self.add_group("Others", [other.id for other in others])

    def add_contact(self, name: str, number: str) -> Contact:
        """Keep a contact."""
        contact = Contact(next(self._contact_ids), name, number, self.world.now())
        self.contacts[contact.id] = contact
        return contact

    def add_group(self, name: str, contacts: list[int]) -> Group:
        """Keep a group."""
        group = Group(next(self._group_ids), name, contacts)
        self.groups[group.id] = group
        return group

    def contact_of(self, number: str) -> Contact:
        """Find the contact with a number, or make one: SendHub does so for numbers it did not know."""
        known = next((contact for contact in self.contacts.values() if contact.number == number), None)
        return known or self.add_contact(number, number)

    def add_file(self, content: bytes, content_type: str) -> str:
        """Keep a file and return the token in its URL."""
        token = random_text(22)
        self.files[token] = (content_type, Blob.of(content))
        return token

    def send(
        self,
        contacts: list[int | str],
        groups: list[int] | None,
        text: str,
        scheduled_at: datetime | None,
        attachments: list[dict[str, Any]],
    ) -> Message:
        """Queue a message for contacts, numbers and groups."""
        now = self.world.now()
        people = [self.contacts[who] if isinstance(who, int) else self.contact_of(who) for who in contacts]
        members = tuple(sorted({person.id for person in people}))
        message = Message(
            id=next(self._message_ids),
            thread=self._thread(members, tuple(sorted(groups or ()))),
            direction="to",
            contacts=contacts,
            groups=groups,
            text=text,
            created=now,
            due=scheduled_at or now,
            scheduled=scheduled_at is not None,
            attachments=attachments,
        )
        self.messages[message.id] = message
        return message

    def receive(self, contact: Contact, text: str, attachments: list[dict[str, Any]]) -> Message:
        """Let a message arrive from a contact."""
        now = self.world.now()
        message = Message(
            id=next(self._message_ids),
            thread=self._thread((contact.id,), ()),
            direction="from",
            contacts=[contact.id],
            groups=None,
            text=text,
            created=now,
            due=now,
            unread=True,
            attachments=attachments,
        )
        self.messages[message.id] = message
        return message

    def _thread(self, contacts: tuple[int, ...], groups: tuple[int, ...]) -> int:
        return self._threads.setdefault((contacts, groups), 500 + len(self._threads))

    def mark_read(self, message: Message) -> None:
        """Note that somebody has read an inbound message; it stays read."""
        if message.unread:
            message.unread = False
            self._last_read[message.thread] = self.world.now()

    def scheduled(self) -> list[Message]:
        """Messages which wait for their time."""
        now = self.world.now()
        return [message for message in self.messages.values() if message.scheduled and message.sent(now) is None]

    def in_thread(self, thread: int) -> list[Message]:
        """Return the messages of one thread, newest first, without those which are only scheduled."""
        now = self.world.now()
        return [
            message
            for message in reversed(self.messages.values())
            if message.thread == thread and not (message.scheduled and message.sent(now) is None)
        ]

    def threads(self) -> list[dict[str, Any]]:
        """Describe all threads, the one with the newest message first."""
        numbers = dict.fromkeys(message.thread for message in reversed(self.messages.values()))
        return [self._describe(number) for number in numbers if self.in_thread(number)]

    def _describe(self, thread: int) -> dict[str, Any]:
        messages = self.in_thread(thread)
        last = messages[0]
        return {
            "contacts": self.described_contacts(last),
            "groups": [self.groups[group].to_json() for group in last.groups or []],
            "created_at": last.created_at,
            "direction": last.direction,
            "id": last.id,
            "last_read_at": precise(self._last_read.get(thread)),
            "resource_uri": f"/v1/threads/{thread}",
            "sent": precise(last.sent(self.world.now())),
            "text": last.text,
            "threadId": thread,
            "type": "message-in" if last.direction == "from" else "message-out",
            "unread": any(message.unread for message in messages),
        }

    def described_contacts(self, message: Message) -> list[dict[str, Any]]:
        """Return a message's contacts as objects."""
        people = [self.contacts[who] if isinstance(who, int) else self.contact_of(who) for who in message.contacts]
        return [person.to_json() for person in people]
