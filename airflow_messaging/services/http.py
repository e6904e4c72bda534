"""HTTP as data: requests, the bodies they carry, answers, and the times that header fields hold."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_messaging.messages import Upload

MEBIBYTE = 1024 * 1024

_LONGEST_WAIT_DIGITS = 9


@dataclasses.dataclass(frozen=True, slots=True)
class JsonBody:
    """A body sent as JSON."""

    value: Any = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class FormBody:
    """A body sent as an urlencoded form; names may repeat."""

    fields: tuple[tuple[str, str | bytes], ...] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class FileField:
    """A multipart body with one file, streamed."""

    name: str
    upload: Upload


@dataclasses.dataclass(frozen=True, slots=True)
class RawFile:
    """A body that is the file itself, streamed."""

    upload: Upload


Body = JsonBody | FormBody | FileField | RawFile | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, without credentials until the auth flow copies it.

    :param method: HTTP method.
    :param url: A path below the service's base URL, or an absolute URL that came in an answer.
    :param params: Query parameters in order; names may repeat.
    :param headers: Header fields.
    :param body: What is sent, as one of the body kinds.
    :param hold: Seconds that the service may keep the connection open before it answers (long poll).
    """

    method: str
    url: str
    params: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    body: Body = None
    hold: float = 0.0

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        """Return a copy with these header fields added."""
        return dataclasses.replace(self, headers={**self.headers, **headers})

    def with_params(self, *params: tuple[str, str]) -> Request:
        """Return a copy with these query parameters added."""
        return dataclasses.replace(self, params=(*self.params, *params))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer.

    :param status: HTTP status.
    :param headers: Header fields as pairs, in order, names in any case.
    :param body: The body, unless it was streamed into a file.
    :param complete: False if the body was larger than the call's ``body_limit`` and reading stopped there.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    body: bytes = dataclasses.field(default=b"", repr=False)
    complete: bool = True

    def header(self, name: str) -> str | None:
        """Return the first header field of that name, whatever its case, or None."""
        return next(iter(self.header_values(name)), None)

    def header_values(self, name: str) -> list[str]:
        """Return all header fields of that name, whatever their case."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@functools.lru_cache(maxsize=16)
def parse_http_date(value: str | None) -> datetime | None:
    """Read an HTTP date; None if there is none or it cannot be read. All answers of one second have the same."""
    try:
        date = parsedate_to_datetime(value) if value else None
    except (ValueError, IndexError, TypeError):
        return None
    return date.replace(tzinfo=UTC) if date and date.tzinfo is None else date


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a ``Retry-After`` field, seconds or a date.

    :param value: The field's content.
    :param now: The present time, aware.
    :return: Seconds from now, never negative; None if there is none or it cannot be read.
    """
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value.strip()[:_LONGEST_WAIT_DIGITS])
    date = parse_http_date(value)
    return max(0.0, (date - now).total_seconds()) if date else None
