"""SendHub over HTTP: messages. Threads, contacts and groups are in `resources.py`."""

from __future__ import annotations

import base64
import binascii
import hmac
import mimetypes
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.forms import as_text, header_safe, read_json_object
from airflow_messaging.sandbox.service import Inbound, Refused, SandboxService
from airflow_messaging.sandbox.services.sendhub.resources import Resources
from airflow_messaging.sandbox.services.sendhub.state import Message, SendHubState

MAX_CONTACTS = 20
MAX_GROUPS = 3
MAX_TEXT = 500
SCHEDULED_AT_LENGTH = 24
_NUMBER = re.compile(r"\+[0-9]{10,15}")


class SendHubSandbox(SandboxService):
    """One account with three contacts, in two groups; the first contact is the peer that echoes."""

    name = "sendhub"
    prefix = "/sendhub/v1"
    title = "SendHub"
    not_imitated = (
        "The limits are those of the older documents: 20 contacts, 3 groups, 500 characters.",
        "A message counts as sent 1 s after it was queued, or at its scheduled time, which may lie in the past.",
        "created_at is five hours behind all other times, as in the documents' sample; nobody says why.",
        "Every set of recipients is a thread of its own; a thread shows its messages newest first, in pages of 20.",
        "An unknown contact or group in a message is 400, an unknown id in a path 404; a 401 has an empty body.",
        "A number that was not a contact becomes one; two contacts may have one name.",
        "Attachments have a filename, content_type, size and url, which the documents do not say. They lie under "
        "/attachments/, open to everyone. The file of an MMS sent is echoed if it came as data; a url is not fetched.",
        "The plan limit (420), rate limits (429, except by a fault), webhooks and voice calls are not imitated.",
    )
    credentials: ClassVar[dict[str, Any]] = {
        "username": "7755501234",
        "api_key": "8f14e45fceea167a5a36dedd4bea2543c0ffee42",
        "contact": 1111,
        "number": "+16505551234",
    }
    login_field = "username"
    password_field = "api_key"  # noqa: S105

    def reset(self) -> None:
        """Forget all but the seeded contact."""
        self.state = SendHubState(self.world, self.credentials["contact"], self.credentials["number"])

    def routes(self) -> Iterable[web.RouteDef]:
        """Define the vendor's endpoints, each with and without a trailing slash."""
        endpoints: list[tuple[str, str, Handler]] = [
            ("POST", "/messages", self.create_message),
            ("GET", "/messages/scheduled", self.list_scheduled),
            ("GET", "/messages/{id}", self.show_message),
            ("PUT", "/messages/{id}", self.mark_message),
            ("DELETE", "/messages/{id}", self.delete_message),
        ]
        resources = Resources(self)
        routes = [self.route("GET", "/attachments/{token}", resources.file)]
        for method, path, handler in [*endpoints, *resources.endpoints()]:
            routes += [self.route(method, path + slash, self._with_key(handler)) for slash in ("", "/")]
        return routes

    def _with_key(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            given = _credentials_of(request)
            right = [str(self.credentials[name]).encode() for name in ("username", "api_key")]
            if not all(hmac.compare_digest(value, expected) for value, expected in zip(given, right, strict=True)):
                return web.Response(status=401, content_type="text/html")
            return await handler(request)

        return guarded

    async def create_message(self, request: web.Request) -> web.StreamResponse:
        """Send a message now or later."""
        fields = await self.json_object(request)
        contacts = self._recipients(fields)
        groups = self._groups(fields)
        if not contacts and not groups:
            raise self.bad("You must specify at least one contact or group.")
        text = fields.get("text")
        if not isinstance(text, str) or not (text or fields.get("mms")):
            raise self.bad("The text of the message is missing.")
        if len(text) > MAX_TEXT:
            raise self.bad(f"The text may not be longer than {MAX_TEXT} characters.")
        files = self._mms(fields)
        message = self.state.send(contacts, groups, as_text(text), self._scheduled_at(fields), files)
        self._echo(message)
        return web.json_response(message.to_json(self.world.now()), status=201)

    def _mms(self, fields: dict[str, Any]) -> list[dict[str, Any]]:
        mms = fields.get("mms")
        if mms is None:
            return []
        if not isinstance(mms, dict) or mms.keys() not in ({"filename", "url"}, {"filename", "data"}):
            raise self.bad("mms must have a filename, and either a url or data.")
        if not all(isinstance(value, str) and value for value in mms.values()):
            raise self.bad("filename, url and data of mms must be texts.")
        name = as_text(mms["filename"])
        if "url" in mms:
            if not mms["url"].startswith(("http://", "https://")):
                raise self.bad("The url of mms is not one of the web.")
            return [{"filename": name, "content_type": None, "size": None, "url": as_text(mms["url"])}]
        try:
            content = base64.b64decode(mms["data"], validate=True)
        except (binascii.Error, ValueError):
            raise self.bad("The data of mms is not base64.") from None
        return [self._kept(name, content, mimetypes.guess_type(name)[0] or "application/octet-stream")]

    def _kept(self, filename: str, content: bytes, content_type: str) -> dict[str, Any]:
        token = self.state.add_file(content, header_safe(content_type))
        url = f"{self.prefix}/attachments/{token}"
        return {"filename": filename, "content_type": content_type, "size": len(content), "url": url}

    def _recipients(self, fields: dict[str, Any]) -> list[int | str]:
        given = self._listed(fields, "contacts", MAX_CONTACTS)
        contacts: list[int | str] = []
        for who in given:
            if isinstance(who, str) and _NUMBER.fullmatch(who):
                contacts.append(who)
            else:
                contacts.append(self._known(who, self.state.contacts, "contact"))
        return contacts

    def _groups(self, fields: dict[str, Any]) -> list[int] | None:
        given = self._listed(fields, "groups", MAX_GROUPS)
        return [self._known(group, self.state.groups, "group") for group in given] or None

    def _listed(self, fields: dict[str, Any], name: str, most: int) -> list[Any]:
        given = fields.get(name) or []
        if not isinstance(given, list):
            raise self.bad(f"The field {name} is not a list.")
        if len(given) > most:
            raise self.bad(f"A message may not have more than {most} {name}.")
        return given

    def _known(self, given: Any, known: dict[int, Any], kind: str) -> int:
        number = given
        if isinstance(given, str) and re.fullmatch("[0-9]{1,18}", given):
            number = int(given)
        if type(number) is not int or number not in known:
            raise self.bad(f"There is no {kind} with the id {as_text(str(given))[:40]}.")
        return number

    def _scheduled_at(self, fields: dict[str, Any]) -> datetime | None:
        given = fields.get("scheduled_at")
        if given is None:
            return None
        if isinstance(given, str) and len(given) == SCHEDULED_AT_LENGTH:
            try:
                return datetime.strptime(given, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        raise self.bad("scheduled_at must be 24 characters long, such as 2011-02-17T20:29:40-0800.")

    def _echo(self, message: Message) -> None:
        state, peer = self.state, self.state.contacts[self.credentials["contact"]]
        grouped = {contact for group in message.groups or [] for contact in state.groups[group].contacts}
        if peer.id in message.contacts or peer.number in message.contacts or peer.id in grouped:

            def answer() -> None:
                if message.id in state.messages:
                    state.receive(peer, message.text, [file for file in message.attachments if file["size"]])

            self.world.echo_soon(answer, not_before=message.due)

    async def list_scheduled(self, request: web.Request) -> web.StreamResponse:
        """List what waits for its time."""
        now = self.world.now()
        return self.page(request, [message.to_json(now) for message in self.state.scheduled()])

    async def show_message(self, request: web.Request) -> web.StreamResponse:
        """Tell a message's status."""
        return web.json_response(self._message(request).to_json(self.world.now()))

    async def mark_message(self, request: web.Request) -> web.StreamResponse:
        """Mark a message as read; there is no way back."""
        message = self._message(request)
        if (await self.json_object(request)).get("unread") is not False:
            raise self.bad("A message can only be marked as read.")
        self.state.mark_read(message)
        return web.json_response(message.to_json(self.world.now()))

    async def delete_message(self, request: web.Request) -> web.StreamResponse:
        """Delete a message; a scheduled one is not sent any more."""
        del self.state.messages[self._message(request).id]
        return web.json_response({"message": "Record successfully deleted"})

    def _message(self, request: web.Request) -> Message:
        number = self.path_number(request)
        if number not in self.state.messages:
            raise Refused(self.refusal(404, "Message not found"))
        return self.state.messages[number]

    def path_number(self, request: web.Request) -> int:
        """Return the id in the path, or -1, which nothing has."""
        written = request.match_info["id"]
        return int(written) if re.fullmatch("[0-9]{1,18}", written) else -1

    async def json_object(self, request: web.Request) -> dict[str, Any]:
        """Read a JSON body that is declared as such."""
        if request.content_type != "application/json":
            raise self.bad("The content type must be application/json.")
        return await read_json_object(request)

    def page(self, request: web.Request, objects: list[dict[str, Any]]) -> web.Response:
        """Answer with the part of a list that was asked for."""
        limit, offset = self._count(request, "limit", 20), self._count(request, "offset", 0)
        # As at the vendor, these paths lack the slash and the credentials which the request needs.
        path = request.path.removeprefix(self.prefix.removesuffix("/v1")).rstrip("/")
        following, preceding = offset + limit, max(0, offset - limit)
        meta = {
            "limit": limit,
            "next": f"{path}?limit={limit}&offset={following}" if following < len(objects) else None,
            "offset": offset,
            "previous": f"{path}?limit={limit}&offset={preceding}" if offset else None,
        }
        return web.json_response({"meta": meta, "objects": objects[offset : offset + limit]})

    def _count(self, request: web.Request, name: str, default: int) -> int:
        written = request.query.get(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", written) or (name == "limit" and int(written) < 1):
            page = "<html><body><h1>Bad Request</h1></body></html>"
            raise Refused(web.Response(status=400, text=page, content_type="text/html"))
        return int(written)

    def bad(self, reason: str) -> Refused:
        """Build the refusal of a bad request."""
        return Refused(self.refusal(400, reason))

    def receive(self, inbound: Inbound) -> str:
        """Let a message arrive from a contact or a number."""
        sender = inbound.sender or str(self.credentials["contact"])
        known = self.state.contacts.get(int(sender)) if re.fullmatch("[0-9]{1,18}", sender) else None
        attachments = [self._kept(file.filename, file.content, file.content_type) for file in inbound.attachments]
        message = self.state.receive(known or self.state.contact_of(sender), as_text(inbound.text), attachments)
        return str(message.id)

    def sent(self) -> list[dict[str, Any]]:
        """Outbound messages, also scheduled ones."""
        now = self.world.now()
        return [message.summary(now) for message in self.state.messages.values() if message.direction == "to"]

    def waiting(self) -> list[dict[str, Any]]:
        """Inbound messages which are unread."""
        now = self.world.now()
        return [message.summary(now) for message in self.state.messages.values() if message.unread]

    def refusal(self, status: int, reason: str) -> web.StreamResponse:
        """Refuse with the fields of the vendor's errors."""
        if status == 404:
            return web.json_response({"error": reason, "status": 404}, status=404)
        body = {"message": reason, "code": status, "error": reason}
        return web.json_response(body, status=status)

    def fault_answer(self, status: int) -> web.Response:
        """Say in the body how long to wait, as the vendor does instead of a header."""
        if status == 429:
            body = {"message": "API rate limit exceeded.", "code": 429, "timeLeft": "0:00:30"}
            return web.json_response(body, status=429)
        return super().fault_answer(status)


def _credentials_of(request: web.Request) -> tuple[bytes, bytes]:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            username, _, api_key = base64.b64decode(value, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return b"", b""
        return username, api_key
    query = request.query
    return tuple(query.get(name, "").encode("utf-8", "replace") for name in ("username", "api_key"))  # type: ignore[return-value]
