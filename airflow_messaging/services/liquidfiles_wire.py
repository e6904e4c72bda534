"""What goes over the wire to and from LiquidFiles: the fields of requests; messages, files, and how to tell them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from airflow_messaging.exceptions import NotFound, ProtocolError, Shown, UnsupportedFeature
from airflow_messaging.messages import Attachment, JsonDict, Message, Receipt, Status, Upload, in_order
from airflow_messaging.services.base import require, without
from airflow_messaging.services.http import Response
from airflow_messaging.services.parsing import Reader, as_utc, parse_json, says_zone, true_or_false, whole_number
from airflow_messaging.services.sending import is_since, the_sent_one

LIFETIME = timedelta(days=14)
"""How long a message exists that was given no last day, if the server's setting is that of the documents' sample."""

_NO_TIME = datetime.min.replace(tzinfo=UTC)


def checked_fields(
    *,
    lists: Mapping[str, Sequence[str]],
    texts: Mapping[str, str | None],
    numbers: Mapping[str, tuple[int | None, int | None]],
    flags: Mapping[str, bool | None],
) -> JsonDict:
    """Return the fields of a message that were given, each of the right kind.

    :param lists: Lists of texts; one of those that name people has to name somebody.
    :param texts: Texts.
    :param numbers: Whole numbers, each with the highest that is allowed.
    :param flags: True or False.
    :raises InvalidInput: If one is of another kind.
    """
    given: JsonDict = {name: _texts(name, values) for name, values in lists.items()}
    somebody = given["recipients"] or given["cc"] or given["bcc"]
    require(somebody, "recipients", lists["recipients"], "at least one address")
    for name, text in texts.items():
        require(text is None or isinstance(text, str), name, Shown(type(text).__name__), "a text")
        given[name] = text
    for name, (number, highest) in numbers.items():
        given[name] = number if number is None else whole_number(name, number, 0, highest)
    for name, flag in flags.items():
        given[name] = flag if flag is None else true_or_false(name, flag)
    return {name: value for name, value in given.items() if value not in (None, [])}


def narrowed(sent_after: date | str | None, sent_in_the_last: int | None, zone: tzinfo) -> tuple[tuple[str, str], ...]:
    """Return the parameters that narrow a list of messages."""
    params: list[tuple[str, str]] = []
    if sent_after is not None:
        params.append(("sent_after", day_of("sent_after", sent_after, zone)))
    if sent_in_the_last is not None:
        params.append(("sent_in_the_last", str(whole_number("sent_in_the_last", sent_in_the_last, 1))))
    return tuple(params)


def day_of(field: str, value: date | str, zone: tzinfo) -> str:
    """Return a day as the service writes it: a time counts as its day in the connection's zone."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return as_utc(field, value, zone).astimezone(zone).date().isoformat()


def answer(service: str, endpoint: str, response: Response) -> Reader:
    """Return a reader of the object in an answer."""
    return Reader(service, endpoint, parse_json(service, endpoint, response))


def records(service: str, endpoint: str, key: str, response: Response) -> list[Reader]:
    """Return readers of the objects in the list under a key, which has to be there."""
    whole = answer(service, endpoint, response)
    if not whole.has(key):
        raise ProtocolError(service, endpoint, f"field {key!r}: expected a list, got nothing")
    return [Reader(service, endpoint, item) for item in whole.items(key)]


def oldest_first(messages: Sequence[Message]) -> list[Message]:
    """Sort messages by their times; those of one moment are taken to come newest first, unless the list says other."""
    times = [message.sent_at or _NO_TIME for message in messages]
    rising = times == sorted(times) and times != times[::-1]
    return sorted(messages if rising else reversed(messages), key=lambda message: message.sent_at or _NO_TIME)


def message_of(record: Reader, zone: tzinfo, now: datetime) -> Message:
    """Read one message, received or sent."""
    files = [Reader(record.service, record.endpoint, item) for item in record.items("attachments")]
    recipients = [address for name in ("recipients", "ccs", "bccs") for address in record.texts(name)]
    created_at = record.time("created_at", zone, now)
    return Message(
        service=record.service,
        id=record.identifier("id"),
        sender=record.text("sender"),
        recipients=tuple(dict.fromkeys(recipients)),
        subject=record.text("subject"),
        text=record.text("message"),
        sent_at=created_at,
        received_at=created_at,
        expires_at=_end_of(record, zone),
        attachments=tuple(attachment_of(file) for file in files),
        # A one-time URL is as good as the file and needs no key: none may get into XCom or a log.
        raw={**record.record, "attachments": [without(file.record, "url") for file in files]},
    )


def attachment_of(file: Reader) -> Attachment:
    """Read one file's record."""
    return Attachment(
        id=file.identifier("id"),
        filename=file.identifier("filename"),
        content_type=file.text("content_type"),
        size=file.whole("size"),
        checksum=file.text("checksum"),
        crc32=file.text("crc32"),
    )


def files(service: str, endpoint: str, response: Response) -> list[Attachment]:
    """Read a list of files."""
    return [attachment_of(file) for file in records(service, endpoint, "attachments", response)]


def one_time_url(message: Reader, attachment: Attachment) -> str:
    """Return the URL that a message, just viewed, shows for one of its files."""
    for item in message.items("attachments"):
        file = Reader(message.service, message.endpoint, item)
        if file.identifier("id") == attachment.id:
            return file.identifier("url")
    words = "the message does not have this attachment any more"
    raise NotFound(message.service, message.endpoint, status=200, message=words)


