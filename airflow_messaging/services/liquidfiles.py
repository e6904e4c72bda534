"""LiquidFiles: mail-like messages with large files, on the customer's own host.

Files are uploaded first and a message then names them. A received file is downloaded from a URL that works once;
viewing the message again gives a fresh one, so such URLs are never kept.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import quote

from airflow_messaging.exceptions import ProtocolError, ServiceError, Shown
from airflow_messaging.messages import Attachment, Draft, JsonDict, Message, Receipt, Upload, part_of
from airflow_messaging.services import liquidfiles_wire as wire
from airflow_messaging.services.base import AuthFlow, Call, Clock, Flow, Refusal, Service, T, require
from airflow_messaging.services.http import MEBIBYTE, JsonBody, RawFile, Request, Response
from airflow_messaging.services.parsing import (
    Reader,
    absolute_url,
    error_words,
    only_known,
    path_segment,
    true_or_false,
    well_before,
    whole_number,
)
from airflow_messaging.services.sending import ZONES_DIFFER_UP_TO, refuse

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
INBOX = "messages/inbox"
SENT = "messages/sent"
UPLOAD = "message/attachments/upload"

CHUNK_SIZE = 100 * MEBIBYTE
"""Bytes that one upload may have; a larger file goes up in pieces."""

SENT_LIMIT = 500
"""How many sent messages to ask for at first: the documents do not say how many come without a limit."""

OPTIONS = {"cc", "bcc", "expires_at", "expires_after", "send_email", "authorization", "private_message", "bcc_myself"}
"""What :meth:`LiquidFiles.send` takes as options: arguments of :meth:`LiquidFiles.send_message`."""


class LiquidFiles(Service):
    """The LiquidFiles API.

    :param base_url: The customer's own host, for example ``https://files.example.com``.
    :param api_key: API key of the user.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of dates, and of those times that come without one. Default UTC.
    :param bearer: Whether to send the key as a bearer token, in place of HTTP Basic. Default no.
    :param chunk_size: The most bytes of a file that one request carries. Default :data:`CHUNK_SIZE`.
    :raises InvalidInput: If the API key cannot be one.
    """

    name = "liquidfiles"
    title = "LiquidFiles"
    has_read_flag = False
    has_subject = True
    most_recipients = None

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        clock: Clock,
        zone: tzinfo = UTC,
        bearer: bool = False,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        super().__init__(base_url, clock=clock, zone=zone)
        usable = isinstance(api_key, str) and api_key.isascii() and re.fullmatch(r"[^\s:]+", api_key)
        require(usable, "api_key", Shown("an unusable key"), "ASCII without spaces and colons")
        self.bearer = bearer
        self.chunk_size = whole_number("chunk_size", chunk_size, 1)
        self._api_key = api_key
        self._basic = base64.b64encode(f"{api_key}:x".encode()).decode()

    # -- endpoints --------------------------------------------------------------------------------------------------

    def messages_inbox(
        self, *, sent_after: date | str | None = None, sent_in_the_last: int | None = None
    ) -> Call[list[Message]]:
        """List the messages that others have sent to this user, oldest first (``messages/inbox``).

        :param sent_after: Only messages sent after this day: a date, a datetime (its day in the connection's zone) or
            ISO 8601 text. Default: all.
        :param sent_in_the_last: Only messages sent in the last so many hours. Default: all.
        :return: A call for the messages.
        :raises InvalidInput: If an argument is no day or not a whole number of hours from 1.
        """
        return self._list(INBOX, "messages", wire.narrowed(sent_after, sent_in_the_last, self.zone))

    def messages_sent(
        self,
        *,
        sent_after: date | str | None = None,
        sent_in_the_last: int | None = None,
        limit: int | None = None,
    ) -> Call[list[Message]]:
        """List the messages that this user has sent, oldest first (``messages/sent``).

        :param sent_after: As for :meth:`messages_inbox`.
        :param sent_in_the_last: As for :meth:`messages_inbox`.
        :param limit: The most messages to return, the newest ones. Default: the service's own, which is not documented.
        :return: A call for the messages.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        narrowed = wire.narrowed(sent_after, sent_in_the_last, self.zone)
        if limit is not None:
            narrowed = (*narrowed, ("limit", str(whole_number("limit", limit, 1))))
        return self._list(SENT, "sent", narrowed)

    def get_message(self, message_id: str) -> Call[Message]:
        """View one message (``message/{id}``).

        :param message_id: The message's id.
        :return: A call for the message; raises ``NotFound`` if it is unknown or has been deleted.
        :raises InvalidInput: If ``message_id`` cannot be an id.
        """
        return self._view(message_id, lambda record: wire.message_of(record, self.zone, self.now()))

    def upload_attachment(self, *, data: Upload) -> Call[str]:
        """Upload one file, to be named by a message afterwards (``message/attachments/upload``).

        :param data: The file.
        :return: A call for the attachment's id; raises ``ProtocolError`` if the service stored something else.
        """
        return Call(
            endpoint=UPLOAD,
            request=self._upload(data),
            parse=lambda response: wire.stored_file(self.name, UPLOAD, data, response),
            # A file that no message names reaches nobody.
            repeatable=True,
        )

    def upload_chunk(self, *, data: Upload, chunk: int, chunks: int) -> Call[str | None]:
        """Upload one of the pieces of a file (``message/attachments/upload``), which have to come in order.

        :param data: The whole file.
        :param chunk: Number of the piece, from 0.
        :param chunks: How many pieces there are. All have the same size, but for the last.
        :return: A call for the attachment's id, None for all pieces but the last; raises ``ProtocolError`` if the
            service put another file together.
        :raises InvalidInput: If there is no such piece.
        """
        whole_number("chunks", chunks, 1)
        whole_number("chunk", chunk, 0, chunks - 1)
        size = -(-data.size // chunks)
        request = self._upload(part_of(data, chunk * size, size))
        is_last = chunk + 1 == chunks
        return Call(
            endpoint=UPLOAD,
            request=request.with_params(("chunk", str(chunk)), ("chunks", str(chunks))),
            parse=lambda response: wire.stored_file(self.name, UPLOAD, data, response) if is_last else None,
            repeatable=True,
        )

    def upload(self, *, data: Upload) -> Flow[str]:
        """Upload one file, in pieces if it is larger than the connection's ``chunk_size``.

        :param data: The file.
        :return: A flow for the attachment's id.
        """
        chunks = -(-data.size // self.chunk_size)
        if chunks <= 1:
            attachment_id: str = yield self.upload_attachment(data=data)
            return attachment_id
        try:
            return (yield from self._upload_in_chunks(data, chunks))
        except (ServiceError, ProtocolError) as error:
            if type(error) not in (ServiceError, ProtocolError):
                raise
        # A piece whose answer was lost has been sent again, and not every service can bear that: from the beginning.
        return (yield from self._upload_in_chunks(data, chunks))

    def list_attachments(self) -> Call[list[Attachment]]:
        """List the user's files on the server (``GET attachments``)."""
        return Call(
            endpoint="attachments",
            request=Request(method="GET", url="attachments", headers=JSON),
            parse=lambda response: wire.files(self.name, "attachments", response),
            repeatable=True,
        )

    def delete_attachments(self, message_id: str) -> Call[None]:
        """Delete all files of a message (``DELETE message/{id}/delete_attachments``).

        :param message_id: The message's id.
        :return: A call that raises ``NotFound`` if the message is unknown or has expired.
        :raises InvalidInput: If ``message_id`` cannot be an id.
        """
        return self._delete(f"message/{path_segment('message_id', message_id)}/delete_attachments")

    def delete_attachment(self, attachment_id: str) -> Call[None]:
        """Delete one file (``DELETE message/attachments/{id}``).

        :param attachment_id: The file's id.
        :return: A call that raises ``NotFound`` if the file is unknown, which it is once it was deleted.
        :raises InvalidInput: If ``attachment_id`` cannot be an id.
        """
        return self._delete(f"message/attachments/{path_segment('attachment_id', attachment_id)}")

    def send_message(
        self,
        *,
        recipients: Sequence[str],
        cc: Sequence[str] = (),
        bcc: Sequence[str] = (),
        subject: str | None = None,
        message: str | None = None,
        attachments: Sequence[str] = (),
        expires_at: date | str | None = None,
        expires_after: int | None = None,
        send_email: bool = True,
        authorization: int | None = None,
        private_message: bool | None = None,
        bcc_myself: bool | None = None,
    ) -> Call[Receipt]:
        """Send a message (``POST message``).

        :param recipients: Mail addresses.
        :param cc: Mail addresses.
        :param bcc: Mail addresses.
        :param subject: Subject line.
        :param message: The text.
        :param attachments: Ids of uploaded files.
        :param expires_at: Day on which the message expires: a date, a datetime (its day in the connection's zone) or
            ISO 8601 text. Default: the service's own setting.
        :param expires_after: How often the files may be downloaded, for each recipient. Default: the service's own
            setting.
        :param send_email: Whether the service mails the recipients. Default True, although the service's own default
            is False: without it nobody learns of the message.
        :param authorization: Who may download: 0 anyone, 1 anyone after authentication, 2 the recipients and local
            users, 3 only the recipients, 4 the recipients and their domains. Default: the service's own setting.
        :param private_message: Whether the text, too, is only shown after authentication. Default: the service's own.
        :param bcc_myself: Whether the sender gets a copy. Default: the service's own, which is True.
        :return: A call for the receipt with the message's id.
        :raises InvalidInput: If there is no recipient or an argument breaks a rule of the documents.
        """
        day = None if expires_at is None else wire.day_of("expires_at", expires_at, self.zone)
        given = wire.checked_fields(
            lists={"recipients": recipients, "cc": cc, "bcc": bcc, "attachments": attachments},
            texts={"subject": subject, "message": message, "expires_at": day},
            numbers={"expires_after": (expires_after, None), "authorization": (authorization, 4)},
            flags={"private_message": private_message, "bcc_myself": bcc_myself},
        )
        given["send_email"] = true_or_false("send_email", send_email)
        return Call(
            endpoint="message",
            request=Request(method="POST", url="message", headers=JSON, body=JsonBody({"message": given})),
            parse=self._receipt,
        )

    def download(self, url: str) -> Call[None]:
        """Download a file from its one-time URL; the transport streams the body.

        :param url: The URL as a message shows it, absolute or below the connection's host. On another host it is
            asked without credentials.
        :return: A call that raises ``NotFound`` once the URL has been used or has expired.
        :raises ProtocolError: If it is no URL of the web.
        """
        target = absolute_url(self.name, "download", url, self.base_url)
        return Call(
            endpoint="download",
            request=Request(method="GET", url=target, headers=JSON),
            parse=lambda _: None,
            repeatable=True,
        )

    # -- the vendor-neutral face ------------------------------------------------------------------------------------

    def check(self) -> Call[Any]:
        """Return ``messages/inbox`` of the last hour."""
        return self.messages_inbox(sent_in_the_last=1)

    def send(self, draft: Draft) -> Flow[Receipt]:
        """Upload the files one by one, then send the message. ``options``: see :data:`OPTIONS`."""
        fields = self._fields(draft)
        uploaded: list[str] = []
        for file in draft.attachments:
            attachment_id = yield from self.upload(data=file)
            uploaded.append(attachment_id)
        receipt: Receipt = yield self.send_message(**fields, attachments=uploaded)
        return receipt

    def find_sent(self, draft: Draft, *, since: datetime) -> Flow[Receipt | None]:
        """Look through the sent list for the same people, subject, text and files (name, size, CRC-32).

        :param draft: The draft.
        :param since: From when on it may have been sent, by the service's clock, aware; cut to whole seconds, as
            some servers write their times.
        :return: The receipt of the first such message, or None.
        :raises UnsupportedFeature: If only the files could tell, and one has no CRC-32; if the zone may be mistaken; or
            if the message would have expired by now.
        """
        fields, limit = self._fields(draft), SENT_LIMIT
        day = self._day_before(well_before(since, ZONES_DIFFER_UP_TO))
        wire.refuse_if_expired(self.name, fields.get("expires_at"), since, self.now(), self.zone)
        while len(listed := (yield self.messages_sent(sent_after=day, limit=limit))) >= limit:
            limit *= 4
        start = since.replace(microsecond=0)
        found = wire.found(self.name, listed, fields, draft.attachments, since=start, now=self.now())
        return None if found is None else wire.receipt_of(Reader(self.name, SENT, found.raw), found.sent_at)

    def message(self, message_id: str) -> Flow[Message]:
        """View one message."""
        message: Message = yield self.get_message(message_id)
        return message

    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[list[Message]]:
        """List the inbox from the day before ``since`` on, and keep what is new."""
        listed: list[Message] = yield self.messages_inbox(sent_after=self._day_before(since))
        return [m for m in listed if m.id not in seen and (not since or not m.received_at or m.received_at >= since)]

    def attachment(self, message: Message, attachment: Attachment) -> Flow[Call[None] | bytes]:
        """View the message again for a fresh one-time URL, and return the call that downloads from it.

        :raises NotFound: If the message or its attachment is not there any more.
        """
        download: Call[None] = yield self._view(
            message.id, lambda record: self.download(wire.one_time_url(record, attachment))
        )
        return download

    # -- authentication ---------------------------------------------------------------------------------------------

    def auth_flow(self, request: Request) -> AuthFlow:
        """Add the API key, as a bearer token or as the user name of HTTP Basic."""
        credentials = f"Bearer {self._api_key}" if self.bearer else f"Basic {self._basic}"
        yield request.with_headers({"Authorization": credentials})

    def derived_secrets(self) -> Iterable[str]:
        """Return the Basic value, and the API key percent-encoded where that differs."""
        encoded = quote(self._api_key, safe="")
        return (self._basic,) if encoded == self._api_key else (self._basic, encoded)

    # -- answers ----------------------------------------------------------------------------------------------------

    def refusal(self, response: Response) -> Refusal:
        """Read ``{"errors": […]}``, ``{"error": …}`` or plain text."""
        return Refusal(message=error_words(self.name, response))

    def _receipt(self, response: Response) -> Receipt:
        # The Date header is cut to whole seconds: one second earlier is surely not too late.
        accepted = self.now().replace(microsecond=0) - timedelta(seconds=1)
        return wire.receipt_of(wire.answer(self.name, "message", response).child("message", "messages"), accepted)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _view(self, message_id: str, parse: Callable[[Reader], T]) -> Call[T]:
        return Call(
            endpoint="message",
            request=Request(method="GET", url=f"message/{path_segment('message_id', message_id)}", headers=JSON),
            parse=lambda response: parse(wire.answer(self.name, "message", response).child("message", "messages")),
            repeatable=True,
        )

    def _list(self, endpoint: str, key: str, params: tuple[tuple[str, str], ...]) -> Call[list[Message]]:
        def parse(response: Response) -> list[Message]:
            records = wire.records(self.name, endpoint, key, response)
            return wire.oldest_first([wire.message_of(record, self.zone, self.now()) for record in records])

        request = Request(method="GET", url=endpoint, params=params, headers=JSON)
        return Call(endpoint=endpoint, request=request, parse=parse, repeatable=True)

    def _upload(self, data: Upload) -> Request:
        # The transport adds the file's own Content-Type, which the service prefers to the parameter.
        params = (("filename", data.filename), ("content_type", data.content_type))
        return Request(method="POST", url=UPLOAD, params=params, headers={"Accept": JSON["Accept"]}, body=RawFile(data))

    def _upload_in_chunks(self, data: Upload, chunks: int) -> Flow[str]:
        for chunk in range(chunks - 1):
            yield self.upload_chunk(data=data, chunk=chunk, chunks=chunks)
        attachment_id: str = yield self.upload_chunk(data=data, chunk=chunks - 1, chunks=chunks)
        return attachment_id

    def _delete(self, url: str) -> Call[None]:
        request = Request(method="DELETE", url=url, headers=JSON)
        return Call(endpoint="delete_attachments", request=request, parse=lambda _: None, repeatable=True)

    def _fields(self, draft: Draft) -> JsonDict:
        only_known("options", draft.options, OPTIONS)
        refuse(self, draft, in_reply_to="replies to a message")
        fields = {"recipients": list(draft.to), "subject": draft.subject, "message": draft.text, **draft.options}
        # Built once before anything is uploaded, so that a refused argument costs nothing.
        self.send_message(**fields)
        return fields

    def _day_before(self, since: datetime | None) -> date | None:
        # The service knows days only, and not whether "after" a day means within it or whose midnight counts.
        earlier = well_before(since, timedelta(days=1))
        return None if earlier is None else earlier.astimezone(self.zone).date()
