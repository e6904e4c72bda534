"""Go Integrate Me: files between routes, every request signed.

A message is one file. It has no sender on the wire and it expires; the link is its id. Lists name links and times only,
so that each message is fetched by its own call.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from airflow_messaging.exceptions import ProtocolError, UnsupportedFeature
from airflow_messaging.messages import Attachment, Draft, Message, Receipt, Status, Upload, upload_from_bytes
from airflow_messaging.services.base import AuthFlow, Call, Clock, Flow, Refusal, Service, require
from airflow_messaging.services.http import FileField, Request, Response
from airflow_messaging.services.parsing import (
    Reader,
    header_token,
    only_known,
    parse_json,
    path_segment,
    text_or_content,
    whole_number,
)
from airflow_messaging.services.sending import one_recipient, refuse

MAX_DEVIATION_S = 300
"""The service refuses a ``request-timestamp`` that is further from its own clock."""

NOTHING_NEWER = frozenset({204, 404})
"""The documents do not say how "nothing newer" and "expired" look, so every quiet answer counts as that."""

WAIT_HOLD_S = 75.0
"""How much longer than to any other call to listen on ``wait-next-message``. It is added to the connection's
``read_timeout``, so that the service, or the proxy that cuts idle connections, ends the wait before we do."""

INLINE_LIMIT = 64 * 1024
"""A larger file does not travel inside a message; it is fetched as the message's attachment."""

DEFAULT_EXPIRY_S = 24 * 60 * 60


def request_key(*parts: str) -> str:
    """Return the signature over these parts: lowercase hexadecimal SHA-512 of them joined without a separator.

    :param parts: For ``send-message`` date, route, recipient, message id, file MD5 and secret; for all others date,
        route and secret.
    """
    return hashlib.sha512("".join(parts).encode()).hexdigest()


