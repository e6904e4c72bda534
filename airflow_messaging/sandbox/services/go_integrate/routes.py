"""Go Integrate Me over HTTP.

The vendor publishes one error code: 201, recipient not found. The other codes are inventions of this sandbox, in the
same header form. Whatever is wrong with who is asking (route, signature, time) is 401, so that a client which signs
again after a look at the `Date` header has one status to watch. A key used before is 409: who asks was recognised.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn

from aiohttp import web

from airflow_messaging.sandbox.bodies import Blob, Download, Spool
from airflow_messaging.sandbox.forms import Part, as_text, header_safe, multipart
from airflow_messaging.sandbox.service import Inbound, Refused, SandboxService
from airflow_messaging.sandbox.services.go_integrate.state import Envelope, GoIntegrateState, Inbox, StoredMessage
from airflow_messaging.sandbox.world import compact, random_hex

TOLERANCE_S = 300
MAX_LIFETIME_S = 30 * 86400
DEFAULT_LIFETIME_S = 3600

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:?\d\d)?")
_MD5 = re.compile(r"[0-9a-fA-F]{32}")

UNKNOWN_ROUTE = (401, 101, "Route is unknown")
WRONG_KEY = (401, 102, "Request key is wrong")
WRONG_TIME = (401, 103, "Request timestamp deviates too much")
BAD_REQUEST = (400, 104, "Request is malformed")
REPEATED_KEY = (409, 105, "Request key has been used already")
NO_RECIPIENT = (404, 201, "Message recipient cannot be found")
NO_MESSAGE = (404, 202, "Message cannot be found")
WRONG_MD5 = (400, 203, "Message MD5 does not match")


class GoIntegrateSandbox(SandboxService):
    """Two routes, each of which can send and receive."""

    name = "go_integrate"
    prefix = "/go-integrate/1"
    title = "Go Integrate Me"
    not_imitated = (
        "Error codes other than 201 are invented: 101 unknown route, 102 wrong request key, 103 time off by more than "
        "300 s (all 401), 104 malformed request (400), 105 request key used already (409), 202 message not found "
        "(404), 203 wrong MD5 (400).",
        "A request key counts as used once its message was accepted. A message whose message-id comes again, signed "
        "afresh, is delivered twice: nobody says what the vendor does, and this is the worst.",
        "A link that never existed is 404; one that has expired still marks a position for get-next and wait-next.",
        "get-next-message is 404 when nothing is newer; wait-next-message is held for 50 s (--hold), then it is 204.",
        "A message may live for 30 days at most; one that arrives through the control route lives an hour unless told.",
        "An inbound message is its first attachment, or else its text as message.txt.",
        "ping needs no signature, but a signature that is sent must be right. Replies and billing are not imitated.",
    )
    credentials: ClassVar[dict[str, Any]] = {
        "route": "wqtn@7c41e9d2",
        "key_secret": "tP4sXw9LrVbN2hQeK7dJmZ6uYcF8gAaR",
        "peer_route": "9d2e@b7f05c38",
        "peer_key_secret": "Hn3vTq8WkzD5yLrB2xGfMc7JsPa9UeQe",
    }
    login_field = "route"
    password_field = "key_secret"  # noqa: S105

    def reset(self) -> None:
        """Empty both inboxes."""
        seeded = self.credentials
        self.state = GoIntegrateState(
            self.world,
            {seeded["route"]: seeded["key_secret"], seeded["peer_route"]: seeded["peer_key_secret"]},
        )

    def release(self) -> None:
        """Let held requests end."""
        for inbox in self.state.inboxes.values():
            inbox.wake()

    def routes(self) -> Iterable[web.RouteDef]:
        """Define the six methods."""
        return [
            self.route("POST", "/send-message", self.send_message),
            self.route("GET", "/list-messages", self.list_messages),
            self.route("GET", "/get-message/{link}", self.get_message),
            self.route("GET", "/get-next-message/{link}", self.get_next_message),
            self.route("GET", "/wait-next-message/{link}", self.wait_next_message),
            self.route("GET", "/ping", self.ping),
        ]

    async def send_message(self, request: web.Request) -> web.StreamResponse:
        """Take a file for another route."""
        headers = request.headers
        recipient, message_id = headers.get("message-to", ""), headers.get("message-id", "")
        md5 = headers.get("message-md5", "")
        sender = self._signed_by(request, recipient + message_id + md5)
        lifetime = headers.get("message-expires-after", "")
        acceptable = (
            message_id
            and _MD5.fullmatch(md5)
            and headers.get("message-priority") == "normal"
            and headers.get("pay-for-reply") == "1"
            and re.fullmatch("[0-9]{1,9}", lifetime)
            and 0 < int(lifetime) <= MAX_LIFETIME_S
        )
        if not acceptable:
            self._refuse(BAD_REQUEST)
        if recipient not in self.state.secrets:
            self._refuse(NO_RECIPIENT)
        filename, blob = await self._read_file(request)
        if blob.digests["md5"] != md5.lower():
            self._refuse(WRONG_MD5)
        key = headers["request-key"]
        if key in self.state.used_keys:
            self._refuse(REPEATED_KEY)
        self.state.used_keys.add(key)
        message = self.state.deliver(Envelope(sender, recipient, message_id, filename, blob, int(lifetime)))
        self.state.sent.append(message.summary())
        if recipient == self.credentials["peer_route"]:
            self._echo(message.envelope)
        return self._empty(200)

    def _echo(self, sent: Envelope) -> None:
        state = self.state
        echo = replace(sent, sender=sent.recipient, recipient=sent.sender, message_id=f"echo-{sent.message_id}")
        self.world.echo_soon(lambda: state.deliver(echo))

    async def _read_file(self, request: web.Request) -> tuple[str, Blob]:
        if request.content_type != "multipart/form-data":
            self._refuse(BAD_REQUEST)
        spool, filename, reading = Spool(self.world.spool_dir, "md5"), None, False
        async for event in multipart(request):
            if isinstance(event, Part):
                reading = filename is None and event.name == "data" and event.filename is not None
                filename = header_safe(event.filename) if reading else filename
            elif event is not None and reading:
                await spool.write(event)
        if filename is None:
            self._refuse(BAD_REQUEST)
        return filename, await spool.finish()

    async def list_messages(self, request: web.Request) -> web.StreamResponse:
        """Say what can be downloaded now."""
        available = self._inbox(request).available(self.world.now())
        listing = [
            {
                "link": message.link,
                "received_date": compact(message.received),
                "expiration_date": compact(message.expires),
            }
            for message in available
        ]
        return web.json_response(listing, headers={"Request-ID": self._request_id()})

    async def get_message(self, request: web.Request) -> web.StreamResponse:
        """Hand out one message."""
        message = self._inbox(request).get(request.match_info["link"], self.world.now())
        return self._file(message) if message else self._error(NO_MESSAGE)

    async def get_next_message(self, request: web.Request) -> web.StreamResponse:
        """Hand out the message after the given one."""
        message = self._known(request).after(request.match_info["link"], self.world.now())
        return self._file(message) if message else self._error(NO_MESSAGE)

    async def wait_next_message(self, request: web.Request) -> web.StreamResponse:
        """Hold the request until there is a message after the given one."""
        inbox, link = self._known(request), request.match_info["link"]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.world.hold_s
        while not self.world.closing.is_set() and inbox in self.state.inboxes.values():
            if message := inbox.after(link, self.world.now()):
                return self._file(message)
            left = deadline - loop.time()
            if left <= 0 or request.transport is None:
                break
            await inbox.wait_for_arrival(left)
        return self._empty(204)

    async def ping(self, request: web.Request) -> web.StreamResponse:
        """Answer a monitor."""
        if "request-key" in request.headers:
            self._signed_by(request)
        return self._empty(200)

    def receive(self, inbound: Inbound) -> str:
        """Let a message arrive at the seeded route."""
        filename, content = "message.txt", as_text(inbound.text).encode()
        if inbound.attachments:
            filename, content = header_safe(inbound.attachments[0].filename), inbound.attachments[0].content
        envelope = Envelope(
            sender=inbound.sender or self.credentials["peer_route"],
            recipient=self.credentials["route"],
            message_id=f"inbound-{random_hex(8)}",
            filename=filename,
            blob=Blob.of(content),
            lifetime_s=inbound.expires_after or DEFAULT_LIFETIME_S,
        )
        return self.state.deliver(envelope).link

    def sent(self) -> list[dict[str, Any]]:
        """Messages sent by either route."""
        return list(self.state.sent)

    def waiting(self) -> list[dict[str, Any]]:
        """Messages of both inboxes which have not expired."""
        now = self.world.now()
        found = [message for inbox in self.state.inboxes.values() for message in inbox.available(now)]
        return [message.summary() for message in sorted(found, key=lambda message: message.received)]

    def refusal(self, status: int, reason: str) -> web.StreamResponse:
        """Refuse in the header, as for everything."""
        return self._error((status, BAD_REQUEST[1], re.sub(r"[^\x20-\x7e]", "?", reason)))

    def fault_answer(self, status: int) -> web.Response:
        """Answer with a status and an error header, but no code that the vendor has documented."""
        return self._error((status, 500, "Injected fault"))

    def _inbox(self, request: web.Request) -> Inbox:
        return self.state.inboxes[self._signed_by(request)]

    def _known(self, request: web.Request) -> Inbox:
        inbox = self._inbox(request)
        if not inbox.knows(request.match_info["link"]):
            self._refuse(NO_MESSAGE)
        return inbox

    def _signed_by(self, request: web.Request, of_message: str = "") -> str:
        """Return the route that signed the request, or refuse."""
        timestamp, route = request.headers.get("request-timestamp", ""), request.headers.get("request-from", "")
        if not self._in_time(timestamp):
            self._refuse(WRONG_TIME)
        secret = self.state.secrets.get(route)
        if secret is None:
            self._refuse(UNKNOWN_ROUTE)
        signed = (timestamp + route + of_message + secret).encode("utf-8", "surrogateescape")
        given = request.headers.get("request-key", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(hashlib.sha512(signed).hexdigest().encode(), given):
            self._refuse(WRONG_KEY)
        return route

    def _in_time(self, timestamp: str) -> bool:
        if not _TIMESTAMP.fullmatch(timestamp):
            self._refuse(BAD_REQUEST)
        try:
            moment = datetime.fromisoformat(timestamp)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self._refuse(BAD_REQUEST)
        # Timestamps have whole seconds, so the clock they are compared with has them too.
        now = self.world.now().replace(microsecond=0)
        return abs((now - moment).total_seconds()) <= TOLERANCE_S

    def _request_id(self) -> str:
        return f"{self.world.now():%Y%m%d%H%M%S}-{random_hex(16)}"

    def _empty(self, status: int, headers: dict[str, str] | None = None) -> web.Response:
        response = web.Response(
            status=status,
            headers={"Content-Type": "text/html; charset=UTF-8", "request-id": self._request_id(), **(headers or {})},
        )
        if status != 204:
            response.enable_chunked_encoding()
        return response

    def _error(self, error: tuple[int, int, str]) -> web.Response:
        status, code, message = error
        return self._empty(status, {"error": f"code={code}; message={message}"})

    def _refuse(self, error: tuple[int, int, str]) -> NoReturn:
        raise Refused(self._error(error))

    def _file(self, message: StoredMessage) -> web.StreamResponse:
        headers = {
            "Content-Type": "application/octet-stream",
            "Request-ID": self._request_id(),
            "Content-Description": "File Transfer",
            "Content-Disposition": f"attachment; filename={message.envelope.filename}",
            "Content-Transfer-Encoding": "binary",
            "Cache-Control": "must-revalidate, post-check=0, pre-check=0",
            "Pragma": "public",
            "Message-Link": message.link,
            "Message-File-Name": message.envelope.filename,
        }
        return Download(message.envelope.blob, headers)
