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

from airflow_messaging.exceptions import NotFound, ProtocolError, Shown
from airflow_messaging.messages import Attachment, Draft, JsonDict, Message, Receipt, Status, Upload
from airflow_messaging.services.base import AuthFlow, Call, Clock, Flow, Refusal, Service, T, require, without
from airflow_messaging.services.http import JsonBody, RawFile, Request, Response
from airflow_messaging.services.parsing import (
    Reader,
    absolute_url,
    as_utc,
    error_words,
    only_known,
    parse_json,
    path_segment,
    true_or_false,
    whole_number,
)
from airflow_messaging.services.sending import refuse

JSON = {"Accept": "application/json", "Content-Type": "application/json"}
INBOX = "messages/inbox"
UPLOAD = "message/attachments/upload"

OPTIONS = {"cc", "bcc", "expires_at", "expires_after", "send_email", "authorization", "private_message", "bcc_myself"}
"""What :meth:`LiquidFiles.send` takes as options: arguments of :meth:`LiquidFiles.send_message`."""


class LiquidFiles(Service):
    """The LiquidFiles API.

    :param base_url: The customer's own host, for example ``https://files.example.com``.
    :param api_key: API key of the user.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of dates, and of those times that come without one. Default UTC.
    :raises InvalidInput: If the API key cannot be one.
    """

    name = "liquidfiles"
    title = "LiquidFiles"
    has_read_flag = False
    has_subject = True
    most_recipients = None

    def __init__(self, base_url: str, *, api_key: str, clock: Clock, zone: tzinfo = UTC) -> None:
        super().__init__(base_url, clock=clock, zone=zone)
        usable = isinstance(api_key, str) and api_key.isascii() and re.fullmatch(r"[^\s:]+", api_key)
        require(usable, "api_key", Shown("an unusable key"), "ASCII without spaces and colons")
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
        params: list[tuple[str, str]] = []
        if sent_after is not None:
            params.append(("sent_after", self._day("sent_after", sent_after)))
        if sent_in_the_last is not None:
            params.append(("sent_in_the_last", str(whole_number("sent_in_the_last", sent_in_the_last, 1))))
        return Call(
            endpoint=INBOX,
            request=Request(method="GET", url=INBOX, params=tuple(params), headers=JSON),
            parse=self._parse_inbox,
            repeatable=True,
        )

    def get_message(self, message_id: str) -> Call[Message]:
        """View one message (``message/{id}``).

        :param message_id: The message's id.
        :return: A call for the message; raises ``NotFound`` if it is unknown or has been deleted.
        :raises InvalidInput: If ``message_id`` cannot be an id.
        """
        return self._view(message_id, self._message)

    def upload_attachment(self, *, data: Upload) -> Call[str]:
        """Upload one file, to be named by a message afterwards (``message/attachments/upload``).

        :param data: The file.
        :return: A call for the attachment's id; raises ``ProtocolError`` if the service stored another size.
        """
        # The transport adds the file's own Content-Type, which the service prefers to the parameter.
        params = (("filename", data.filename), ("content_type", data.content_type))
        headers = {"Accept": JSON["Accept"]}
        return Call(
            endpoint=UPLOAD,
            request=Request(method="POST", url=UPLOAD, params=params, headers=headers, body=RawFile(data)),
            parse=lambda response: self._parse_upload(data, response),
            # A file that no message names reaches nobody.
            repeatable=True,
        )

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
        lists = {"recipients": recipients, "cc": cc, "bcc": bcc, "attachments": attachments}
        record: JsonDict = {name: _texts(name, values) for name, values in lists.items()}
        require(record["recipients"] or record["cc"] or record["bcc"], "recipients", recipients, "at least one address")
        for name, text in (("subject", subject), ("message", message)):
            require(text is None or isinstance(text, str), name, Shown(type(text).__name__), "a text")
            record[name] = text
        record["expires_at"] = expires_at if expires_at is None else self._day("expires_at", expires_at)
        for name, number, highest in (("expires_after", expires_after, None), ("authorization", authorization, 4)):
            record[name] = number if number is None else whole_number(name, number, 0, highest)
        flags = {"send_email": send_email, "private_message": private_message, "bcc_myself": bcc_myself}
        for name, flag in flags.items():
            record[name] = None if flag is None and name != "send_email" else true_or_false(name, flag)
        given = {name: value for name, value in record.items() if value not in (None, [])}
        return Call(
            endpoint="message",
            request=Request(method="POST", url="message", headers=JSON, body=JsonBody({"message": given})),
            parse=self._parse_receipt,
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
        only_known("options", draft.options, OPTIONS)
        refuse(self, draft, in_reply_to="replies to a message")
        fields = {"recipients": list(draft.to), "subject": draft.subject, "message": draft.text, **draft.options}
        # Built once before anything is uploaded, so that a refused argument costs nothing.
        self.send_message(**fields)
        uploaded: list[str] = []
        for file in draft.attachments:
            attachment_id: str = yield self.upload_attachment(data=file)
            uploaded.append(attachment_id)
        receipt: Receipt = yield self.send_message(**fields, attachments=uploaded)
        return receipt

    def message(self, message_id: str) -> Flow[Message]:
        """View one message."""
        message: Message = yield self.get_message(message_id)
        return message

    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[list[Message]]:
        """List the inbox from the day before ``since`` on, and keep what is new."""
        # The service knows days only, and not whether "after" a day means within it or whose midnight counts.
        day = None if since is None else since.astimezone(self.zone).date() - timedelta(days=1)
        listed: list[Message] = yield self.messages_inbox(sent_after=day)
        new = [message for message in listed if message.id not in seen]
        return [message for message in new if not since or not message.received_at or message.received_at >= since]

    def attachment(self, message: Message, attachment: Attachment) -> Flow[Call[None] | bytes]:
        """View the message again for a fresh one-time URL, and return the call that downloads from it.

        :raises NotFound: If the message or its attachment is not there any more.
        """
        download: Call[None] = yield self._view(message.id, lambda record: self._download_of(attachment, record))
        return download

    # -- authentication ---------------------------------------------------------------------------------------------

    def auth_flow(self, request: Request) -> AuthFlow:
        """Add the API key as the user name of HTTP Basic."""
        yield request.with_headers({"Authorization": f"Basic {self._basic}"})

    def derived_secrets(self) -> Iterable[str]:
        """Return the Basic value, and the API key percent-encoded where that differs."""
        encoded = quote(self._api_key, safe="")
        return (self._basic,) if encoded == self._api_key else (self._basic, encoded)

    # -- answers ----------------------------------------------------------------------------------------------------

    def refusal(self, response: Response) -> Refusal:
        """Read ``{"errors": […]}``, ``{"error": …}`` or plain text."""
        return Refusal(message=error_words(self.name, response))

    def _view(self, message_id: str, parse: Callable[[Reader], T]) -> Call[T]:
        return Call(
            endpoint="message",
            request=Request(method="GET", url=f"message/{path_segment('message_id', message_id)}", headers=JSON),
            parse=lambda response: parse(self._answer("message", response).child("message", "messages")),
            repeatable=True,
        )

    def _answer(self, endpoint: str, response: Response) -> Reader:
        return Reader(self.name, endpoint, parse_json(self.name, endpoint, response))

    def _download_of(self, attachment: Attachment, message: Reader) -> Call[None]:
        for item in message.items("attachments"):
            file = Reader(self.name, "message", item)
            if file.identifier("id") == attachment.id:
                return self.download(file.identifier("url"))
        raise NotFound(self.name, "message", status=200, message="the message does not have this attachment any more")

    def _parse_inbox(self, response: Response) -> list[Message]:
        answer = self._answer(INBOX, response)
        if not answer.has("messages"):
            raise ProtocolError(self.name, INBOX, "field 'messages': expected a list, got nothing")
        messages = [self._message(Reader(self.name, INBOX, item)) for item in answer.items("messages")]
        return sorted(messages, key=lambda message: message.received_at or datetime.min.replace(tzinfo=UTC))

    def _message(self, record: Reader) -> Message:
        files = [Reader(self.name, record.endpoint, item) for item in record.items("attachments")]
        recipients = [address for name in ("recipients", "ccs", "bccs") for address in record.texts(name)]
        created_at = record.time("created_at", self.zone)
        return Message(
            service=self.name,
            id=record.identifier("id"),
            sender=record.text("sender"),
            recipients=tuple(dict.fromkeys(recipients)),
            subject=record.text("subject"),
            text=record.text("message"),
            sent_at=created_at,
            received_at=created_at,
            expires_at=record.time("expires_at", self.zone),
            attachments=tuple(self._attachment(file) for file in files),
            # A one-time URL is as good as the file and needs no key: none may get into XCom or a log.
            raw={**record.record, "attachments": [without(file.record, "url") for file in files]},
        )

    def _attachment(self, file: Reader) -> Attachment:
        return Attachment(
            id=file.identifier("id"),
            filename=file.identifier("filename"),
            content_type=file.text("content_type"),
            size=file.whole("size"),
            checksum=file.text("checksum"),
            crc32=file.text("crc32"),
        )

    def _parse_upload(self, data: Upload, response: Response) -> str:
        stored = self._answer(UPLOAD, response).child("attachment")
        size = stored.whole("size")
        if size not in (None, data.size):
            raise ProtocolError(self.name, stored.endpoint, f"the service stored {size} of {data.size} bytes")
        return stored.identifier("id")

    def _parse_receipt(self, response: Response) -> Receipt:
        # The message is out: nothing but its id is asked of the answer.
        record = self._answer("message", response).child("message", "messages")
        return Receipt(
            service=self.name,
            id=record.identifier("id"),
            status=Status.SENT,
            # The Date header is cut to whole seconds: one second earlier is surely not too late.
            sent_at=self.now().replace(microsecond=0) - timedelta(seconds=1),
            raw=without(record.record, "message", "attachments"),
        )

    def _day(self, field: str, value: date | str) -> str:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        return as_utc(field, value, self.zone).astimezone(self.zone).date().isoformat()


def _texts(field: str, values: Sequence[str]) -> list[str]:
    is_list = isinstance(values, Iterable) and not isinstance(values, str | bytes)
    listed = list(values) if is_list else []
    good = all(isinstance(value, str) and value.strip() and value.isprintable() for value in listed)
    require(is_list and good, field, values, "a list of texts")
    return listed
