"""Checking what the control routes are told; each refusal names the field."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any

from airflow_messaging.sandbox.faults import Fault
from airflow_messaging.sandbox.service import Inbound, InboundAttachment

MAX_LIFETIME_S = 10 * 365 * 86400
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class InputError(ValueError):
    """A control route was told something it cannot do."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


def only(document: Any, fields: tuple[str, ...], where: str = "body") -> dict[str, Any]:
    """Insist on an object without any other fields."""
    if not isinstance(document, dict):
        raise InputError(where, "must be a JSON object")
    for name in document:
        if name not in fields:
            raise InputError(name, f"is not a field; there are {', '.join(fields)}")
    return document


def boolean(document: dict[str, Any], name: str) -> bool:
    """Read an optional boolean, false by default."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(name, "must be true or false")
    return bool(value)


def number(document: dict[str, Any], name: str, *, default: float) -> float:
    """Read an optional number."""
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(name, "must be a number")
    try:
        converted = float(value)
    except OverflowError:
        converted = math.inf
    if not math.isfinite(converted):
        raise InputError(name, "is too large")
    return converted


def integer(document: dict[str, Any], name: str, least: int, most: int) -> int | None:
    """Read an optional integer within bounds."""
    value = document.get(name)
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise InputError(name, f"must be an integer from {least} to {most}")
    return value


def text(document: dict[str, Any], name: str) -> str | None:
    """Read an optional text."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(name, "must be a string")
    return value


def _reference(document: dict[str, Any], name: str) -> str | None:
    """Read an id or an address, which some services write as a number."""
    value = document.get(name)
    if type(value) is int and abs(value) < 10**18:
        return str(value)
    written = text(document, name)
    if written is not None and _CONTROL.search(written):
        raise InputError(name, "contains control characters")
    return written


_INBOUND = ("sender", "text", "subject", "in_reply_to", "attachments", "expires_after", "type")
_ATTACHMENT = ("filename", "content_base64", "content_type")


def inbound_from(document: Any) -> Inbound:
    """Read a message that shall arrive."""
    fields = only(document, _INBOUND)
    files = fields.get("attachments")
    if files is not None and not isinstance(files, list):
        raise InputError("attachments", "must be a list")
    return Inbound(
        text=text(fields, "text") or "",
        sender=_reference(fields, "sender"),
        subject=text(fields, "subject"),
        in_reply_to=_reference(fields, "in_reply_to"),
        attachments=tuple(_attachment_from(file) for file in files or ()),
        expires_after=integer(fields, "expires_after", 1, MAX_LIFETIME_S),
        type=text(fields, "type"),
    )


def _attachment_from(document: Any) -> InboundAttachment:
    fields = only(document, _ATTACHMENT, "attachments")
    filename = text(fields, "filename")
    if not filename or _CONTROL.search(filename):
        raise InputError("filename", "must be a name without control characters")
    content_type = text(fields, "content_type") or "application/octet-stream"
    if not re.fullmatch(r"[\x20-\x7e]{1,200}", content_type):
        raise InputError("content_type", "must be printable ASCII")
    try:
        content = base64.b64decode(text(fields, "content_base64") or "", validate=True)
    except (binascii.Error, ValueError):
        raise InputError("content_base64", "must be base64") from None
    return InboundAttachment(filename, content, content_type)


_FAULT = ("service", "path", "times", "status", "headers", "body", "delay_s", "reset", "truncate_at", "when")
MAX_DELAY_S = 3600


def faults_from(document: Any) -> list[Fault]:
    """Read a list of faults."""
    if not isinstance(document, list):
        raise InputError("body", "must be a JSON list")
    return [_fault_from(only(item, _FAULT)) for item in document]


def _fault_from(fields: dict[str, Any]) -> Fault:
    service = text(fields, "service")
    if not service:
        raise InputError("service", "is required")
    delay = number(fields, "delay_s", default=0.0)
    if not 0 <= delay <= MAX_DELAY_S:
        raise InputError("delay_s", f"must be from 0 to {MAX_DELAY_S}")
    when = text(fields, "when") or "before"
    if when not in ("before", "during", "after"):
        raise InputError("when", "must be before, during or after")
    reset = boolean(fields, "reset")
    if when == "during" and not reset:
        raise InputError("reset", "must be true with when during")
    body = fields.get("body")
    return Fault(
        service=service,
        path=text(fields, "path"),
        times=integer(fields, "times", 1, 10**9),
        status=integer(fields, "status", 200, 599),
        headers=_headers_from(fields.get("headers")),
        body=body if body is None or isinstance(body, str) else json.dumps(body),
        delay_s=delay,
        reset=reset,
        truncate_at=integer(fields, "truncate_at", 0, 10**12),
        when=when,
    )


def _headers_from(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InputError("headers", "must be a JSON object")
    for name, content in value.items():
        if not _HEADER_NAME.fullmatch(name) or not isinstance(content, str) or _CONTROL.search(content):
            raise InputError("headers", "must map header names to strings of one line")
    return value
