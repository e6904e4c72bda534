"""Messages, the same for all five services: frozen, and plain JSON on the way through XCom."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import Any, BinaryIO, Self, TypeVar, cast

from airflow_messaging.exceptions import InvalidInput, MessagingError, Shown

JsonDict = dict[str, Any]
T = TypeVar("T")


class Status(StrEnum):
    """How far a sent message has come, in words shared by all services."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the message will stay in this state."""
        return self in (Status.DELIVERED, Status.FAILED)


_INT64 = range(-(2**63), 2**63)

_PROGRESS = (Status.SCHEDULED, Status.QUEUED, Status.SENT, Status.DELIVERED)


def has_reached(status: Status, wanted: Status) -> bool:
    """Say whether a message in ``status`` has come at least as far as ``wanted``.

    :param status: The message's present state.
    :param wanted: The state that is waited for.
    :return: True once it is reached; a failed message reaches only ``failed``.
    """
    if Status.FAILED in (status, wanted):
        return status is wanted
    return _PROGRESS.index(status) >= _PROGRESS.index(wanted)


def as_stored(value: Any) -> Any:
    """Return plain JSON in a form that Airflow and its database take, whatever a sender wrote.

    :param value: Plain JSON.
    :return: The same, except that NUL characters, and halves of characters that UTF-16 writes in two, are replaced by
        ``U+FFFD``, and that numbers which databases have no room for have become texts.
    """
    if isinstance(value, str):
        return as_stored_text(value)
    if isinstance(value, Mapping):
        return {as_stored(name): as_stored(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_stored(item) for item in value]
    has_no_room = value not in _INT64 if isinstance(value, int) else isinstance(value, float) and not isfinite(value)
    return str(value) if has_no_room else value


def as_stored_text(text: str) -> str:
    """Return a text as :func:`as_stored` does."""
    text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file on its way to a service: what must be known beforehand, and how to read it.

    :param filename: Name that the recipient sees, without a path.
    :param size: Length in bytes.
    :param content_type: MIME type.
    :param md5: Lowercase hexadecimal MD5 of the content; empty for a part of a file.
    :param crc32: CRC-32 of the content. Default: not known.
    :param open: Opens the content for reading in binary; may be called once per attempt.
    """

    filename: str
    size: int
    content_type: str
    md5: str
    crc32: int | None = None
    open: Callable[[], BinaryIO] = dataclasses.field(repr=False, compare=False)


def upload_from_bytes(filename: str, data: bytes, *, content_type: str = "application/octet-stream") -> Upload:
    """Return an upload of bytes that are already in memory.

    :param filename: Name that the recipient sees.
    :param data: The content.
    :param content_type: MIME type. Default ``application/octet-stream``.
    """
    return Upload(
        filename=filename,
        size=len(data),
        content_type=content_type,
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        crc32=zlib.crc32(data),
        open=lambda: io.BytesIO(data),
    )


def part_of(upload: Upload, start: int, size: int) -> Upload:
    """Return a part of an upload as one of its own, for services that take large files piece by piece.

    :param upload: The whole.
    :param start: Where the part begins, in bytes.
    :param size: Its length in bytes; it ends with the whole at the latest.
    :return: An upload under the same name, without digests.
    """
    size = max(0, min(size, upload.size - start))
    return dataclasses.replace(
        upload, size=size, md5="", crc32=None, open=lambda: cast("BinaryIO", _Part(upload.open(), start, size))
    )


class _Part(io.RawIOBase):
    """Reads a part of a file and closes the file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(min(len(buffer), self._left))
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One message to be sent, in words shared by all services.

    :param to: Recipients, in the service's own form.
    :param text: The text. Default: none.
    :param subject: The subject, where the service has one. Default: none.
    :param attachments: Files. Default: none.
    :param in_reply_to: Id of the message that this one answers. Default: none.
    :param message_id: Client's id of the message: the same for the same message.
    :param options: Further arguments of the service's own send endpoint. Default: none.
    """

    to: tuple[str, ...] = dataclasses.field(repr=False)
    text: str | None = dataclasses.field(default=None, repr=False)
    subject: str | None = dataclasses.field(default=None, repr=False)
    attachments: tuple[Upload, ...] = ()
    in_reply_to: str | None = None
    message_id: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        """Refuse what is no text, such as a number that a template has become, before anything is noted or sent.

        :raises InvalidInput: If ``text`` or ``subject`` is no text, or ``options`` no mapping.
        """
        for name in ("text", "subject"):
            if not isinstance(getattr(self, name), str | None):
                raise InvalidInput(name, Shown(f"a value of type {type(getattr(self, name)).__name__}"), "a text")
        if not isinstance(self.options, Mapping):
            raise InvalidInput("options", Shown(f"a value of type {type(self.options).__name__}"), "a mapping")


def as_recipients(to: str | Iterable[Any]) -> tuple[str, ...]:
    """Return recipients as a draft holds them.

    :param to: One recipient or several; a set is put into order.
    """
    # Anything else is the service's to refuse, except that some have numbers for names.
    return tuple(in_order(to)) if isinstance(to, Iterable) and not isinstance(to, str) else (to,)


def in_order(given: Iterable[T]) -> list[T]:
    """Return a list in the order given; a set, which has another order in each process, in one that is always the same.

    :param given: Several of anything.
    """
    return sorted(given, key=repr) if isinstance(given, set | frozenset) else list(given)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that belongs to a received message; its bytes are fetched apart.

    :param id: The service's id of the file.
    :param filename: The name as the sender gave it: untrusted, never to be used as a path.
    :param content_type: MIME type, where the service says it.
    :param size: Length in bytes, where the service says it.
    :param checksum: Hexadecimal SHA-256, SHA-1 or MD5, told apart by its length.
    :param crc32: Hexadecimal CRC-32 as the service writes it, with or without leading zeros.
    """

    id: str
    filename: str
    content_type: str | None = None
    size: int | None = None
    checksum: str | None = None
    crc32: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, received or looked up.

    :param service: Connection type of the service.
    :param id: The service's id of the message.
    :param sender: Who sent it, in the service's own form; None where the service does not say.
    :param recipients: Who it went to, where the service says it.
    :param subject: Subject or title; for Go Integrate Me the file name.
    :param text: The content, where it is text.
    :param content: The content as bytes, where it is not text.
    :param sent_at: When it was sent, aware, UTC.
    :param received_at: When the service received it, aware, UTC.
    :param expires_at: When the service drops it, aware, UTC.
    :param in_reply_to: Id of the message that this one answers.
    :param attachments: Files that came with it; their bytes are fetched apart.
    :param raw: The service's own record, without attachment bytes.
    """

    service: str
    id: str
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    subject: str | None = None
    text: str | None = dataclasses.field(default=None, repr=False)
    content: bytes | None = dataclasses.field(default=None, repr=False)
    sent_at: datetime | None = None
    received_at: datetime | None = None
    expires_at: datetime | None = None
    in_reply_to: str | None = None
    attachments: tuple[Attachment, ...] = ()
    raw: JsonDict = dataclasses.field(default_factory=dict, repr=False, compare=False, hash=False)

    def __repr__(self) -> str:
        """Show what identifies the message and nothing that was written in it or by whom."""
        return f"Message(service={self.service!r}, id={self.id!r}, received_at={self.received_at})"

    def to_dict(self) -> JsonDict:
        """Return the message as plain JSON, ready for XCom.

        :return: A dictionary of strings, numbers, lists and dictionaries. Times are ISO 8601 in UTC; binary content
            is base64 text with ``content_encoding`` set to ``base64``. Texts are such as :func:`as_stored` returns.
        """
        out: JsonDict = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            out[field.name] = value.isoformat() if isinstance(value, datetime) else value
        out["recipients"] = list(self.recipients)
        out["attachments"] = [dataclasses.asdict(attachment) for attachment in self.attachments]
        if self.content is not None:
            out["content"] = base64.b64encode(self.content).decode("ascii")
            out["content_encoding"] = "base64"
        return {name: as_stored(value) for name, value in out.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Bring a message back from :meth:`to_dict`.

        :param data: The dictionary, for example from XCom.
        :return: The same message.
        :raises InvalidInput: If ``data`` is not such a dictionary.
        """
        fields: JsonDict = _known_fields(cls, data, "message")
        try:
            for name in ("sent_at", "received_at", "expires_at"):
                fields[name] = _time_from_json(fields.get(name))
            fields["recipients"] = tuple(fields.get("recipients") or ())
            fields["attachments"] = tuple(Attachment(**item) for item in fields.get("attachments") or ())
            if isinstance(fields.get("content"), str):
                fields["content"] = base64.b64decode(fields["content"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise InvalidInput("message", Shown("a damaged message"), "the JSON of Message.to_dict()") from None
        return cls(**fields)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a service answered to a send.

    :param service: Connection type of the service.
    :param id: Id of the sent message: pass it to the status sensor.
    :param status: How far the message had come when the service answered.
    :param sent_at: The service's time of acceptance, aware, UTC: pass the receipt to a sensor's ``after``.
    :param scheduled_at: When the service will send it, if it was scheduled; aware, UTC.
    :param request_id: The service's reference for support cases.
    :param raw: The service's own record.
    """

    service: str
    id: str
    status: Status
    sent_at: datetime | None = None
    scheduled_at: datetime | None = None
    request_id: str | None = None
    raw: JsonDict = dataclasses.field(default_factory=dict, repr=False, compare=False, hash=False)

    def to_dict(self) -> JsonDict:
        """Return the receipt as plain JSON, ready for XCom; texts are such as :func:`as_stored` returns."""
        out: JsonDict = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            out[field.name] = value.isoformat() if isinstance(value, datetime) else value
        out["status"] = self.status.value
        return {name: as_stored(value) for name, value in out.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Bring a receipt back from :meth:`to_dict`.

        :param data: The dictionary, for example from XCom.
        :return: The same receipt.
        :raises InvalidInput: If ``data`` is not such a dictionary.
        """
        fields = _known_fields(cls, data, "receipt")
        try:
            fields["status"] = Status(fields["status"])
            for name in ("sent_at", "scheduled_at"):
                fields[name] = _time_from_json(fields.get(name))
        except (KeyError, TypeError, ValueError):
            raise InvalidInput("receipt", Shown("a damaged receipt"), "the JSON of Receipt.to_dict()") from None
        return cls(**fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one of many messages: either a receipt or an error.

    :param receipt: What the service answered.
    :param error: Why there is no receipt. After ``DeliveryUnknown``, ``ServiceUnavailable`` and ``ProtocolError`` the
        message may have been sent all the same.
    """

    receipt: Receipt | None = None
    error: MessagingError | None = None

    @property
    def accepted(self) -> bool:
        """Whether the service has taken the message."""
        return self.receipt is not None and self.receipt.status is not Status.FAILED

    def to_dict(self) -> JsonDict:
        """Return the outcome as plain JSON, ready for XCom, without texts and phone numbers.

        :return: ``accepted``, and the fields of the receipt without ``raw``, or the error's type as ``error_code`` and
            its words as ``error``.
        """
        if self.receipt is not None:
            return {"accepted": self.accepted, **dataclasses.replace(self.receipt, raw={}).to_dict()}
        error_code, words = type(self.error).__name__, as_stored_text(str(self.error))
        return {"accepted": False, "id": None, "status": None, "error_code": error_code, "error": words}


def _known_fields(cls: type[Any], data: Mapping[str, Any], what: str) -> JsonDict:
    if not isinstance(data, Mapping) or not isinstance(data.get("id"), str) or not isinstance(data.get("service"), str):
        raise InvalidInput(what, Shown(type(data).__name__), "a dictionary with the texts 'service' and 'id'")
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in data.items() if name in names}


def _time_from_json(value: Any) -> datetime | None:
    if value is None:
        return None
    when = datetime.fromisoformat(value)
    if when.tzinfo is None:
        raise ValueError("a time without a zone")
    return when.astimezone(UTC)
