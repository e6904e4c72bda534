"""SerwerSMS.pl's HTTPS API v2 over HTTP: every answer is a 200, errors too."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.forms import FormError, as_bytes, as_text, read_fields
from airflow_messaging.sandbox.service import Inbound, Refused, SandboxService
from airflow_messaging.sandbox.services.serwersms.fields import Fields, InvalidField, paged
from airflow_messaging.sandbox.services.serwersms.state import (
    TYPES,
    Incoming,
    Outgoing,
    SerwerSmsState,
    normal_phone,
)

MAX_NUMBERS = 100_000
MAX_REPORT_IDS = 500
OWN_NUMBER = "+48664078059"
_PHONE = re.compile(r"\+[0-9]{9,15}")

INVALID_ACTION = (1000, "InvalidAction", "Invalid action")
INVALID_USER = (1001, "InvalidUser", "Invalid username or password")
INVALID_ID = (1004, "InvalidID", "Invalid message id")
INVALID_DATA = (1006, "InvalidData", "Invalid data")
VALIDATION = (2000, "ValidationError", "")

# Recipients that fail, so that a test can choose the failure by the number alone.
MAGIC_RECIPIENTS = {
    "+48000000400": (3001, "Invalid message"),
    "+48000000403": (4600, "Phone number is on the blacklist"),
    "+48000000404": (4100, "Invalid phone number"),
    "+48000000429": (3005, "Limit of messages exceeded"),
    "+48000000500": (3000, "Message could not be queued"),
}

Action = Callable[[Fields], dict[str, Any]]


class SerwerSmsSandbox(SandboxService):
    """One account, which authenticates in the body or by a token."""

    name = "serwersms"
    prefix = "/serwersms"
    title = "SerwerSMS.pl"
    not_imitated = (
        "All times are UTC; the vendor does not say which zone its times are in.",
        "Error types and messages beyond the published codes are invented, and so are the failing numbers: "
        "+48000000400, …403, …404, …429 and …500 are refused one by one while the call succeeds.",
        "Lists come newest first unless order=asc, 100 to a page. read=true marks the page that is returned.",
        "A unique_id may be used again: both messages are sent and both are found by it.",
        "A text is pending, after 1 s sent, after 2 s delivered. Reports are kept for 14 days.",
        "An inbound message is mms with attachments, eco as a reply, otherwise nd, unless its type is given.",
        "Forwarding to a customer's URL, XML, sending MMS and voice, contacts, groups and templates are not imitated.",
    )
    credentials: ClassVar[dict[str, Any]] = {
        "username": "airflow_sandbox",
        "password": "zR6mWq9TnV3xKc5HbY8d",
        "token": "Xw2NfTq8ZrK5vLs7JmDc9BgHy4PaUe6R",
        "phone": "+48500600700",
    }
    login_field = "username"
    password_field = "password"  # noqa: S105

    def reset(self) -> None:
        """Forget all messages."""
        self.state = SerwerSmsState(self.world, OWN_NUMBER)

    def routes(self) -> Iterable[web.RouteDef]:
        """Define the actions, each with and without `.json`."""
        actions: dict[str, Action] = {
            "/messages/recived": self.received,
            "/messages/received": self.received,
            "/messages/send_sms": self.send_sms,
            "/messages/reports": self.reports,
            "/messages/delete": self.delete,
            "/account/limits": self.limits,
        }
        return [
            self.route("POST", path + suffix, self._action(action))
            for path, action in actions.items()
            for suffix in ("", ".json")
        ]

    def _action(self, action: Action) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                fields = await read_fields(request)
            except FormError as error:
                return self._error(INVALID_DATA, str(error))
            if not self._authenticated(request, fields):
                return self._error(INVALID_USER)
            try:
                return web.json_response(action(Fields(fields)))
            except InvalidField as error:
                return self._error(VALIDATION, str(error))

        return answer

    def _authenticated(self, request: web.Request, fields: dict[str, Any]) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given: list[Any] = [token.strip()]
            right = [self.credentials["token"]]
        else:
            names = ("username", "password")
            given, right = [fields.get(name) for name in names], [self.credentials[name] for name in names]
        return all(
            isinstance(value, str) and hmac.compare_digest(as_bytes(value), expected.encode())
            for value, expected in zip(given, right, strict=True)
        )

    def received(self, fields: Fields) -> dict[str, Any]:
        """List unread messages and mark them as read on request."""
        phones = {normal_phone(phone) for phone in fields.texts("phone")}
        earliest, latest = fields.moment("date_from"), fields.moment("date_to")
        kind, ndi = fields.text("type"), fields.text("ndi")
        if kind and kind not in TYPES:
            raise InvalidField("type")

        def wanted(message: Incoming) -> bool:
            at = message.received.replace(microsecond=0)
            return (
                (not phones or message.phone in phones)
                and (earliest is None or at >= earliest)
                and (latest is None or at <= latest)
                and (not kind or message.type == kind)
                and (not ndi or (message.type == "ndi" and message.to_number == normal_phone(ndi)))
            )

        found = [message for message in self.state.unread() if wanted(message)]
        page, paging = paged(found, fields)
        show_contact = fields.flag("show_contact")
        items = [self._with_contact(message.to_json(), show=show_contact) for message in page]
        if fields.flag("read"):
            for message in page:
                message.read = True
        return {"items": items, "paging": paging}

    def _with_contact(self, item: dict[str, Any], *, show: bool) -> dict[str, Any]:
        if not show or item["phone"] != self.credentials["phone"]:
            return item
        contact = {
            "first_name": "Jan",
            "last_name": "Kowalski",
            "company": "Example",
            "phone": item["phone"],
            "email": "jan@peer.example",
        }
        return {**item, "contact": contact}

    def send_sms(self, fields: Fields) -> dict[str, Any]:
        """Send one text to many numbers; each may fail alone."""
        phones, text = fields.texts("phone"), fields.text("text")
        if not phones:
            raise InvalidField("phone")
        if not text:
            raise InvalidField("text")
        if len(phones) > MAX_NUMBERS:
            raise InvalidField("phone")
        unique_id = fields.text("unique_id") or None
        if unique_id is not None and not 3 <= len(unique_id) <= 50:
            raise InvalidField("unique_id")
        now, scheduled = self.world.now(), fields.moment("date")
        due = max(now, scheduled) if scheduled else now
        sender = fields.text("sender") or None
        texts = [
            Outgoing(
                phone=normal_phone(phone),
                text=as_text(text),
                sender=sender,
                due=due,
                created=now,
                scheduled=due > now,
                unique_id=unique_id,
                error=_failure(normal_phone(phone)),
            )
            for phone in phones
        ]
        if not fields.flag("test"):
            self.state.outgoing += texts
            self._echo(texts)
        failed = sum(1 for outgoing in texts if outgoing.error)
        answer: dict[str, Any] = {"success": True, "queued": len(texts) - failed, "unsent": failed}
        if fields.flag("details"):
            answer["items"] = [outgoing.item(now) for outgoing in texts]
        return answer

    def _echo(self, texts: list[Outgoing]) -> None:
        state = self.state

        def answer(outgoing: Outgoing) -> None:
            if state.still_goes_out(outgoing):
                state.receive(outgoing.phone, outgoing.text, kind="eco", message_id=outgoing.id)

        for outgoing in texts:
            if outgoing.phone == self.credentials["phone"]:
                self.world.echo_soon(lambda outgoing=outgoing: answer(outgoing), not_before=outgoing.due)  # type: ignore[misc]

    def reports(self, fields: Fields) -> dict[str, Any]:
        """Say what became of texts."""
        now = self.world.now()
        ids, phones = set(fields.texts("id")), {normal_phone(phone) for phone in fields.texts("phone")}
        if len(ids) > MAX_REPORT_IDS:
            raise InvalidField("id")
        unique_ids, status = set(fields.texts("unique_id")), fields.text("status")
        kind, earliest, latest = fields.text("type"), fields.moment("date_from"), fields.moment("date_to")
        found = []
        for outgoing in self.state.reports():
            queued = outgoing.due.replace(microsecond=0)
            if (
                (not ids or outgoing.id in ids)
                and (not phones or outgoing.phone in phones)
                and (not unique_ids or outgoing.unique_id in unique_ids)
                and (not status or outgoing.status(now) == status)
                and (not kind or outgoing.report(now)["type"] == kind)
                and (earliest is None or queued >= earliest)
                and (latest is None or queued <= latest)
            ):
                found.append(outgoing)
        page, paging = paged(found, fields)
        show_contact = fields.flag("show_contact")
        items = [self._with_contact(outgoing.report(now), show=show_contact) for outgoing in page]
        return {"items": items, "paging": paging}

    def delete(self, fields: Fields) -> dict[str, Any]:
        """Call scheduled texts back."""
        ids, unique_ids = set(fields.texts("id")), set(fields.texts("unique_id"))
        wanted = [text for text in self.state.outgoing if text.id in ids or text.unique_id in unique_ids]
        if not self.state.delete_scheduled(wanted):
            raise Refused(self._error(INVALID_ID))
        return {"success": True}

    def limits(self, fields: Fields) -> dict[str, Any]:
        """Say how many texts the account may still send: always the same."""
        kinds = {"eco": 160, "full": 160, "mms": None, "voice": None}
        return {"items": [{"type": kind, "chars_limit": limit, "value": 1000} for kind, limit in kinds.items()]}

    def receive(self, inbound: Inbound) -> str:
        """Let a message arrive from a number."""
        kind = inbound.type if inbound.type in TYPES else None
        kind = kind or ("mms" if inbound.attachments else "eco" if inbound.in_reply_to else "nd")
        message = self.state.receive(
            inbound.sender or self.credentials["phone"],
            as_text(inbound.text),
            kind=kind,
            message_id=inbound.in_reply_to,
            title=as_text(inbound.subject or inbound.text),
            attachments=inbound.attachments,
        )
        return str(message.id)

    def sent(self) -> list[dict[str, Any]]:
        """Texts, also those which failed or are scheduled."""
        now = self.world.now()
        return [outgoing.summary(now) for outgoing in self.state.outgoing]

    def waiting(self) -> list[dict[str, Any]]:
        """Unread messages."""
        return [message.summary() for message in self.state.unread()]

    def refusal(self, status: int, reason: str) -> web.StreamResponse:
        """Refuse as for an unknown action, with a 200."""
        return self._error(INVALID_ACTION)

    def _error(self, error: tuple[int, str, str], detail: str = "") -> web.Response:
        code, kind, message = error
        return web.json_response({"error": {"code": code, "type": kind, "message": detail or message}})


def _failure(phone: str) -> tuple[int, str] | None:
    if not _PHONE.fullmatch(phone):
        return (4100, "Invalid phone number")
    return MAGIC_RECIPIENTS.get(phone)
