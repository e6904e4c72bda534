"""The journal: every request a service received, without its secrets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

CAPACITY = 10_000
_SECRET = frozenset({"api_key", "password", "token", "authorization", "proxy-authorization", "cookie", "request-key"})


def _collect(pairs: Iterable[tuple[str, str]], *, lower: bool = False) -> dict[str, Any]:
    collected: dict[str, Any] = {}
    for name, value in pairs:
        key = name.lower() if lower else name
        shown = "***" if name.lower() in _SECRET else value
        if key not in collected:
            collected[key] = shown
        elif isinstance(collected[key], list):
            collected[key].append(shown)
        else:
            collected[key] = [collected[key], shown]
    return collected


class Journal:
    """A bounded list of records, oldest first; a held request stands there with `status` null."""

    def __init__(self) -> None:
        self._records: deque[dict[str, Any]] = deque(maxlen=CAPACITY)

    def open_record(self, service: str, request: web.Request, at: datetime) -> dict[str, Any]:
        """Note that a request has arrived; the caller completes the record."""
        record = {
            "at": at.astimezone(UTC).isoformat(),
            "service": service,
            "method": request.method,
            "path": request.path,
            "query": _collect(request.query.items()),
            "headers": _collect(request.headers.items(), lower=True),
            "body_sha256": None,
            "body_size": None,
            "status": None,
            "fault": None,
        }
        self._records.append(record)
        return record

    def records(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return the records, of one service or of all."""
        return [record for record in self._records if service in (None, record["service"])]

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