def stored_file(service: str, endpoint: str, data: Upload, response: Response) -> str:
    """Return the id of a file that was just uploaded, if it is whole."""
    stored = answer(service, endpoint, response).child("attachment")
    size, crc32 = stored.whole("size"), _hexadecimal(stored.text("crc32"))
    if size not in (None, data.size):
        raise ProtocolError(service, endpoint, f"the service stored {size} of {data.size} bytes")
    if None not in (crc32, data.crc32) and crc32 != data.crc32:
        raise ProtocolError(service, endpoint, "the service stored something else: its CRC-32 differs")
    return stored.identifier("id")


def receipt_of(record: Reader, sent_at: datetime | None) -> Receipt:
    """Read the record of a message that was sent: nothing but its id is asked of it."""
    return Receipt(
        service=record.service,
        id=record.identifier("id"),
        status=Status.SENT,
        sent_at=sent_at,
        raw=without(record.record, "message", "attachments"),
    )


def refuse_if_expired(
    service: str, expires_at: date | str | None, since: datetime, now: datetime, zone: tzinfo
) -> None:
    """Refuse to look for a message that would not be in any list by now, whether it was sent or not.

    :param service: Connection type of the service.
    :param expires_at: The last day that the message was given. Default: :data:`LIFETIME` from ``since`` on.
    :param since: From when on it may have been sent.
    :param now: The present time.
    :param zone: The connection's zone.
    :raises UnsupportedFeature: If it would have expired.
    """
    end: datetime | None = since + LIFETIME
    if expires_at is not None:
        end = _end_of_day(date.fromisoformat(day_of("expires_at", expires_at, zone)), zone)
    if end is not None and now >= end:
        raise UnsupportedFeature(service, "looking for a sent message that would have expired by now")


def found(
    service: str,
    listed: Iterable[Message],
    fields: JsonDict,
    files: Sequence[Upload],
    *,
    since: datetime,
    now: datetime,
) -> Message | None:
    """Return the first message in the sent list that is the one that these fields and files make.

    :param service: Connection type of the service.
    :param listed: The sent list.
    :param fields: What ``POST message`` was given, without the ids of files, which each attempt uploads anew.
    :param files: The files.
    :param since: Older messages are others.
    :param now: The present time by the service's clock.
    :raises UnsupportedFeature: If all else is the same and one of the files has no CRC-32 to compare, or only the time
        differs as zones do.
    """

    def alike() -> Iterator[tuple[bool | None, Message]]:
        for message in listed:
            fits = _fits(message, since, now)
            if fits is not False and _is_the_same(message, fields, files):
                yield fits, message

    return the_sent_one(service, alike())


def _fits(message: Message, since: datetime, now: datetime) -> bool | None:
    if message.sent_at is None:
        return False
    if says_zone(message.raw.get("created_at")):
        return message.sent_at >= since
    return is_since(message.sent_at, since=since, now=now)


def _is_the_same(message: Message, fields: JsonDict, files: Sequence[Upload]) -> bool:
    people = Reader(message.service, "messages/sent", message.raw)
    to, cc, bcc = (_addresses(fields.get(name, [])) for name in ("recipients", "cc", "bcc"))
    return (
        _addresses(people.texts("recipients")) == to
        and _addresses(people.texts("ccs")) == cc
        # The sender's own copy may stand here, too; and old versions do not tell.
        and (not people.has("bccs") or _addresses(people.texts("bccs")) >= bcc)
        and _lines(message.subject) == _lines(fields.get("subject"))
        and _lines(message.text) == _lines(fields.get("message"))
        and _has_files(message, files)
    )


def _texts(field: str, values: Sequence[str]) -> list[str]:
    is_list = isinstance(values, Iterable) and not isinstance(values, str | bytes)
    listed = in_order(values) if is_list else []
    good = all(isinstance(value, str) and value.strip() and value.isprintable() for value in listed)
    require(is_list and good, field, values, "a list of texts")
    return listed


def _has_files(message: Message, files: Sequence[Upload]) -> bool:
    if Counter((file.filename, file.size) for file in message.attachments) != Counter(
        (file.filename, file.size) for file in files
    ):
        return False
    there = [(file.filename, _hexadecimal(file.crc32)) for file in message.attachments]
    ours = [(file.filename, file.crc32) for file in files]
    if any(crc32 is None for _, crc32 in [*there, *ours]):
        raise UnsupportedFeature(message.service, "looking for a sent message whose files have no CRC-32")
    return Counter(there) == Counter(ours)


def _addresses(addresses: Sequence[str]) -> set[str]:
    return {address.strip().lower() for address in addresses}


def _lines(text: str | None) -> str:
    return (text or "").replace("\r\n", "\n")


def _hexadecimal(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 16)
    except ValueError:
        return None


def _end_of(record: Reader, zone: tzinfo) -> datetime | None:
    try:
        last_day = date.fromisoformat((record.text("expires_at") or "").strip())
    except ValueError:
        return record.time("expires_at", zone)
    return _end_of_day(last_day, zone)


def _end_of_day(day: date, zone: tzinfo) -> datetime | None:
    try:
        return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    except OverflowError:
        # The end of the calendar stands for never.
        return None
