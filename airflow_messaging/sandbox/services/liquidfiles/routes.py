"""LiquidFiles over HTTP: messages. Uploads and downloads are in `files.py`."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.bodies import Blob
from airflow_messaging.sandbox.forms import as_text, header_safe, read_json_object
from airflow_messaging.sandbox.service import Inbound, Refused, SandboxService
from airflow_messaging.sandbox.services.liquidfiles.files import Files
from airflow_messaging.sandbox.services.liquidfiles.state import (
    AUTHORIZATIONS,
    LIFETIME,
    LiquidFilesState,
    Message,
    end_of_day,
    start_of_day,
)

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
MAX_HOURS = 10 * 365 * 24


class LiquidFilesSandbox(SandboxService):
    """One account whose API key is checked."""

    name = "liquidfiles"
    prefix = "/liquidfiles"
    title = "LiquidFiles"
    not_imitated = (
        "There is one account. Messages to the account's own address arrive in its inbox; others only count as sent.",
        "expires_at is the last day (UTC) on which a message exists; without it a message lives 14 days. The download "
        "counter expires_after is kept and returned, but not enforced.",
        "sent_after lists from the beginning of that day (UTC) on; inboxes come newest first.",
        "A one-time URL is used up when its download is complete; each file keeps its latest 100 unused URLs.",
        "401 is plain text; without `Accept: application/json` the message endpoints answer 406 with HTML; uploads and "
        "downloads do not look at Accept.",
        "Chunks belong together by the file's name alone and must come in order; each may come again until the last "
        "has come. A list that is given no limit is whole.",
        "Virus scanning, e-mail, authorization levels, file links, file drops and users are not imitated.",
    )
    credentials: ClassVar[dict[str, Any]] = {
        "api_key": "Y9kQfT3mZdV7tBwRx5ZHLc",
        "recipient": "robin@peer.example",
        "email": "airflow@sandbox.example",
        "password": "correct-Horse7-battery",
    }
    login_field = None
    password_field = "api_key"  # noqa: S105

    def reset(self) -> None:
        """Empty the account."""
        self.state = LiquidFilesState(self.world, self.credentials["email"])

    def routes(self) -> Iterable[web.RouteDef]:
        """Define the endpoints for messages and files."""
        files = Files(self)
        json_routes: list[tuple[str, str, Handler]] = [
            ("GET", "/messages/inbox", self.inbox),
            ("GET", "/messages/sent", self.sent_messages),
            ("GET", "/message/{id}", self.message),
            ("POST", "/message", self.send),
        ]
        return [
            self.route("POST", "/login", self.login),
            *(self.route(method, path, self._json_only(handler)) for method, path, handler in json_routes),
            *(self.route(method, path, self._with_key(handler)) for method, path, handler in files.endpoints()),
        ]

    def _with_key(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not hmac.compare_digest(_key_of(request), self.credentials["api_key"].encode()):
                challenge = {"WWW-Authenticate": 'Basic realm="LiquidFiles"'}
                return web.Response(status=401, text="HTTP Basic: Access denied.\n", headers=challenge)
            return await handler(request)

        return guarded

    def _json_only(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            wants_json = "application/json" in request.headers.get("Accept", "")
            if not wants_json or (request.method == "POST" and request.content_type != "application/json"):
                page = "<html><body>406 Not Acceptable</body></html>"
                return web.Response(status=406, text=page, content_type="text/html")
            return await handler(request)

        return self._with_key(guarded)

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Exchange the account's password for its API key."""
        user = (await read_json_object(request)).get("user")
        if not isinstance(user, dict):
            return self.errors(422, "User can't be blank")
        if (user.get("email"), user.get("password")) != (self.credentials["email"], self.credentials["password"]):
            return self.errors(401, "Invalid email or password")
        return web.json_response({"user": {"api_key": self.credentials["api_key"]}})

    async def inbox(self, request: web.Request) -> web.StreamResponse:
        """List what others have sent."""
        messages = self.state.listed(self.state.inbox, self._since(request))
        return web.json_response({"messages": [message.to_json(self.base_url(request)) for message in messages]})

    async def sent_messages(self, request: web.Request) -> web.StreamResponse:
        """List what this account has sent."""
        messages = self.state.listed(self.state.sent, self._since(request))
        if "limit" in request.query:
            messages = messages[: self._whole_number(request.query["limit"], "limit")]
        return web.json_response({"sent": [message.to_json(self.base_url(request)) for message in messages]})

    async def message(self, request: web.Request) -> web.StreamResponse:
        """Show one message: the documents say `messages`, the vendor's programs read `message`."""
        found = self.found(request.match_info["id"]).to_json(self.base_url(request))
        return web.json_response({"message": found, "messages": found})

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send a message with files uploaded before."""
        fields = (await read_json_object(request)).get("message")
        if not isinstance(fields, dict):
            return self.errors(422, "Message can't be blank")
        message = self._composed(fields)
        self.state.sent.append(message)
        if self.credentials["email"] in message.addressees:
            self.state.inbox.append(message)
        if self.credentials["recipient"] in message.addressees:
            state, peer = self.state, self.credentials["recipient"]
            self.world.echo_soon(lambda: state.reply_to(message, peer))
        return web.json_response({"message": message.to_json(self.base_url(request))})

    def _composed(self, fields: dict[str, Any]) -> Message:
        problems: list[str] = []
        people = {name: fields.get(name) or [] for name in ("recipients", "cc", "bcc")}
        for name, addresses in people.items():
            if not isinstance(addresses, list) or not all(_is_address(address) for address in addresses):
                problems.append(f"{name.capitalize()} is invalid")
        if not any(people.values()):
            problems.append("Recipients can't be blank")
        files = fields.get("attachments") or []
        if not isinstance(files, list) or not all(isinstance(f, str) and f in self.state.attachments for f in files):
            problems.append("Attachments could not be found")
        authorization = fields.get("authorization", 3)
        if type(authorization) is not int or authorization not in AUTHORIZATIONS:
            problems.append("Authorization is invalid")
        expires_after = fields.get("expires_after", 0)
        if expires_after is not None and type(expires_after) is not int:
            problems.append("Expires after is not a number")
        texts = {name: fields.get(name) or "" for name in ("subject", "message", "sender")}
        problems += [f"{name.capitalize()} is invalid" for name, text in texts.items() if not isinstance(text, str)]
        now = self.world.now()
        expires = now + LIFETIME
        if fields.get("expires_at"):
            day = _day(fields["expires_at"])
            if day is None or end_of_day(day) <= now:
                problems.append("Expires at is invalid")
            else:
                expires = end_of_day(day)
        if problems:
            raise Refused(self.errors(422, *problems))
        return Message(
            sender=as_text(texts["sender"]) or self.credentials["email"],
            recipients=people["recipients"],
            ccs=people["cc"],
            bccs=people["bcc"],
            subject=as_text(texts["subject"]),
            message=as_text(texts["message"]),
            created_at=now,
            expires=expires,
            expires_after=expires_after,
            authorization=authorization,
            private_message=bool(fields.get("private_message")),
            attachments=[self.state.attachments[attachment_id] for attachment_id in files],
        )

    def _since(self, request: web.Request) -> datetime | None:
        if "sent_after" in request.query:
            day = _day(request.query["sent_after"])
            if day is None:
                raise Refused(self.errors(422, "sent_after is not a valid date"))
            return start_of_day(day)
        if "sent_in_the_last" in request.query:
            hours = self._whole_number(request.query["sent_in_the_last"], "sent_in_the_last")
            return self.world.now() - timedelta(hours=min(hours, MAX_HOURS))
        return None

    def _whole_number(self, text: str, name: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text):
            raise Refused(self.errors(422, f"{name} is not a number"))
        return int(text)

    def found(self, message_id: str) -> Message:
        """Find a message or refuse."""
        message = self.state.find(message_id)
        if message is None:
            raise Refused(self.errors(404, "Message could not be found"))
        return message

    def base_url(self, request: web.Request) -> str:
        """Return the URL under which this client sees the account."""
        return f"{request.scheme}://{request.host}{self.prefix}"

    def errors(self, status: int, *problems: str) -> web.Response:
        """Refuse as the vendor does."""
        return web.json_response({"errors": problems}, status=status)

    def receive(self, inbound: Inbound) -> str:
        """Let a message arrive in the inbox."""
        now = self.world.now()
        lifetime = LIFETIME if inbound.expires_after is None else timedelta(seconds=inbound.expires_after)
        message = Message(
            sender=inbound.sender or self.credentials["recipient"],
            recipients=[self.credentials["email"]],
            subject=as_text(inbound.subject or ""),
            message=as_text(inbound.text),
            created_at=now,
            expires=now + lifetime,
        )
        for file in inbound.attachments:
            attachment = self.state.add_attachment(header_safe(file.filename), file.content_type, Blob.of(file.content))
            message.attachments.append(attachment)
        return self.state.deliver(message).id

    def sent(self) -> list[dict[str, Any]]:
        """Messages of this account."""
        return [message.summary() for message in reversed(self.state.listed(self.state.sent))]

    def waiting(self) -> list[dict[str, Any]]:
        """Tell the inbox: the vendor has no read flag."""
        return [message.summary() for message in reversed(self.state.listed(self.state.inbox))]

    def refusal(self, status: int, reason: str) -> web.StreamResponse:
        """Refuse with a list of errors."""
        return self.errors(status, reason)


def _key_of(request: web.Request) -> bytes:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[0]
    except (binascii.Error, ValueError):
        return b""


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and bool(_EMAIL.fullmatch(value))


def _day(value: Any) -> date | None:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None
