"""A service for the benchmarks: as little of SendHub and Go Integrate Me as it takes; the client is measured.

    python benchmarks/service.py [certificate and key]        prints its URL, ends on SIGTERM

``POST /arrive`` lets a message arrive everywhere; ``GET /count`` says how many requests came, and when the last
message was first handed out. Whatever is sent is accepted. With a file that holds a certificate and its key, it
speaks TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from datetime import UTC, datetime

from aiohttp import web

LINK = "1f393c2d-23e3-JZ0TstJk39"
NEXT_LINK = "1f393c2d-23e3-T95JhiPqLl"


class Service:
    """The state: whether the message has arrived, and what was asked."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.arrivals: list[str] = []
        self.requests = 0
        self.served_at: float | None = None

    async def arrive(self, _: web.Request) -> web.Response:
        self.arrivals.append(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        self.served_at = None
        self.arrived.set()
        return web.json_response({})

    async def count(self, _: web.Request) -> web.Response:
        return web.json_response({"requests": self.requests, "served_at": self.served_at})

    def _served(self) -> None:
        """Note when the last message was first handed out: from then on a wake counts."""
        self.served_at = self.served_at or time.monotonic()

    async def inbox(self, _: web.Request) -> web.Response:
        self.requests += 1
        threads = [{"id": "1", "threadId": "1", "unread": True, "contacts": [1111]}] if self.arrived.is_set() else []
        return web.json_response({"meta": {"limit": 100, "offset": 0, "next": None}, "objects": threads})

    async def thread(self, _: web.Request) -> web.Response:
        self.requests += 1
        self._served()
        message = {"direction": "from", "type": "message-in", "unread": True, "contacts": [1111]}
        return web.json_response(
            {
                "objects": [
                    {**message, "id": str(number), "text": f"number {number}.", "sent": at}
                    for number, at in enumerate(self.arrivals)
                ]
            }
        )

    async def send(self, request: web.Request) -> web.Response:
        self.requests += 1
        asked = await request.json()
        sent = {
            "id": str(self.requests),
            "contacts": asked["contacts"],
            "text": asked["text"],
            "acknowledgment": "Your message is being sent.",
            "sent": "2026-01-01T00:00:00",
        }
        return web.json_response(sent, status=201)

    async def peer(self, _: web.Request) -> web.Response:
        """What a generic HTTP sensor can wait for: 404 until there is something."""
        self.requests += 1
        if not self.arrived.is_set():
            return web.json_response({}, status=404)
        self._served()
        return web.json_response({"id": "7"})

    async def listed(self, _: web.Request) -> web.Response:
        self.requests += 1
        return web.json_response(
            [{"link": LINK, "received_date": "2024-10-28 20:11:57", "expiration_date": "2044-10-28 20:11:57"}]
        )

    async def wait_next(self, _: web.Request) -> web.Response:
        self.requests += 1
        await self.arrived.wait()
        self._served()
        return web.Response(body=b"x", headers={"Message-Link": NEXT_LINK, "Message-File-Name": "x.txt"})


def application() -> web.Application:
    """Return the application."""
    service = Service()
    app = web.Application()
    app.add_routes(
        [
            web.post("/arrive", service.arrive),
            web.get("/count", service.count),
            web.get("/sendhub/v1/inbox/", service.inbox),
            web.get("/sendhub/v1/threads/{id}", service.thread),
            web.post("/sendhub/v1/messages/", service.send),
            web.get("/peer", service.peer),
            web.get("/go-integrate/1/list-messages", service.listed),
            web.get("/go-integrate/1/wait-next-message/{link}", service.wait_next),
        ]
    )
    return app


def tls(certificate: str) -> ssl.SSLContext:
    """Return the server's side of TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def main(*certificates: str) -> None:
    """Serve until the process is ended."""
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    context = tls(*certificates) if certificates else None
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096, ssl_context=context)
    await site.start()
    print(f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
