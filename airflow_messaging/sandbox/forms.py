"""Reading request bodies: JSON, urlencoded forms and multipart forms of any size."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from airflow_messaging.sandbox.bodies import body_of

_PARAMETER = re.compile(r';\s*([\w-]+\*?)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;\s]*))')
_BRACKETS = re.compile(r"^([^\[\]]+)\[([^\[\]]*)\]$")
_MAX_PART_HEADERS = 16 << 10


class FormError(ValueError):
    """The body is not what its content type says."""


@dataclass(frozen=True)
class Part:
    """Head of one part of a multipart body."""

    name: str
    filename: str | None
    content_type: str


class MultipartParser:
    """Push parser: bytes in; heads, contents and ends (`None`) of parts out."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
        # The first delimiter need not follow a line break; this spares a special case.
        self._buffer = bytearray(b"\r\n")
        self._in_part = False
        self._state = "content"

    def feed(self, chunk: bytes) -> Iterable[Part | bytes | None]:
        """Parse as far as the bytes go."""
        self._buffer += chunk
        while True:
            before = (self._state, len(self._buffer))
            yield from getattr(self, f"_{self._state}")()
            if (self._state, len(self._buffer)) == before:
                return

    def finish(self) -> None:
        """Raise unless the closing delimiter was seen."""
        if self._state != "epilogue":
            raise FormError("the multipart body ends before its closing delimiter")

    def _content(self) -> Iterable[bytes | None]:
        found = self._buffer.find(self._delimiter)
        end = found if found >= 0 else len(self._buffer) - len(self._delimiter)
        if end > 0:
            if self._in_part:
                yield bytes(memoryview(self._buffer)[:end])
            del self._buffer[:end]
        if found >= 0:
            del self._buffer[: len(self._delimiter)]
            if self._in_part:
                yield None
            self._in_part = False
            self._state = "delimited"

    def _delimited(self) -> Iterable[None]:
        if self._buffer.startswith(b"--"):
            self._state = "epilogue"
        elif (end := self._buffer.find(b"\r\n")) >= 0:
            # The line break stays: with it, a part without headers also begins with an empty line.
            del self._buffer[:end]
            self._state = "head"
        return ()

    def _head(self) -> Iterable[Part]:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_PART_HEADERS:
                raise FormError("the headers of a part are too long")
            return
        lines = bytes(self._buffer[:end]).decode("utf-8", "replace").split("\r\n")
        del self._buffer[: end + 4]
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        self._in_part = True
        self._state = "content"
        yield _part(headers)

    def _epilogue(self) -> Iterable[None]:
        self._buffer.clear()
        return ()


def _part(headers: dict[str, str]) -> Part:
    disposition = {
        name.lower(): _unquoted(quoted) if quoted else bare
        for name, quoted, bare in _PARAMETER.findall(headers.get("content-disposition", ""))
    }
    filename = disposition.get("filename")
    if "filename*" in disposition:
        filename = unquote(disposition["filename*"].rpartition("'")[2], errors="replace")
    return Part(disposition.get("name", ""), filename, headers.get("content-type", "application/octet-stream"))


def _unquoted(value: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", value).replace("%22", '"')


def header_safe(filename: str | None, default: str = "file") -> str:
    """Return a name that fits into a header; `../` stays: how clients treat hostile names is worth trying out."""
    return re.sub(r"[\x00-\x1f\x7f]", "_", as_text(filename or "")).strip() or default


async def multipart(request: web.Request) -> AsyncIterator[Part | bytes | None]:
    """Stream the parts of a multipart request."""
    found = re.search(r'boundary=(?:"([^"]{1,200})"|([^\s;]{1,200}))', request.headers.get("Content-Type", ""))
    if not found:
        raise FormError("the multipart body has no boundary")
    parser = MultipartParser(found[1] or found[2])
    async for chunk in body_of(request).chunks():
        for event in parser.feed(chunk):
            yield event
    parser.finish()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_json(raw: bytes) -> Any:
    """Parse strictly; only `FormError` comes out."""
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormError("the body is not valid JSON") from error


async def read_json_object(request: web.Request) -> dict[str, Any]:
    """Read the body as a JSON object."""
    document = parse_json(await body_of(request).read())
    if not isinstance(document, dict):
        raise FormError("the body is not a JSON object")
    return document


async def read_fields(request: web.Request) -> dict[str, Any]:
    """Read a JSON object or a form; `a[b]` becomes a nested object, `a[]` and `a[0]` a list.

    Bytes of a form that are not UTF-8 survive as surrogate escapes.
    """
    if request.content_type.endswith("json"):
        return await read_json_object(request)
    pairs: list[tuple[str, str]]
    if request.content_type == "multipart/form-data":
        pairs = await _multipart_pairs(request)
    else:
        raw = (await body_of(request).read()).decode("ascii", "surrogateescape")
        pairs = parse_qsl(raw, keep_blank_values=True, encoding="utf-8", errors="surrogateescape")
    return nest(pairs)


async def _multipart_pairs(request: web.Request) -> list[tuple[str, str]]:
    pairs = []
    name, value = "", bytearray()
    async for event in multipart(request):
        if isinstance(event, Part):
            name, value = event.name, bytearray()
        elif event is None:
            pairs.append((name, value.decode("utf-8", "surrogateescape")))
        else:
            value += event
    return pairs


def nest(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Build the structure that PHP and Rails see in a form's field names."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        bracketed = _BRACKETS.match(name)
        if not bracketed:
            fields[name] = value
            continue
        base, key = bracketed.groups()
        if key == "" or key.isdecimal():
            if not isinstance(fields.get(base), list):
                fields[base] = []
            fields[base].append(value)
        else:
            if not isinstance(fields.get(base), dict):
                fields[base] = {}
            fields[base][key] = value
    return fields


def as_bytes(text: str) -> bytes:
    """Return the bytes a form field had, also when they were not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def as_text(text: str) -> str:
    """Replace what is not a character, so that the text can be written out again."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
