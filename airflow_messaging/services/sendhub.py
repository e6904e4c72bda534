"""SendHub: text messages to contacts, groups and numbers, the user's name and API key in each request's query.

There is no list of messages. What has come in is found by way of the inbox, which lists conversations ("threads"), and
then in each conversation that has something unread.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import quote, quote_plus

from airflow_messaging.exceptions import InvalidInput, Shown
from airflow_messaging.messages import Draft, Message, Receipt, Status
from airflow_messaging.services import sendhub_wire as wire
from airflow_messaging.services.base import AuthFlow, Call, Clock, Flow, Refusal, Service, require
from airflow_messaging.services.http import JsonBody, Request, Response
from airflow_messaging.services.paging import Page, every_item, what_is_new
from airflow_messaging.services.parsing import Reader, only_known, parse_json, path_segment, whole_number
from airflow_messaging.services.sendhub_wire import Thread
from airflow_messaging.services.sending import refuse

Recipients = str | int | Sequence[str | int]

PAGE_SIZE = 100

_SCHEDULED_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{4}")
_SCHEDULED_AT_RULE = "exactly 24 characters with the zone's offset, such as 2011-02-17T20:29:40-0800"


class SendHub(Service):
    """The SendHub API, version 1.

    :param base_url: For example ``https://api.sendhub.com/v1``.
    :param username: The user's name.
    :param api_key: The user's API key.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of times in answers. Default UTC, as documented.
    :param max_contacts: The most contacts that one message may have. Newer documents say 25.
    :param max_groups: The most groups that one message may have.
    :param max_text: The longest text in characters. Newer documents say 1600.
    """

    name = "sendhub"
    title = "SendHub"
    has_read_flag = True
    tells_delivery = False
    longest_text: int
    most_recipients: int

    def __init__(
        self,
        base_url: str,
        *,
        username: str,
        api_key: str,
        clock: Clock,
        zone: tzinfo = UTC,
        max_contacts: int = 20,
        max_groups: int = 3,
        max_text: int = 500,
    ) -> None:
        super().__init__(base_url, clock=clock, zone=zone)
        self._username = username
        self._api_key = api_key
        self.most_recipients = max_contacts
        self.max_groups = max_groups
        self.longest_text = max_text

    # -- endpoints --------------------------------------------------------------------------------------------------

    def send_message(
        self,
        *,
        contacts: Recipients = (),
        groups: Recipients = (),
        text: str,
        scheduled_at: datetime | str | None = None,
    ) -> Call[Receipt]:
        """Send a message, now or later (``POST messages/``).

        :param contacts: Ids of contacts, as numbers or digits, and phone numbers in the form ``+1…``. At most 20.
        :param groups: Ids of groups. At most 3.
        :param text: The text, at most 500 characters.
        :param scheduled_at: When to send: a datetime with a zone, or exactly 24 characters such as
            ``2011-02-17T20:29:40-0800``. Default: at once.
        :return: A call whose receipt has the message's id.
        :raises InvalidInput: If an argument breaks a rule of the documents, or there is nobody to send to.
        """
        to_contacts = _recipients("contacts", contacts, self.most_recipients, numbers=True)
        to_groups = _recipients("groups", groups, self.max_groups, numbers=False)
        require(to_contacts or to_groups, "contacts", Shown("no contacts and no groups"), "at least one of either")
        require(isinstance(text, str) and text, "text", Shown("no text"), "a text that is not empty")
        length = Shown(f"{len(text)} characters")
        require(len(text) <= self.longest_text, "text", length, f"at most {self.longest_text} characters")
        fields = {
            "contacts": to_contacts or None,
            "groups": to_groups or None,
            "text": text,
            "scheduled_at": None if scheduled_at is None else _scheduled_at(scheduled_at),
        }
        body = JsonBody({name: value for name, value in fields.items() if value is not None})
        return Call(
            endpoint="messages",
            request=Request(method="POST", url="messages/", body=body),
            parse=lambda response: wire.receipt(self._read("messages", response), self.zone),
        )

    def get_message(self, message_id: str) -> Call[Message]:
        """Get one message with its state (``GET messages/ID/``).

        :param message_id: The message's id.
        :return: A call that raises ``NotFound`` if the message is unknown.
        """
        return Call(
            endpoint="messages",
            request=Request(method="GET", url=f"messages/{path_segment('message_id', message_id)}/"),
            parse=lambda response: wire.message(self._read("messages", response), self.zone),
            repeatable=True,
        )

    def mark_message_read(self, message_id: str) -> Call[Message | None]:
        """Mark a message as read, which cannot be undone (``PUT messages/ID/``).

        :param message_id: The message's id.
        :return: A call for the message, where the service answers with it.
        """

        def parse(response: Response) -> Message | None:
            return wire.message(self._read("messages", response), self.zone) if response.body.strip() else None

        url = f"messages/{path_segment('message_id', message_id)}/"
        return Call(
            endpoint="messages",
            request=Request(method="PUT", url=url, body=JsonBody({"unread": False})),
            parse=parse,
            repeatable=True,
        )

    def inbox(
        self, *, limit: int | None = None, offset: int | None = None, unread: bool | None = None
    ) -> Call[Page[Thread]]:
        """List conversations, one page (``GET inbox/``).

        :param limit: The most conversations on the page.
        :param offset: How many conversations to leave out.
        :param unread: True for conversations with something unread. Not documented: older servers may ignore it.
        :return: A call for the page.
        :raises InvalidInput: If an argument is no whole number.
        """
        params = _window(limit, offset)
        if unread is not None:
            params = (*params, ("unread", "true" if unread else "false"))
        return Call(
            endpoint="inbox",
            request=Request(method="GET", url="inbox/", params=params),
            parse=self._parse_inbox,
            repeatable=True,
        )

    def thread(self, thread_id: str, *, limit: int | None = None, offset: int | None = None) -> Call[Page[Message]]:
        """List the messages of a conversation, one page (``GET threads/ID``).

        :param thread_id: The conversation's id.
        :param limit: The most entries on the page.
        :param offset: How many entries to leave out.
        :return: A call for the page. Voice calls stand on it, too, told by ``raw["type"]``.
        :raises InvalidInput: If an argument is no whole number.
        """
        url = f"threads/{path_segment('thread_id', thread_id)}"
        return Call(
            endpoint="threads",
            request=Request(method="GET", url=url, params=_window(limit, offset)),
            parse=self._parse_thread,
            repeatable=True,
        )

    # -- the vendor-neutral face ------------------------------------------------------------------------------------

    def check(self) -> Call[Any]:
        """Return the inbox with a limit of one."""
        return self.inbox(limit=1)

    def send(self, draft: Draft) -> Flow[Receipt]:
        """Send a text to contacts or numbers. ``options``: ``groups`` and ``scheduled_at``."""
        only_known("options", draft.options, {"groups", "scheduled_at"})
        refuse(
            self,
            draft,
            subject="a subject in messages that it sends",
            attachments="attachments in messages that it sends",
            in_reply_to="replies in messages that it sends",
        )
        contacts = draft.to if any(draft.to) else ()
        receipt: Receipt = yield self.send_message(contacts=contacts, text=draft.text or "", **draft.options)
        return receipt

    def message(self, message_id: str) -> Flow[Message]:
        """Get one message by its id."""
        message: Message = yield self.get_message(message_id)
        return message

    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[list[Message]]:
        """Read each conversation that has something unread.

        A conversation whose last message is in ``seen`` is read, too: an earlier one may still be open.
        """
        threads = yield from every_item(
            self.name,
            lambda _number, before: self.inbox(limit=PAGE_SIZE, offset=before or None, unread=True),
            lambda thread: thread.id,
        )
        unread: list[Message] = []
        for thread in threads:
            over = since is not None and thread.last_at is not None and thread.last_at < since
            if thread.unread is False or over:
                continue
            messages = yield from self._thread_since(thread.id, since)
            unread += [
                dataclasses.replace(message, sender=message.sender or thread.sender)
                for message in messages
                if wire.is_inbound(message.raw) and message.raw.get("unread")
            ]
        return what_is_new(unread, since, seen)[:limit]

    def status(self, message_id: str) -> Flow[Status]:
        """Get the message's state: the service knows scheduled, queued and sent, and nothing beyond."""
        message: Message = yield self.get_message(message_id)
        return wire.status(message.raw)

    def mark_read(self, messages: list[Message]) -> Flow[list[Message]]:
        """Mark each message as read. Nothing is handed out on top."""
        for message in messages:
            yield self.mark_message_read(message.id)
        return []

    def _thread_since(self, thread_id: str, since: datetime | None) -> Flow[list[Message]]:
        def enough(page: Page[Message]) -> bool:
            # The order is not documented: only where the newest come first is the rest known to be older.
            times = [when for message in page.items if (when := message.received_at or message.sent_at)]
            return since is not None and len(times) > 1 and times[0] > times[-1] and times[-1] < since

        return every_item(
            self.name,
            lambda _number, before: self.thread(thread_id, limit=PAGE_SIZE, offset=before or None),
            lambda message: message.id,
            enough=enough,
        )

    # -- credentials ------------------------------------------------------------------------------------------------

    def auth_flow(self, request: Request) -> AuthFlow:
        """Add name and key to the query."""
        yield request.with_params(("username", self._username), ("api_key", self._api_key))

    def derived_secrets(self) -> Iterable[str]:
        """Return the API key as it looks inside a URL, where that is different."""
        return sorted({quote(self._api_key, safe=""), quote_plus(self._api_key)} - {self._api_key})

    # -- answers ----------------------------------------------------------------------------------------------------

    def refusal(self, response: Response) -> Refusal:
        """Read ``{"message": …, "code": …, "error": …, "timeLeft": "0:00:30"}``, of which any may be missing."""
        record = self._read("error", response).record
        words = [text for text in (record.get("message"), record.get("error")) if isinstance(text, str) and text]
        code = record.get("code")
        return Refusal(
            code=str(code) if isinstance(code, str | int) else None,
            message=words[0] if words else None,
            retry_after=wire.seconds(record.get("timeLeft")),
        )

    def _read(self, endpoint: str, response: Response) -> Reader:
        return Reader(self.name, endpoint, parse_json(self.name, endpoint, response))

    def _items(self, endpoint: str, response: Response) -> tuple[list[Reader], bool]:
        answer = self._read(endpoint, response)
        items = [Reader(self.name, endpoint, item) for item in answer.items("objects")]
        return items, answer.has("meta") and answer.child("meta").text("next") is not None

    def _parse_inbox(self, response: Response) -> Page[Thread]:
        items, more = self._items("inbox", response)
        return Page([wire.thread(item, self.zone) for item in items], more)

    def _parse_thread(self, response: Response) -> Page[Message]:
        items, more = self._items("threads", response)
        return Page([wire.message(item, self.zone) for item in items], more)


