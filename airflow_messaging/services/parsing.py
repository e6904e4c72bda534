"""Reading what services answer: every surprise is a ``ProtocolError`` that names the field, never its content."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from airflow_messaging.exceptions import InvalidInput, ProtocolError
from airflow_messaging.messages import JsonDict, as_stored_text
from airflow_messaging.services.http import Response

T = TypeVar("T")

_LONGEST_NUMBER = 18
_LONGEST_WORDS = 1000
_MOST_ERRORS = 20
_FIRST_COMPUTERS = datetime(1970, 1, 2, tzinfo=UTC)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Reader:
    """Reads the fields of one vendor record with their types checked.

    :param service: Connection type of the service.
    :param endpoint: The endpoint that answered, in the vendor's words.
    :param record: The record: anything but a JSON object is refused.
    """

    def __init__(self, service: str, endpoint: str, record: object) -> None:
        if not isinstance(record, dict):
            raise ProtocolError(service, endpoint, f"expected an object, got {_kind(record)}")
        self.service = service
        self.endpoint = endpoint
        self.record: JsonDict = record

    def has(self, name: str) -> bool:
        """Say whether the record has a field that is not null."""
        return self.record.get(name) is not None

    def identifier(self, *names: str) -> str:
        """Return the first of these fields that is there: a text or a whole number, as text."""
        for name in names:
            value = self.record.get(name)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                # Here and not later: under the same id the message is asked for, remembered and found in the next list.
                return as_stored_text(str(value))
        raise self._wrong(" or ".join(names), "a text or a whole number", self.record.get(names[0]))

    def optional_identifier(self, *names: str) -> str | None:
        """Return the first of these fields that is there and not empty, or None."""
        return self.identifier(*names) if any(self.record.get(name) not in (None, "") for name in names) else None

    def text(self, name: str) -> str | None:
        """Return a text field; None if it is absent or null."""
        return self._typed(name, str, "a text")

    def whole(self, name: str) -> int | None:
        """Return a whole number; None if it is absent or null."""
        value = self._typed(name, int, "a whole number")
        if isinstance(value, bool):
            raise self._wrong(name, "a whole number", value)
        return value

    def flag(self, name: str) -> bool | None:
        """Return true or false; None if it is absent or null."""
        return self._typed(name, bool, "true or false")

    def items(self, name: str) -> list[Any]:
        """Return a list field; an absent or null one is empty."""
        return self._typed(name, list, "a list") or []

    def texts(self, name: str) -> list[str]:
        """Return a list of texts; an absent or null one is empty."""
        values = self.items(name)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name, "a list of texts", values)
        return values

    def child(self, *names: str) -> Reader:
        """Return a reader of the object in the first of these fields that is there."""
        value = next((self.record[name] for name in names if self.has(name)), None)
        if not isinstance(value, dict):
            raise self._wrong(" or ".join(names), "an object", value)
        return Reader(self.service, self.endpoint, value)

    def time(self, name: str, zone: tzinfo, now: datetime | None = None) -> datetime | None:
        """Return a time, aware, in UTC; None if it is absent, null or empty.

        :param name: Name of the field.
        :param zone: The zone of times that are written without one.
        :param now: The present time, for times that cannot lie in the future. Default: any time is possible.
        """
        value = self.text(name)
        if not value:
            return None
        try:
            return parse_time(value, zone, now)
        except (ValueError, OverflowError):
            raise self._wrong(name, "a time", value) from None

    def _typed(self, name: str, kind: type[T], expected: str) -> T | None:
        value = self.record.get(name)
        if value is None or isinstance(value, kind):
            return value
        raise self._wrong(name, expected, value)

    def _wrong(self, name: str, expected: str, value: object) -> ProtocolError:
        return ProtocolError(self.service, self.endpoint, f"field {name!r}: expected {expected}, got {_kind(value)}")


def parse_json(service: str, endpoint: str, response: Response) -> Any:
    """Read a JSON body.

    :param service: Connection type of the service.
    :param endpoint: The endpoint in the vendor's words.
    :param response: The answer.
    :return: The value. Raw line breaks inside strings are allowed, because LiquidFiles writes them.
    :raises ProtocolError: If the body is not JSON.
    """
    try:
        return _DECODER.decode(response.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        pass
    # Outside the handler: the library's error holds the whole body, and would hang on to ours.
    kind = response.header("Content-Type") or "no content type"
    problem = f"HTTP {response.status} with {len(response.body)} bytes of {kind.split(';')[0]}, not JSON"
    raise ProtocolError(service, endpoint, problem)


def parse_time(value: str, zone: tzinfo, now: datetime | None = None) -> datetime:
    """Read a time in any of the forms that the services write.

    :param value: ISO 8601 with a space or a ``T``, with or without fraction and offset.
    :param zone: The zone to assume where none is written.
    :param now: The present time, aware: of the hour that autumn repeats, a time without an offset means the latest
        reading that has come. Default: the earlier one.
    :return: The time, aware, in UTC.
    :raises ValueError: If it is not a time.
    """
    written = datetime.fromisoformat(value.strip())
    if written.tzinfo is not None:
        return written.astimezone(UTC)
    when = written.replace(tzinfo=zone).astimezone(UTC)
    return when if now is None else latest_reading(when, zone, now)


def says_zone(value: object) -> bool:
    """Say whether a time names its zone.

    :param value: What a service wrote.
    """
    try:
        return isinstance(value, str) and datetime.fromisoformat(value.strip()).tzinfo is not None
    except ValueError:
        return False


def as_utc(field: str, value: datetime | str, zone: tzinfo) -> datetime:
    """Read a time that a DAG author gave.

    :param field: Name of the argument.
    :param value: A datetime or ISO 8601 text; without a zone, the connection's zone is assumed.
    :param zone: The connection's zone.
    :return: The time, aware, in UTC.
    :raises InvalidInput: If it is not a time.
    """
    try:
        if isinstance(value, str):
            return parse_time(value, zone)
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, AttributeError, OverflowError):
        raise InvalidInput(field, value, "a datetime or ISO 8601 text") from None


def well_before(since: datetime | None, margin: timedelta) -> datetime | None:
    """Return from when to ask a service whose bounds are coarse.

    :param since: From when messages are wanted, aware; None for all.
    :param margin: How much earlier to ask.
    :return: The earlier time; None, for all, where the calendar has no room for it or there were no computers yet.
    """
    return None if since is None or since < _FIRST_COMPUTERS else since - margin


def latest_reading(when: datetime, zone: tzinfo, now: datetime) -> datetime:
    """Settle what a time written without an offset means in the hour that autumn repeats.

    :param when: The time by its earlier reading, aware; it was written without an offset.
    :param zone: The zone in which it was written.
    :param now: The present time, aware.
    :return: The later reading unless it lies in the future: the earlier one might lie behind a reader's cursor.
    """
    later = when.astimezone(zone).replace(fold=1).astimezone(UTC).replace(fold=0)
    return later if later <= now else when


def before_clocks_go_back(since: datetime, zone: tzinfo) -> datetime:
    """Return from when to ask a service that compares times written without an offset.

    :param since: From when messages are wanted, aware.
    :param zone: The zone in which the service writes.
    :return: ``since``, or an hour earlier if the clocks go back within the hour: what comes then is written with
        earlier times than ``since``.
    """
    hour = timedelta(hours=1)
    offsets = [when.astimezone(zone).utcoffset() or timedelta() for when in (since, since + hour)]
    return since - hour if offsets[1] < offsets[0] else since


def text_or_content(body: bytes) -> tuple[str | None, bytes | None]:
    """Decide whether a body is text.

    :param body: The bytes.
    :return: The text and None, or None and the bytes. NUL characters make it binary: databases refuse them in JSON.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None, body
    return (None, body) if "\x00" in text else (text, None)


