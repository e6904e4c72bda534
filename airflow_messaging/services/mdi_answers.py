"""What MDI g8teway answers: messages, each wrapped in an object of its own, and the receipt of a send."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from airflow_messaging.exceptions import InvalidInput, ProtocolError
from airflow_messaging.messages import JsonDict, Message, Receipt, Status
from airflow_messaging.services.base import without
from airflow_messaging.services.http import Response
from airflow_messaging.services.parsing import Reader, parse_json, text_or_content, whole_number

STATUS = {0: Status.QUEUED, 1: Status.SENT, 2: Status.DELIVERED, 3: Status.FAILED}


def wrapped_message(service: str, endpoint: str, response: Response) -> Reader:
    """Return a reader of the record in ``{"message": {…}}``."""
    return Reader(service, endpoint, parse_json(service, endpoint, response)).child("message")


def message_list(service: str, response: Response, zone: tzinfo, *, with_ids: bool) -> list[Message]:
    """Read ``[{"message": {…}}, …]``; the records may lack their ids if they were not asked for."""
    entries = parse_json(service, "messages", response)
    if not isinstance(entries, list):
        raise ProtocolError(service, "messages", "expected a list")
    records = [Reader(service, "messages", entry).child("message") for entry in entries]
    return [message_of(record, zone, with_id=with_ids) for record in records]


def message_of(record: Reader, zone: tzinfo, *, with_id: bool = True) -> Message:
    """Read one record."""
    # Asked for as "time" and "replyto", they come back under other names.
    sent_at = record.time("datetime" if record.has("datetime") else "time", zone)
    reference = record.optional_identifier("refid", "replyto")
    unit, user, answered = (
        None if value == "-1" else value
        for value in (record.optional_identifier("unitid"), record.optional_identifier("userid"), reference)
    )
    # True from a unit to a user; a message that a user creates comes back with false.
    sender, recipient = {True: (unit, user), False: (user, unit), None: (None, None)}[record.flag("fromto")]
    timeout_min = record.whole("timeout") or 0
    content = record.text("content")
    text, binary = (None, None) if content is None else text_or_content(content.encode(errors="surrogatepass"))
    return Message(
        service=record.service,
        id=record.identifier("id") if with_id else record.optional_identifier("id") or "",
        sender=sender,
        recipients=(recipient,) if recipient is not None else (),
        text=text,
        content=binary,
        sent_at=sent_at,
        received_at=sent_at,
        expires_at=sent_at + timedelta(minutes=timeout_min) if sent_at and timeout_min > 0 else None,
        in_reply_to=answered,
        raw=record.record if binary is None else without(record.record, "content"),
    )


def receipt_of(record: Reader, zone: tzinfo, *, otherwise_at: datetime) -> Receipt:
    """Read the record of a message that was just created, ``otherwise_at`` unless it says when."""
    return Receipt(
        service=record.service,
        id=record.identifier("id"),
        status=status_of(record) if record.has("status") else Status.QUEUED,
        sent_at=record.time("datetime", zone) or otherwise_at,
        raw=without(record.record, "content"),
    )


def is_the_one(message: Message, fields: JsonDict) -> bool:
    """Say whether a listed message is the one that these arguments of ``POST messages`` made.

    :param message: The message, on the right channel and to or from the right unit.
    :param fields: The arguments.
    """
    content = text_or_content(str(fields["content"]).encode(errors="surrogatepass"))
    answered = None if fields.get("replyto") is None else str(int(fields["replyto"]))
    sent_by_unit = fields.get("direction") == "unittouser"
    return (
        (message.text, message.content) == content
        and message.in_reply_to == answered
        and message.raw.get("fromto") is sent_by_unit
        and str(message.raw.get("unitid")) == str(int(fields["unitid"]))
        and str(message.raw.get("channelid")) == str(int(fields["channelid"]))
    )


def written(when: datetime) -> str:
    """Return a time, in UTC, as the service wants it: it has refused times without the ``Z``."""
    return f"{when.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def status_of(record: Reader) -> Status:
    """Translate the field ``status``."""
    number = record.whole("status")
    if number not in STATUS:
        raise ProtocolError(record.service, record.endpoint, f"field 'status': expected 0 to {max(STATUS)}")
    return STATUS[number]


def number_of(message: Message) -> int:
    """Return a message's id as the number that it is."""
    try:
        return whole_number("id", message.id, 0)
    except InvalidInput:
        raise ProtocolError(message.service, "messages", "field 'id': expected a whole number") from None
