"""SendHub over HTTP: inbox, threads, contacts and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.bodies import Download
from airflow_messaging.sandbox.forms import as_text
from airflow_messaging.sandbox.service import Refused
from airflow_messaging.sandbox.services.sendhub.state import precise

if TYPE_CHECKING:
    from airflow_messaging.sandbox.services.sendhub.routes import SendHubSandbox
    from airflow_messaging.sandbox.services.sendhub.state import Message


class Resources:
    """The endpoints around messages."""

    def __init__(self, service: SendHubSandbox) -> None:
        self._service = service

    def endpoints(self) -> list[tuple[str, str, Handler]]:
        """Methods, paths and handlers."""
        return [
            ("GET", "/inbox", self.inbox),
            ("GET", "/threads/{id}", self.thread),
            ("GET", "/contacts", self.list_contacts),
            ("POST", "/contacts", self.create_contact),
            ("GET", "/contacts/{id}", self.show_contact),
            ("GET", "/groups", self.list_groups),
            ("POST", "/groups", self.create_group),
        ]

    async def inbox(self, request: web.Request) -> web.StreamResponse:
        """List threads, of which only the last message is shown."""
        threads = self._service.state.threads()
        if request.query.get("unread", "").lower() == "true":
            threads = [thread for thread in threads if thread["unread"]]
        return self._service.page(request, threads)

    async def thread(self, request: web.Request) -> web.StreamResponse:
        """List all messages of a thread."""
        messages = self._service.state.in_thread(self._service.path_number(request))
        if not messages:
            raise Refused(self._service.refusal(404, "Thread not found"))
        base_url = f"{request.scheme}://{request.host}"
        return self._service.page(request, [self._in_thread(message, base_url) for message in messages])

    def _in_thread(self, message: Message, base_url: str) -> dict[str, Any]:
        state = self._service.state
        return {
            "attachments": [{**file, "url": urljoin(base_url, file["url"])} for file in message.attachments],
            "contacts": state.described_contacts(message),
            "created_at": message.created_at,
            "direction": message.direction,
            "id": message.id,
            "sent": precise(message.sent(state.world.now())),
            "text": message.text,
            "type": "message-in" if message.direction == "from" else "message-out",
            "unread": message.unread,
        }

    async def list_contacts(self, request: web.Request) -> web.StreamResponse:
        """List contacts."""
        return self._service.page(request, [contact.to_json() for contact in self._service.state.contacts.values()])

    async def show_contact(self, request: web.Request) -> web.StreamResponse:
        """Show one contact."""
        contact = self._service.state.contacts.get(self._service.path_number(request))
        if contact is None:
            raise Refused(self._service.refusal(404, "Contact not found"))
        return web.json_response(contact.to_json())

    async def create_contact(self, request: web.Request) -> web.StreamResponse:
        """Keep a new contact."""
        fields = await self._service.json_object(request)
        name, number = fields.get("name"), fields.get("number")
        if not isinstance(name, str) or not isinstance(number, str) or not number:
            raise self._service.bad("A contact needs a name and a number.")
        return web.json_response(self._service.state.add_contact(as_text(name), as_text(number)).to_json(), status=201)

    async def list_groups(self, request: web.Request) -> web.StreamResponse:
        """List groups."""
        return self._service.page(request, [group.to_json() for group in self._service.state.groups.values()])

    async def create_group(self, request: web.Request) -> web.StreamResponse:
        """Keep a new group, with contacts if there are any."""
        fields = await self._service.json_object(request)
        name, members = fields.get("name"), fields.get("contacts") or []
        if not isinstance(name, str) or not isinstance(members, list):
            raise self._service.bad("A group needs a name.")
        if not all(type(member) is int and member in self._service.state.contacts for member in members):
            raise self._service.bad("A member of the group is not a contact.")
        return web.json_response(self._service.state.add_group(as_text(name), members).to_json(), status=201)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Hand out an attachment."""
        found = self._service.state.files.get(request.match_info["token"])
        if found is None:
            return self._service.refusal(404, "File not found")
        content_type, blob = found
        return Download(blob, {"Content-Type": content_type})