def header_token(field: str, value: str) -> str:
    """Return a value that may stand in a header field.

    :param field: Name of the argument.
    :param value: The value.
    :return: The same value.
    :raises InvalidInput: If it is empty, has surrounding spaces, line breaks or characters outside printable ASCII.
    """
    ok = isinstance(value, str) and value and value == value.strip() and value.isascii() and value.isprintable()
    if not ok:
        raise InvalidInput(field, value, "printable ASCII without line breaks or surrounding spaces")
    return value


def path_segment(field: str, value: str) -> str:
    """Return an id as one segment of a path, percent-encoded.

    :param field: Name of the argument.
    :param value: The id.
    :return: The id, ready for a URL.
    :raises InvalidInput: If it is no text, empty, or would lead to another path.
    """
    if not isinstance(value, str) or not value.strip(" .") or not value.isprintable():
        raise InvalidInput(field, value, "an id")
    return quote(value, safe="")


def absolute_url(service: str, endpoint: str, url: str, base_url: str) -> str:
    """Return the absolute form of a URL that came in an answer.

    :param service: Connection type of the service.
    :param endpoint: The endpoint in the vendor's words.
    :param url: The URL, absolute or a path below ``base_url``.
    :param base_url: Root of the API.
    :return: The URL, with everything percent-encoded that must be.
    :raises ProtocolError: If it is no URL of the web.
    """
    whole = url if _SCHEME.match(url) else f"{base_url}/{url.lstrip('/')}"
    encoded = quote(whole, safe="%/:?&=~+!$,;'()*@[]", errors="replace")
    try:
        parts = urlsplit(encoded)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ProtocolError(service, endpoint, "not a URL of the web")
    return encoded


