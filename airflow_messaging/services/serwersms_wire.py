"""What goes over the wire to and from SerwerSMS.pl: numbers and pages in requests; messages, reports and limits."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import TypeVar

from airflow_messaging.exceptions import InvalidInput, ProtocolError, Shown
from airflow_messaging.messages import Attachment, JsonDict, Message, Receipt, Status, in_order
from airflow_messaging.services.base import Call, require, without
from airflow_messaging.services.http import JsonBody, Request
from airflow_messaging.services.paging import Page
from airflow_messaging.services.parsing import Reader

T = TypeVar("T")

MAX_NUMBERS = 100_000

STATUSES = {
    "saved": Status.QUEUED,
    "pending": Status.QUEUED,
    "in_progress": Status.QUEUED,
    "queued": Status.QUEUED,
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "undelivered": Status.FAILED,
    "unsent": Status.FAILED,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many messages of one kind the account may still send.

    :param type: The kind, in the vendor's words: ``eco``, ``full``, ``mms``, ``voice``.
    :param value: How many; None where the service does not say.
    :param chars_limit: The most characters of one, where there is such a limit.
    :param raw: The service's own record.
    """

    type: str
    value: int | None = None
    chars_limit: int | None = None
    raw: JsonDict = dataclasses.field(default_factory=dict, repr=False, compare=False, hash=False)


def numbers(phone: str | Sequence[str]) -> str | list[str]:
    """Return phone numbers as the service wants them.

    :param phone: One number or several.
    :return: One text or a list of texts.
    :raises InvalidInput: If there are none or too many, or one is not a text.
    """
    listed = [phone] if isinstance(phone, str) else in_order(phone)
    good = all(isinstance(number, str) and number.strip() for number in listed)
    got = Shown(f"{len(listed)} numbers" if good else "an empty number, or one that is not a text")
    require(good and 0 < len(listed) <= MAX_NUMBERS, "phone", got, f"1 to {MAX_NUMBERS} numbers, each a text")
    return listed[0] if isinstance(phone, str) else listed


def with_fields(request: Request, fields: JsonDict) -> Request:
    """Return a copy of a request with these fields added to its body."""
    body = request.body if isinstance(request.body, JsonBody) else JsonBody({})
    return dataclasses.replace(request, body=JsonBody({**body.value, **fields}))


def pages_of(call: Call[Page[T]]) -> Callable[[int, int], Call[Page[T]]]:
    """Return what makes the call for each page, given the one for the first."""

    def page(number: int, _before: int) -> Call[Page[T]]:
        request = call.request if number == 1 else with_fields(call.request, {"page": number})
        return dataclasses.replace(call, request=request)

    return page


def place(message: Message) -> tuple[str, datetime]:
    """Return what a received message can be asked for by: its sender and its second.

    :param message: The message.
    :raises InvalidInput: If it lacks either.
    """
    if message.sender is None or message.received_at is None:
        raise InvalidInput(
            "message", Shown("one without sender or received_at"), "a message received from SerwerSMS.pl"
        )
    return message.sender, message.received_at.replace(microsecond=0)


def received(answer: Reader, zone: tzinfo, now: datetime) -> Page[Message]:
    """Read a page of incoming messages.

    :param answer: The answer.
    :param zone: The zone in which the service writes times.
    :param now: The present time, aware.
    """
    return Page([_message(item, zone, now) for item in items(answer, "items")], _more(answer))


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """Whether a message has a certain attachment, and its bytes.

    :param message_id: The message.
    :param data: The attachment's bytes; None if the message has no such attachment.
    """

    message_id: str
    data: bytes | None = dataclasses.field(repr=False)


def files(answer: Reader, attachment_id: str) -> Page[File]:
    """Read one attachment of each message on a page of incoming messages.

    :param answer: The answer.
    :param attachment_id: The attachment; unknown to most of the messages.
    :raises ProtocolError: If its bytes are missing.
    """
    found = []
    for item in items(answer, "items"):
        entries = {file.identifier("id"): file for file in items(item, "attachments")}
        file = entries.get(attachment_id)
        if file is not None and file.text("data") is None:
            raise ProtocolError(answer.service, answer.endpoint, "field 'data': expected a text, got nothing")
        found.append(File(item.identifier("id"), _decoded(file.text("data") or "") if file else None))
    return Page(found, _more(answer))


def reports(answer: Reader, zone: tzinfo) -> Page[Receipt]:
    """Read a page of reports.

    :param answer: The answer.
    :param zone: The zone in which the service writes times.
    """
    return Page([_report(item, zone) for item in items(answer, "items")], _more(answer))


def limits(answer: Reader) -> list[Limit]:
    """Read what the account may still send.

    :param answer: The answer.
    """
    return [
        Limit(
            type=item.identifier("type"),
            value=item.whole("value"),
            chars_limit=item.whole("chars_limit"),
            raw=item.record,
        )
        for item in items(answer, "items")
    ]


def items(parent: Reader, name: str) -> list[Reader]:
    """Return readers of the records in a list.

    :param parent: The answer or record.
    :param name: Name of the list.
    """
    return [Reader(parent.service, parent.endpoint, item) for item in parent.items(name)]


def _message(item: Reader, zone: tzinfo, now: datetime) -> Message:
    attachments = items(item, "attachments")
    recipient = item.optional_identifier("to_number")
    raw = {**item.record, "attachments": [without(file.record, "data") for file in attachments]}
    return Message(
        service=item.service,
        id=item.identifier("id"),
        sender=item.optional_identifier("phone"),
        recipients=(recipient,) if recipient else (),
        subject=item.text("title"),
        text=item.text("text"),
        received_at=item.time("recived", zone, now),
        in_reply_to=item.optional_identifier("message_id"),
        attachments=tuple(_attachment(file) for file in attachments),
        raw=raw if attachments else item.record,
    )


def _attachment(file: Reader) -> Attachment:
    id_ = file.identifier("id")
    data = file.text("data")
    try:
        size = len(_decoded(data)) if data is not None else None
    except ValueError:
        # One damaged file must not keep all messages from being received; only downloading it will fail.
        size = None
    return Attachment(id=id_, filename=file.text("name") or id_, content_type=file.text("content_type"), size=size)


def _report(item: Reader, zone: tzinfo) -> Receipt:
    word = item.text("status")
    if word not in STATUSES:
        raise ProtocolError(item.service, item.endpoint, "field 'status': not a word of the documents")
    return Receipt(
        service=item.service,
        id=item.identifier("id"),
        status=STATUSES[word],
        sent_at=item.time("sent", zone),
        raw=item.record,
    )


def _more(answer: Reader) -> bool:
    paging = answer.child("paging") if answer.has("paging") else None
    if paging is None or not (paging.has("page") and paging.has("count")):
        return False
    return int(paging.identifier("page")) < int(paging.identifier("count"))


def _decoded(data: str) -> bytes:
    return base64.b64decode("".join(data.split()), validate=True)
