"""What SendHub writes: messages, conversations, receipts; older and newer forms of each."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime, tzinfo

from airflow_messaging.exceptions import ProtocolError
from airflow_messaging.messages import JsonDict, Message, Receipt, Status
from airflow_messaging.services.parsing import Reader

_TIME_LEFT = re.compile(r"(?:([0-9]{1,4}) days?, )?([0-9]{1,4}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation as the inbox lists it.

    :param id: The service's id of the conversation.
    :param unread: Whether something in it is unread; None where the service does not say.
    :param sender: The other side: the first contact's id.
    :param last_at: When its last message was sent, aware, UTC.
    :param raw: The service's own record.
    """

    id: str
    unread: bool | None = None
    sender: str | None = None
    last_at: datetime | None = None
    raw: JsonDict = dataclasses.field(default_factory=dict, repr=False, compare=False, hash=False)


def message(item: Reader, zone: tzinfo) -> Message:
    """Read a message.

    :param item: The service's record.
    :param zone: The zone of its times.
    """
    inbound = is_inbound(item.record)
    contacts, groups = _ids(item, "contacts"), _ids(item, "groups")
    sent_at, created_at = item.time("sent", zone), item.time("created_at", zone)
    return Message(
        service=item.service,
        id=_message_id(item),
        sender=contacts[0] if inbound and contacts else None,
        recipients=() if inbound else (*contacts, *groups),
        text=item.text("text"),
        sent_at=sent_at,
        received_at=(sent_at or created_at) if inbound else None,
        raw=item.record,
    )


def receipt(answer: Reader, zone: tzinfo) -> Receipt:
    """Read the answer to a send.

    :param answer: The answer.
    :param zone: The zone of its times.
    """
    return Receipt(
        service=answer.service,
        id=_message_id(answer),
        status=status(answer.record),
        sent_at=answer.time("sent", zone) or answer.time("created_at", zone),
        scheduled_at=answer.time("scheduled_at", zone),
        raw=answer.record,
    )


def thread(item: Reader, zone: tzinfo) -> Thread:
    """Read an entry of the inbox.

    :param item: The service's record.
    :param zone: The zone of its times.
    :raises ProtocolError: If the conversation has no id.
    """
    found = re.search(r"/threads/([^/]+)/?$", item.text("resource_uri") or "")
    id_ = item.optional_identifier("threadId") or (found[1] if found else None)
    if id_ is None:
        raise ProtocolError(item.service, item.endpoint, "field 'threadId': expected an id, got nothing")
    contacts = _ids(item, "contacts")
    return Thread(
        id=id_,
        unread=bool(item.record["unread"]) if item.has("unread") else None,
        sender=contacts[0] if contacts else None,
        last_at=item.time("sent", zone),
        raw=item.record,
    )


def is_inbound(record: JsonDict) -> bool:
    """Say whether a record is a message that came in: neither one that went out nor a voice call."""
    kind = str(record.get("type") or "")
    return not kind.startswith("voicecall") and (record.get("direction") == "from" or kind == "message-in")


def status(record: JsonDict) -> Status:
    """Return how far a sent message has come; the service knows nothing beyond sent."""
    if record.get("sent"):
        return Status.SENT
    return Status.SCHEDULED if record.get("scheduled_at") else Status.QUEUED


def seconds(time_left: object) -> float | None:
    """Read how long to wait, such as ``0:00:30``; None if it is anything else."""
    found = _TIME_LEFT.fullmatch(time_left) if isinstance(time_left, str) else None
    if found is None:
        return None
    days, hours, minutes, rest = (int(number or 0) for number in found.groups()[:4])
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest + (1 if found[5] else 0))


def _message_id(item: Reader) -> str:
    return item.identifier("message_id") if item.flag("id_is_thread_id") else item.identifier("id_str", "id")


def _ids(item: Reader, field: str) -> list[str]:
    entries = [entry if isinstance(entry, dict) else {"id": entry} for entry in item.items(field)]
    return [Reader(item.service, item.endpoint, entry).identifier("id_str", "id", "number") for entry in entries]