def whole_number(field: str, value: object, lowest: int, highest: int | None = None, *, expected: str = "") -> int:
    """Return a whole number that a DAG author gave.

    :param field: Name of the argument.
    :param value: A whole number, or its decimal digits, as templates render it.
    :param lowest: The lowest that is allowed.
    :param highest: The highest that is allowed. Default: any.
    :param expected: The rule in words, where the bounds do not say it all.
    :return: The number.
    :raises InvalidInput: If it is anything else, such as ``True``.
    """
    number = value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER:
        number = int(value)
    if (
        not isinstance(number, int)
        or isinstance(number, bool)
        or not lowest <= number <= (number if highest is None else highest)
    ):
        bounds = f"from {lowest} to {highest}" if highest is not None else f">= {lowest}"
        raise InvalidInput(field, value, expected or f"a whole number {bounds}")
    return number


def true_or_false(field: str, value: object) -> bool:
    """Return a flag that a DAG author gave.

    :param field: Name of the argument.
    :param value: True or False, or the word, as templates render them.
    :return: The flag.
    :raises InvalidInput: If it is anything else.
    """
    flag = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise InvalidInput(field, value, "True or False")
    return flag


def error_words(service: str, response: Response) -> str | None:
    """Return what an error answer says: a text or a list in ``errors`` or ``error``, a bare list, or plain text.

    :param service: Connection type of the service.
    :param response: The answer.
    :return: The words on one line; None if there are none, or only a web page.
    """
    try:
        body = parse_json(service, "error", response)
    except ProtocolError:
        text = response.body[:_LONGEST_WORDS].decode("utf-8", "replace")
        return None if "<" in text else _on_one_line(text) or None
    if isinstance(body, dict):
        body = body.get("errors") or body.get("error") or body.get("message")
    return _on_one_line(body) or None


def only_known(field: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Refuse options that a service does not know.

    :param field: Name of the argument.
    :param options: The options given.
    :param known: Their names.
    :raises InvalidInput: If one is unknown.
    """
    unknown = sorted(set(options) - known)
    if unknown:
        raise InvalidInput(field, unknown, f"only {', '.join(sorted(known)) or 'nothing'}")


def _on_one_line(value: object, depth: int = 3) -> str:
    if isinstance(value, str):
        return " ".join("".join(c if c.isprintable() else " " for c in value[:_LONGEST_WORDS]).split())
    inner = list(value.values()) if isinstance(value, dict) else value
    if depth == 0 or not isinstance(inner, list):
        return ""
    return "; ".join(filter(None, (_on_one_line(item, depth - 1) for item in inner[:_MOST_ERRORS])))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)
