"""What goes over the wire to and from SendHub: recipients and files; messages, conversations, contacts and receipts."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from urllib.parse import unquote

from airflow_messaging.exceptions import InvalidInput, ProtocolError, Shown
from airflow_messaging.messages import Attachment, JsonDict, Message, Receipt, Status, Upload, in_order
from airflow_messaging.services.base import require, without
from airflow_messaging.services.http import MEBIBYTE
from airflow_messaging.services.parsing import Reader, whole_number
from airflow_messaging.services.sending import CLOCKS_DIFFER_BY, right_behind

Recipients = str | int | Sequence[str | int]

LARGEST_MMS = 5 * MEBIBYTE
"""A file that is sent travels inside the request, and is held in memory. Networks take less than this."""

_SCHEDULED_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{4}")
_SCHEDULED_AT_RULE = "exactly 24 characters with the zone's offset, such as 2011-02-17T20:29:40-0800"
_TIME_LEFT = re.compile(r"(?:([0-9]{1,4}) days?, )?([0-9]{1,4}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation as the inbox lists it.

    :param id: The service's id of the conversation.
    :param unread: Whether something in it is unread; None where the service does not say.
    :param sender: The other side: the first contact's id.
    :param last_at: When its last message was sent, aware, UTC.
    :param created_at: When it or its last message was made, aware, in a zone that the service does not tell.
    :param raw: The service's own record.
    """

    id: str
    unread: bool | None = None
    sender: str | None = None
    last_at: datetime | None = None
    created_at: datetime | None = None
    raw: JsonDict = dataclasses.field(default_factory=dict, repr=False, compare=False, hash=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """An entry of the address book.

    :param id: The service's id.
    :param name: The name.
    :param number: The phone number, where the service says it.
    :param raw: The service's own record.
    """

    id: str
    name: str = dataclasses.field(repr=False)
    number: str | None = dataclasses.field(default=None, repr=False)
    raw: JsonDict = dataclasses.field(default_factory=dict, repr=False, compare=False, hash=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Contacts under one name.

    :param id: The service's id.
    :param name: The name.
    :param raw: The service's own record.
    """

    id: str
    name: str
    raw: JsonDict = dataclasses.field(default_factory=dict, repr=False, compare=False, hash=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Where the files of a message are.

    :param message_id: The message.
    :param urls: By the attachment's id.
    """

    message_id: str
    urls: Mapping[str, str] = dataclasses.field(repr=False)


# -- what goes out -----------------------------------------------------------------------------------------------------


def listed(given: Recipients) -> list[str | int]:
    """Return one recipient or several as a list."""
    return [given] if isinstance(given, str | int) else in_order(given)


def recipients(field: str, given: Recipients, most: int | None = None, *, numbers: bool) -> list[str | int]:
    """Return recipients as the service wants them.

    :param field: Name of the argument.
    :param given: Ids as numbers or digits, and phone numbers.
    :param most: The most that there may be. Default: any.
    :param numbers: Whether phone numbers are allowed.
    :raises InvalidInput: If there are too many, or one is neither.
    """
    several = listed(given)
    require(most is None or len(several) <= most, field, Shown(f"{len(several)} {field}"), f"at most {most}")
    return [_recipient(field, value, numbers=numbers) for value in several]


def _recipient(field: str, value: str | int, *, numbers: bool) -> str | int:
    if numbers and isinstance(value, str) and re.fullmatch(r"\+[0-9]+", value):
        return value
    try:
        return whole_number(field, value, 0)
    except InvalidInput:
        rule = "ids in digits" + (", and phone numbers that begin with +" if numbers else "")
        raise InvalidInput(field, Shown("an entry that is no id"), rule) from None


def scheduled_at(value: datetime | str) -> str:
    """Return a time as the service wants it.

    :param value: A datetime with a zone, or the 24 characters.
    :raises InvalidInput: If it is neither.
    """
    if isinstance(value, datetime):
        require(value.tzinfo, "scheduled_at", Shown(f"{value}, which lacks a zone"), "a datetime with a zone")
        value = value.strftime("%Y-%m-%dT%H:%M:%S%z")
    good = isinstance(value, str) and _SCHEDULED_AT.fullmatch(value)
    try:
        datetime.fromisoformat(value if good else "")
    except ValueError:
        raise InvalidInput("scheduled_at", value, _SCHEDULED_AT_RULE) from None
    return value


def mms(given: Mapping[str, str]) -> dict[str, str]:
    """Return the file of an MMS as the service wants it.

    :param given: ``filename``, and either ``url`` or ``data`` in base64.
    :raises InvalidInput: If it is something else.
    """
    rule = "a dictionary with filename, and either the url of the web or the data in base64"
    fields = dict(given) if isinstance(given, Mapping) else {}
    good = fields.keys() in ({"filename", "url"}, {"filename", "data"})
    good = good and all(isinstance(value, str) and value.strip() for value in fields.values())
    require(good, "mms", Shown("something else"), rule)
    if "url" in fields:
        require(fields["url"].startswith(("https://", "http://")), "mms", Shown("a url of another kind"), rule)
        return fields
    try:
        size = len(base64.b64decode(fields["data"], validate=True))
    except ValueError:
        raise InvalidInput("mms", Shown("data that is not base64"), rule) from None
    require(size <= LARGEST_MMS, "mms", Shown(f"{size} bytes"), f"at most {LARGEST_MMS} bytes")
    return fields


def mms_of(file: Upload) -> dict[str, str]:
    """Return a file as ``mms``.

    :param file: The file. It is read here, and is small: JSON cannot be streamed.
    :raises InvalidInput: If it is too large, or cannot be read any more.
    """
    require(file.size <= LARGEST_MMS, "attachments", Shown(f"{file.size} bytes"), f"at most {LARGEST_MMS} bytes")
    try:
        with file.open() as opened:
            data = opened.read(file.size + 1)
    except OSError as error:
        raise InvalidInput("attachments", file.filename, f"a readable file ({type(error).__name__})") from None
    require(data, "attachments", Shown("an empty file"), "a file with something in it")
    require(len(data) == file.size, "attachments", file.filename, "a file that does not change while it is sent")
    return {"filename": file.filename, "data": base64.b64encode(data).decode("ascii")}


# -- what comes back ---------------------------------------------------------------------------------------------------


def contact(item: Reader) -> Contact:
    """Read an entry of the address book.

    :param item: The service's record.
    """
    return Contact(
        id=item.identifier("id_str", "id"),
        name=item.text("name") or "",
        number=item.optional_identifier("number"),
        raw=item.record,
    )


def group(item: Reader) -> Group:
    """Read a group.

    :param item: The service's record.
    """
    return Group(id=item.identifier("id_str", "id"), name=item.text("name") or "", raw=item.record)


def files(item: Reader) -> Files:
    """Read where the files of a message are.

    :param item: The message's record.
    """
    return Files(_message_id(item), {file.id: url for file, url in _attachments(item) if url})


def in_thread(record: JsonDict, thread: Thread, more: Mapping[str, object] | None = None) -> JsonDict:
    """Return a message's record with its conversation's id, by which its files are found again.

    :param record: The message's record.
    :param thread: The conversation.
    :param more: The message's record in the conversation, whose files are taken over.
    """
    added = {} if more is None or "attachments" not in more else {"attachments": more["attachments"]}
    return {**record, **added, "threadId": thread.id}


def message(item: Reader, zone: tzinfo) -> Message:
    """Read a message.

    :param item: The service's record.
    :param zone: The zone of its times.
    """
    inbound = is_inbound(item.record)
    contacts, groups = _ids(item, "contacts"), _ids(item, "groups")
    sent_at = item.time("sent", zone)
    return Message(
        service=item.service,
        id=_message_id(item),
        sender=contacts[0] if inbound and contacts else None,
        recipients=() if inbound else (*contacts, *groups),
        text=item.text("text"),
        sent_at=sent_at,
        received_at=sent_at if inbound else None,
        attachments=tuple(attachment for attachment, _url in _attachments(item)),
        raw=_without_urls(item.record),
    )


def receipt(answer: Reader, zone: tzinfo, now: datetime) -> Receipt:
    """Read the answer to a send.

    :param answer: The answer.
    :param zone: The zone of its times.
    :param now: The present time by the service's clock.
    """
    scheduled_at = answer.time("scheduled_at", zone)
    return Receipt(
        service=answer.service,
        id=_message_id(answer),
        status=status(answer.record),
        # What is scheduled for the past bears that time.
        sent_at=(None if scheduled_at else answer.time("sent", zone)) or _accepted_at(answer, zone, now),
        scheduled_at=scheduled_at,
        raw=_without_urls(answer.record),
    )


def _accepted_at(answer: Reader, zone: tzinfo, now: datetime) -> datetime:
    created_at = answer.time("created_at", zone)
    # It may be in another zone than the rest; what it says within the quarter of an hour is right in any.
    nearest = now if created_at is None else right_behind(created_at, now - CLOCKS_DIFFER_BY)
    # The Date header is cut to whole seconds: one second earlier is surely not too late.
    otherwise = now.replace(microsecond=0) - timedelta(seconds=1)
    return otherwise if created_at is None or nearest > now + CLOCKS_DIFFER_BY else nearest


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
        created_at=item.time("created_at", zone),
        raw=item.record,
    )


def people(item: Reader, field: str) -> list[tuple[str, str | None]]:
    """Read a record's contacts or groups, which older answers give as bare ids.

    :param item: The service's record.
    :param field: ``contacts`` or ``groups``.
    :return: For each its id, or its number where it has no other, and its number where the service says it.
    """
    entries = [entry if isinstance(entry, dict) else {"id": entry} for entry in item.items(field)]
    ids = [Reader(item.service, item.endpoint, entry).identifier("id_str", "id", "number") for entry in entries]
    numbers = [entry.get("number") for entry in entries]
    return [
        (id_, number if isinstance(number, str) and number else None) for id_, number in zip(ids, numbers, strict=True)
    ]


def is_inbound(record: JsonDict) -> bool:
    """Say whether a record is a message that came in: neither one that went out nor a voice call."""
    kind = str(record.get("type") or "")
    return not kind.startswith("voicecall") and (record.get("direction") == "from" or kind == "message-in")


def is_outbound(record: JsonDict) -> bool:
    """Say whether a record is a message that went out, or waits to."""
    kind = str(record.get("type") or "")
    return not kind.startswith("voicecall") and (record.get("direction") == "to" or kind == "message-out")


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


def _attachments(item: Reader) -> Iterator[tuple[Attachment, str]]:
    """Read a message's files, of which the documents say no more than that there are some."""
    for place, entry in enumerate(item.items("attachments"), 1):
        file = Reader(item.service, item.endpoint, entry if isinstance(entry, dict) else {"url": entry})
        url = _first_text(file, "url", "uri", "link") or ""
        filename = _first_text(file, "filename", "name") or unquote(url.partition("?")[0].rpartition("/")[2])
        id_ = next((str(value) for value in (file.record.get("id_str"), file.record.get("id")) if value), str(place))
        size = file.record.get("size")
        attachment = Attachment(
            id=id_,
            filename=filename or id_,
            content_type=_first_text(file, "content_type", "contentType", "mimetype"),
            size=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        )
        yield attachment, url


def _first_text(file: Reader, *names: str) -> str | None:
    # One file of an unforeseen form must not keep all messages from being received; only downloading it will fail.
    return next((value for name in names if isinstance(value := file.record.get(name), str) and value), None)


def _without_urls(record: JsonDict) -> JsonDict:
    """Return a record without the addresses of files: they are as good as the files, and may need no key."""
    attachments = record.get("attachments")
    if not isinstance(attachments, list):
        return record
    shown = [without(file, "url", "uri", "link") if isinstance(file, dict) else {} for file in attachments]
    return {**record, "attachments": shown}


def _message_id(item: Reader) -> str:
    return item.identifier("message_id") if item.flag("id_is_thread_id") else item.identifier("id_str", "id")


def _ids(item: Reader, field: str) -> list[str]:
    return [id_ for id_, _number in people(item, field)]