class GoIntegrate(Service):
    """The Go Integrate Me API, version 1.

    :param base_url: For example ``https://eu-nl.api.go-integrate.me/1``.
    :param route: The connection's own route, such as ``abcd@abcdef01``.
    :param key_secret: The secret that requests are signed with.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of times in lists. Default UTC.
    """

    name = "go_integrate"
    title = "Go Integrate Me"
    has_read_flag = False
    long_poll = True

    def __init__(self, base_url: str, *, route: str, key_secret: str, clock: Clock, zone: tzinfo = UTC) -> None:
        super().__init__(base_url, clock=clock, zone=zone)
        self.route = header_token("route", route)
        self._key_secret = key_secret

    # -- endpoints --------------------------------------------------------------------------------------------------

    def ping(self) -> Call[None]:
        """Check that the service is in operation (``ping``)."""
        return Call(endpoint="ping", request=Request(method="GET", url="ping"), parse=lambda _: None, repeatable=True)

    def send_message(
        self,
        *,
        data: Upload,
        message_to: str,
        message_id: str,
        message_expires_after: int | str = DEFAULT_EXPIRY_S,
        message_priority: str = "normal",
        pay_for_reply: int = 1,
    ) -> Call[Receipt]:
        """Send a file to a route (``send-message``).

        :param data: The file.
        :param message_to: The recipient's route.
        :param message_id: Identifies the message; the same id for the same message, whatever happens.
        :param message_expires_after: Seconds after which the service drops the message unread. Default: one day.
        :param message_priority: Only ``normal`` is supported.
        :param pay_for_reply: Only 1 is documented.
        :return: A call whose receipt carries ``message_id`` and the service's ``request-id``.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        header_token("message_to", message_to)
        header_token("message_id", message_id)
        expiry = whole_number("message_expires_after", message_expires_after, 1, expected="whole seconds from 1")
        require(message_priority == "normal", "message_priority", message_priority, "'normal'")
        require(pay_for_reply == 1, "pay_for_reply", pay_for_reply, "1")
        headers = {
            "pay-for-reply": str(pay_for_reply),
            "message-id": message_id,
            "message-to": message_to,
            "message-priority": message_priority,
            "message-md5": data.md5,
            "message-expires-after": str(expiry),
        }
        return Call(
            endpoint="send-message",
            request=Request(method="POST", url="send-message", headers=headers, body=FileField("data", data)),
            parse=lambda response: self._receipt(message_id, response),
            message_id=message_id,
        )

    def list_messages(self) -> Call[list[Message]]:
        """List the messages that can be fetched now, oldest first, without their content (``list-messages``)."""
        return Call(
            endpoint="list-messages",
            request=Request(method="GET", url="list-messages"),
            parse=self._parse_list,
            repeatable=True,
        )

    def get_message(self, link: str) -> Call[Message]:
        """Fetch one message (``get-message``).

        :param link: The message's link.
        :return: A call that raises ``NotFound`` if the message is unknown or has expired.
        """
        return Call(
            endpoint="get-message",
            request=Request(method="GET", url=f"get-message/{path_segment('link', link)}"),
            parse=lambda response: self._parse_file("get-message", response),
            repeatable=True,
            body_limit=INLINE_LIMIT,
            cut=True,
        )

    def get_next_message(self, after: str) -> Call[Message | None]:
        """Fetch the message that follows another (``get-next-message``).

        :param after: Link of the message before.
        :return: A call for the message; None if nothing is newer.
        """
        return self._next("get-next-message", after, hold=0.0)

    def wait_next_message(self, after: str) -> Call[Message | None]:
        """Fetch the message that follows another, and wait for it on the open connection (``wait-next-message``).

        :param after: Link of the message before.
        :return: A call for the message; None if the wait ended without one, which means: ask again.
        """
        return self._next("wait-next-message", after, hold=WAIT_HOLD_S)

    # -- the vendor-neutral face ------------------------------------------------------------------------------------

    def check(self) -> Call[Any]:
        """Return ``list-messages``: ``ping`` may well answer without looking at the signature."""
        return self.list_messages()

    def send(self, draft: Draft) -> Flow[Receipt]:
        """Send one file to one route. ``options``: ``message_expires_after`` in seconds."""
        only_known("options", draft.options, {"message_expires_after"})
        refuse(self, draft, subject="a subject: the file name takes its place", in_reply_to="replies to a message")
        files = list(draft.attachments)
        if draft.text is not None:
            name = f"{draft.message_id}.txt"
            files.append(upload_from_bytes(name, draft.text.encode(), content_type="text/plain"))
        if len(files) != 1:
            raise UnsupportedFeature(self.name, f"{len(files)} files in one message: it takes one text or one file")
        route = one_recipient(self, draft.to)
        receipt: Receipt = yield self.send_message(
            data=files[0], message_to=route, message_id=draft.message_id, **draft.options
        )
        return receipt

    def repliers(self, draft: Draft) -> Flow[list[str]]:
        """Return nobody: a message that is received does not say which route it comes from."""
        yield from ()
        return []

    def message(self, message_id: str) -> Flow[Message]:
        """Fetch one message by its link."""
        message: Message = yield self.get_message(message_id)
        return (yield from self._with_dates(message))

    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[list[Message]]:
        """List, then fetch each message that is new. One that expires in between is gone for good."""
        listed: list[Message] = yield self.list_messages()
        self.listed = [message.id for message in listed]
        new = [
            message
            for message in listed
            if message.id not in seen and (since is None or message.received_at is None or message.received_at >= since)
        ]
        fetched: list[Message] = []
        for entry in new:
            if limit is not None and len(fetched) >= limit:
                break
            message: Message | None = yield self._fetch_if_there(entry)
            if message is not None:
                fetched.append(message)
        return fetched

    def wait_next(self, after: str) -> Flow[list[Message]]:
        """Wait on the open connection for the message after ``after``."""
        message: Message | None = yield self.wait_next_message(after)
        return [] if message is None else [(yield from self._with_dates(message))]

    def _with_dates(self, message: Message) -> Flow[Message]:
        """Add when the message came and when it goes: only the list knows."""
        listed: list[Message] = yield self.list_messages()
        entry = next((entry for entry in listed if entry.id == message.id), message)
        raw = {**entry.raw, **message.raw}
        return dataclasses.replace(message, received_at=entry.received_at, expires_at=entry.expires_at, raw=raw)

    def attachment(self, message: Message, attachment: Attachment) -> Flow[Call[None] | bytes]:
        """Return the call that streams the message's file."""
        yield from ()
        return Call(
            endpoint="get-message",
            request=Request(method="GET", url=f"get-message/{path_segment('link', attachment.id)}"),
            parse=lambda _: None,
            repeatable=True,
        )

    # -- signature --------------------------------------------------------------------------------------------------

    def auth_flow(self, request: Request) -> AuthFlow:
        """Sign freshly for each attempt, and once more if the server's clock turns out to be far from ours."""
        skew_used = self.skew_s
        response = yield self._signed(request)
        refused = response is not None and 400 <= response.status < 500 and response.status != 404
        if refused and abs(self.skew_s - skew_used) > MAX_DEVIATION_S / 2:
            yield self._signed(request)

    def _signed(self, request: Request) -> Request:
        clocks_agree = abs(self.skew_s) <= MAX_DEVIATION_S / 2
        date = (self.clock() if clocks_agree else self.now()).isoformat(timespec="seconds")
        signed = [
            request.headers[name] for name in ("message-to", "message-id", "message-md5") if name in request.headers
        ]
        key = request_key(date, self.route, *signed, self._key_secret)
        self.on_secret(key)
        return request.with_headers({"request-timestamp": date, "request-from": self.route, "request-key": key})

    # -- answers ----------------------------------------------------------------------------------------------------

    def refusal(self, response: Response) -> Refusal:
        """Read the ``error`` header, such as ``code=201; message=Message recipient cannot be found``."""
        fields = dict(
            part.strip().split("=", 1) for part in (response.header("error") or "").split(";", 1) if "=" in part
        )
        return Refusal(fields.get("code"), fields.get("message"), response.header("request-id"))

    def _receipt(self, message_id: str, response: Response) -> Receipt:
        request_id = response.header("request-id")
        if not request_id:
            raise ProtocolError(self.name, "send-message", "the header 'request-id' is missing")
        return Receipt(
            service=self.name,
            id=message_id,
            status=Status.SENT,
            # The Date header is cut to whole seconds: one second earlier is surely not too late.
            sent_at=self.now().replace(microsecond=0) - timedelta(seconds=1),
            request_id=request_id,
        )

    def _parse_list(self, response: Response) -> list[Message]:
        entries = parse_json(self.name, "list-messages", response)
        if not isinstance(entries, list):
            raise ProtocolError(self.name, "list-messages", "expected a list")
        messages = [self._listed(Reader(self.name, "list-messages", entry)) for entry in entries]
        return sorted(messages, key=lambda message: message.received_at or datetime.min.replace(tzinfo=UTC))

    def _listed(self, entry: Reader) -> Message:
        return Message(
            service=self.name,
            id=entry.identifier("link"),
            recipients=(self.route,),
            received_at=entry.time("received_date", self.zone, self.now()),
            expires_at=entry.time("expiration_date", self.zone),
            raw=entry.record,
        )

    def _fetch_if_there(self, entry: Message) -> Call[Message | None]:
        def parse(response: Response) -> Message | None:
            return None if _is_quiet(response) else self._parse_file("get-message", response, entry)

        call = self.get_message(entry.id)
        return Call(
            endpoint=call.endpoint,
            request=call.request,
            parse=parse,
            repeatable=True,
            accept=NOTHING_NEWER,
            body_limit=call.body_limit,
            cut=True,
        )

    def _next(self, endpoint: str, after: str, *, hold: float) -> Call[Message | None]:
        def parse(response: Response) -> Message | None:
            return None if _is_quiet(response) else self._parse_file(endpoint, response)

        return Call(
            endpoint=endpoint,
            request=Request(method="GET", url=f"{endpoint}/{path_segment('after', after)}", hold=hold),
            parse=parse,
            repeatable=True,
            accept=NOTHING_NEWER,
            body_limit=INLINE_LIMIT,
            cut=True,
        )

    def _parse_file(self, endpoint: str, response: Response, listed: Message | None = None) -> Message:
        link, filename = response.header("Message-Link"), response.header("Message-File-Name")
        if not link or filename is None:
            raise ProtocolError(self.name, endpoint, "the headers 'Message-Link' and 'Message-File-Name' are missing")
        length = response.header("Content-Length")
        text, content = text_or_content(response.body) if response.complete else (None, None)
        file = Attachment(
            id=link,
            filename=filename,
            content_type=response.header("Content-Type"),
            size=int(length) if length and length.isdigit() else None,
        )
        return Message(
            service=self.name,
            id=link,
            recipients=(self.route,),
            subject=filename,
            text=text,
            content=content,
            received_at=listed.received_at if listed else self.now().replace(microsecond=0),
            expires_at=listed.expires_at if listed else None,
            attachments=(file,),
            raw={**(listed.raw if listed else {}), "request_id": response.header("Request-ID")},
        )


def _is_quiet(response: Response) -> bool:
    return response.status in NOTHING_NEWER or (not response.body and response.header("Message-Link") is None)