def _recipients(field: str, given: Recipients, most: int, *, numbers: bool) -> list[str | int]:
    listed = [given] if isinstance(given, str | int) else list(given)
    require(len(listed) <= most, field, Shown(f"{len(listed)} {field}"), f"at most {most}")
    return [_recipient(field, value, numbers=numbers) for value in listed]


def _recipient(field: str, value: str | int, *, numbers: bool) -> str | int:
    if numbers and isinstance(value, str) and re.fullmatch(r"\+[0-9]+", value):
        return value
    try:
        return whole_number(field, value, 0)
    except InvalidInput:
        rule = "ids in digits" + (", and phone numbers that begin with +" if numbers else "")
        raise InvalidInput(field, Shown("an entry that is no id"), rule) from None


def _scheduled_at(value: datetime | str) -> str:
    if isinstance(value, datetime):
        require(value.tzinfo, "scheduled_at", Shown(f"{value}, which lacks a zone"), "a datetime with a zone")
        value = value.strftime("%Y-%m-%dT%H:%M:%S%z")
    good = isinstance(value, str) and _SCHEDULED_AT.fullmatch(value)
    try:
        datetime.fromisoformat(value if good else "")
    except ValueError:
        raise InvalidInput("scheduled_at", value, _SCHEDULED_AT_RULE) from None
    return value


def _window(limit: int | None, offset: int | None) -> tuple[tuple[str, str], ...]:
    given = (("limit", limit, 1), ("offset", offset, 0))
    return tuple((name, str(whole_number(name, value, lowest))) for name, value, lowest in given if value is not None)
