"""Faults on demand: what a network or an overloaded vendor does to a request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.bodies import Blob, Download, body_of
from airflow_messaging.sandbox.service import SandboxService


@dataclass
class Fault:
    """One rule; `times` counts down and None means until cleared."""

    service: str
    path: str | None = None
    times: int | None = None
    status: int | None = None
    headers: dict[str, str] | None = None
    body: str | None = None
    delay_s: float = 0.0
    reset: bool = False
    truncate_at: int | None = None
    when: str = "before"

    def matches(self, service: str, path: str) -> bool:
        """Tell whether this fault is meant for that request; a path may be a part of it, or a pattern with `*`."""
        if self.service != service or self.times == 0:
            return False
        return self.path is None or self.path in path or fnmatchcase(path, self.path)

    @property
    def replaces_answer(self) -> bool:
        """Whether the service's own answer is not wanted."""
        return self.status is not None or self.body is not None


class Faults:
    """The rules in force; the first that matches is used."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def replace(self, faults: list[Fault]) -> None:
        """Put these rules in force instead of all others."""
        self._faults = faults

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rules that are left."""
        return [asdict(fault) for fault in self._faults if fault.times != 0]

    def take(self, service: str, path: str) -> Fault | None:
        """Find the rule for a request and use it up once."""
        for fault in self._faults:
            if fault.matches(service, path):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


async def answer_with_fault(
    fault: Fault, service: SandboxService, request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Answer a request as the fault wants it."""
    processed: web.StreamResponse | None = None
    if fault.when == "during":
        await body_of(request).begin()
        return _reset_connection(request)
    if fault.when == "after":
        processed = await handler(request)
    if fault.reset or fault.replaces_answer:
        # The service will not read it.
        await body_of(request).drain()
    if fault.delay_s:
        await _sleep_unless_closing(fault.delay_s, service.world.closing)
    if fault.reset:
        return _reset_connection(request)
    if fault.replaces_answer:
        response: web.StreamResponse = _injected(fault, service)
    else:
        response = processed or await handler(request)
    for name, value in (fault.headers or {}).items():
        response.headers[name] = value
    return response if fault.truncate_at is None else _cut(response, fault.truncate_at)


async def _sleep_unless_closing(seconds: float, closing: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closing.wait(), seconds)


def _injected(fault: Fault, service: SandboxService) -> web.Response:
    if fault.body is None:
        return service.fault_answer(fault.status or 200)
    headers = {name: value for name, value in (fault.headers or {}).items() if name.lower() == "content-type"}
    content_type = None if headers else "application/json"
    return web.Response(
        status=fault.status or 200, body=fault.body.encode(), headers=headers, content_type=content_type
    )


def _reset_connection(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        # With a linger time of zero the kernel sends RST, not the FIN of a polite close.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


def _cut(response: web.StreamResponse, truncate_at: int) -> web.StreamResponse:
    if isinstance(response, Download):
        download = response
    else:
        body = response.body if isinstance(response, web.Response) else b""
        headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
        download = Download(Blob.of(body if isinstance(body, bytes) else b""), headers, status=response.status)
    download.cut_at = truncate_at
    return download
