"""SendHub: text messages to contacts, groups and numbers, the user's name and API key in each request's query.

There is no list of messages. What has come in is found by way of the inbox, which lists conversations ("threads"), and
then in each conversation that has something unread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_messaging.exceptions import NotFound, Shown, UnsupportedFeature
from airflow_messaging.messages import Attachment, Draft, Message, Receipt, Status
from airflow_messaging.services import sendhub_sent as sent
from airflow_messaging.services import sendhub_wire as wire
from airflow_messaging.services.base import Call, Flow, require
from airflow_messaging.services.http import JsonBody, Request, Response
from airflow_messaging.services.paging import Page, every_item, what_is_new
from airflow_messaging.services.parsing import Reader, absolute_url, only_known, path_segment
from airflow_messaging.services.sendhub_account import PAGE_SIZE, SendHubAccount
from airflow_messaging.services.sendhub_wire import Recipients, Thread
from airflow_messaging.services.sending import refuse

OPTIONS = {"groups", "contact_names", "group_names", "scheduled_at", "mms"}
_WHO = {"groups", "contact_names", "group_names"}


class SendHub(SendHubAccount):
    """The SendHub API, version 1.

    The parameters are those of :class:`~airflow_messaging.services.sendhub_account.SendHubAccount`.
    """

    name = "sendhub"
    title = "SendHub"
    has_read_flag = True
    tells_delivery = False
    longest_text: int
    most_recipients: int

    # -- endpoints --------------------------------------------------------------------------------------------------

    def send_message(
        self,
        *,
        contacts: Recipients = (),
        groups: Recipients = (),
        text: str = "",
        scheduled_at: datetime | str | None = None,
        mms: Mapping[str, str] | None = None,
    ) -> Call[Receipt]:
        """Send a message, now or later (``POST messages/``).

        :param contacts: Ids of contacts, as numbers or digits, and phone numbers in the form ``+1…``. At most 20.
        :param groups: Ids of groups. At most 3.
        :param text: The text, at most 500 characters. It may only be missing from an MMS.
        :param scheduled_at: When to send: a datetime with a zone, or exactly 24 characters such as
            ``2011-02-17T20:29:40-0800``. Default: at once.
        :param mms: A file that goes along: ``{"filename", "url"}``, or ``{"filename", "data"}`` with base64.
        :return: A call whose receipt has the message's id.
        :raises InvalidInput: If an argument breaks a rule of the documents, or there is nobody to send to.
        """
        to_contacts = wire.recipients("contacts", contacts, self.most_recipients, numbers=True)
        to_groups = wire.recipients("groups", groups, self.max_groups, numbers=False)
        require(to_contacts or to_groups, "contacts", Shown("no contacts and no groups"), "at least one of either")
        require(isinstance(text, str) and (text or mms), "text", Shown("no text"), "a text that is not empty")
        length = Shown(f"{len(text)} characters")
        require(len(text) <= self.longest_text, "text", length, f"at most {self.longest_text} characters")
        fields = {
            "contacts": to_contacts or None,
            "groups": to_groups or None,
            "text": text,
            "scheduled_at": None if scheduled_at is None else wire.scheduled_at(scheduled_at),
            "mms": None if mms is None else wire.mms(mms),
        }
        body = JsonBody({name: value for name, value in fields.items() if value is not None})
        return Call(
            endpoint="messages",
            request=Request(method="POST", url="messages/", body=body),
            parse=self._receipt,
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

    def delete_message(self, message_id: str) -> Call[None]:
        """Delete a message; one that is scheduled is not sent then (``DELETE messages/ID``).

        :param message_id: The message's id.
        :return: A call that raises ``NotFound`` if the message is unknown.
        """
        # Not to be repeated by itself: the second of two would say that there is no such message.
        url = f"messages/{path_segment('message_id', message_id)}/"
        return Call(endpoint="messages", request=Request(method="DELETE", url=url), parse=lambda _: None)

    def scheduled_messages(self, *, limit: int | None = None, offset: int | None = None) -> Call[Page[Message]]:
        """List the messages that wait for their time, one page (``GET messages/scheduled``).

        :param limit: The most messages on the page.
        :param offset: How many messages to leave out.
        :return: A call for the page.
        :raises InvalidInput: If an argument is no whole number.
        """
        return self._list("messages/scheduled", "messages/scheduled", self._message, limit, offset)

    def scheduled_messages_all(self) -> Flow[list[Message]]:
        """List all messages that wait for their time, page by page."""
        return self._every(self.scheduled_messages, lambda message: message.id)

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
        narrowing = () if unread is None else (("unread", "true" if unread else "false"),)
        return self._list("inbox", "inbox/", lambda item: wire.thread(item, self.zone), limit, offset, *narrowing)

    def thread(self, thread_id: str, *, limit: int | None = None, offset: int | None = None) -> Call[Page[Message]]:
        """List the messages of a conversation, one page (``GET threads/ID``).

        :param thread_id: The conversation's id.
        :param limit: The most entries on the page.
        :param offset: How many entries to leave out.
        :return: A call for the page. Voice calls stand on it, too, told by ``raw["type"]``.
        :raises InvalidInput: If an argument is no whole number.
        """
        url = f"threads/{path_segment('thread_id', thread_id)}"
        return self._list("threads", url, self._message, limit, offset)

    def download(self, url: str) -> Call[None]:
        """Download a file of an MMS; the transport streams the body.

        :param url: The URL as a conversation shows it. On another host it is asked without credentials.
        :return: A call that raises ``NotFound`` if it is not there any more.
        :raises ProtocolError: If it is no URL of the web.
        """
        target = absolute_url(self.name, "download", url, self.base_url)
        return Call(
            endpoint="download", request=Request(method="GET", url=target), parse=lambda _: None, repeatable=True
        )

    # -- the vendor-neutral face ------------------------------------------------------------------------------------

    def check(self) -> Call[Any]:
        """Return the inbox with a limit of one."""
        return self.inbox(limit=1)

    def send(self, draft: Draft) -> Flow[Receipt]:
        """Send a text, or an MMS of one file, to contacts or numbers. ``options``: see :data:`OPTIONS`."""
        only_known("options", draft.options, OPTIONS)
        refuse(
            self, draft, subject="a subject in messages that it sends", in_reply_to="replies in messages that it sends"
        )
        if len(draft.attachments) > 1:
            raise UnsupportedFeature(self.name, f"{len(draft.attachments)} files in one message")
        contacts, groups = yield from self._recipients_of(draft)
        mms = wire.mms_of(draft.attachments[0]) if draft.attachments else draft.options.get("mms")
        receipt: Receipt = yield self.send_message(
            contacts=contacts,
            groups=groups,
            text=draft.text or "",
            scheduled_at=draft.options.get("scheduled_at"),
            mms=mms,
        )
        return receipt

    def find_sent(self, draft: Draft, *, since: datetime) -> Flow[Receipt | None]:
        """Look in all conversations that moved since then, and among what is scheduled, for the same text.

        :raises UnsupportedFeature: If it went to some of several recipients, or may have gone to those of a group; or
            if the zone may be mistaken.
        """
        contacts, groups = yield from self._recipients_of(draft)
        book = yield from self.contacts_all()
        sought = sent.Sought.of(draft, contacts, groups, book, since=since, now=self.now(), zone=self.zone)
        candidates = []
        if sought.scheduled_at is not None:
            scheduled = yield from self.scheduled_messages_all()
            candidates += [sent.Candidate(message) for message in scheduled]
        for thread in (yield from self._conversations()):
            if sought.may_be_in(thread):
                messages = yield from self._thread_since(thread.id, None)
                candidates += [sent.Candidate(message, thread) for message in messages]
        return sought.among(self.name, candidates)

    def split(self, draft: Draft, *, most: int | None = None) -> Flow[list[Draft]]:
        """Return a message as several: first those to contacts, then those to groups; one may go to both."""
        contacts, groups = yield from self._recipients_of(draft)
        options = {name: value for name, value in draft.options.items() if name not in _WHO}
        to: tuple[Any, ...] = tuple(contacts)
        parts = yield from super().split(dataclasses.replace(draft, to=to, options=options), most=most)
        for begin in range(0, len(groups), self.max_groups):
            last = dataclasses.replace(parts[-1], to=()) if begin else parts.pop()
            some = groups[begin : begin + self.max_groups]
            parts.append(dataclasses.replace(last, options={**options, "groups": some}))
        return parts

    def recipients(self, draft: Draft) -> list[Any]:
        """Return all contacts and groups that a message goes to."""
        return [*draft.to, *(f"group {group}" for group in wire.listed(draft.options.get("groups") or ()))]

    def check_answerable(self, draft: Draft) -> None:
        """Refuse groups, names and several contacts."""
        if any(draft.options.get(name) for name in _WHO):
            raise UnsupportedFeature(self.name, "waiting for the reply of a group or a name: give a contact in 'to'")
        super().check_answerable(draft)

    def repliers(self, draft: Draft) -> Flow[list[str]]:
        """Return the contact's id and number: messages to a number are answered by the contact that has it."""
        given = str(draft.to[0])
        book = yield from self.contacts_all()
        same = [contact for contact in book if given in (contact.id, contact.number)]
        return sorted({given, *(one for contact in same for one in (contact.id, contact.number) if one)})

    def message(self, message_id: str) -> Flow[Message]:
        """Get one message by its id; files of one that came in are looked for in its conversation."""
        message: Message = yield self.get_message(message_id)
        if message.sender is None or "attachments" in message.raw:
            return message
        for thread in (yield from self._conversations()):
            if thread.sender == message.sender:
                for other in (yield from self._thread_since(thread.id, message.received_at)):
                    if other.id == message.id:
                        return dataclasses.replace(
                            message, attachments=other.attachments, raw=wire.in_thread(message.raw, thread, other.raw)
                        )
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
                dataclasses.replace(
                    message, sender=message.sender or thread.sender, raw=wire.in_thread(message.raw, thread)
                )
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

    def attachment(self, message: Message, attachment: Attachment) -> Flow[Call[None] | bytes]:
        """Look the file up in the message's conversation, and return the call that downloads it.

        :raises NotFound: If the message is in none of the conversations with its sender, or lacks the file.
        """
        known = message.raw.get("threadId")
        threads: list[str] = [str(known)] if known else []
        if not threads:
            conversations = yield from self._conversations()
            threads = [thread.id for thread in conversations if thread.sender == message.sender]
        for thread_id in threads:
            for files in (yield from self._files(thread_id)):
                if files.message_id == message.id and attachment.id in files.urls:
                    return self.download(files.urls[attachment.id])
        raise NotFound(self.name, "threads", status=200, message="the message does not have this attachment any more")

    def _recipients_of(self, draft: Draft) -> Flow[tuple[list[str | int], list[str | int]]]:
        options = draft.options
        contacts: list[str | int] = list(draft.to) if any(draft.to) else []
        groups = _groups(draft)
        if options.get("contact_names"):
            contacts += yield from self.contact_ids(options["contact_names"])
        if options.get("group_names"):
            groups += yield from self.group_ids(options["group_names"])
        return contacts, groups

    def _conversations(self) -> Flow[list[Thread]]:
        return self._every(self.inbox, lambda thread: thread.id)

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

    def _files(self, thread_id: str) -> Flow[list[wire.Files]]:
        url = f"threads/{path_segment('thread_id', thread_id)}"

        def page(*, limit: int, offset: int | None) -> Call[Page[wire.Files]]:
            return self._list("threads", url, wire.files, limit, offset)

        return self._every(page, lambda files: files.message_id)

    def _receipt(self, response: Response) -> Receipt:
        return wire.receipt(self._read("messages", response), self.zone, self.now())

    def _message(self, item: Reader) -> Message:
        return wire.message(item, self.zone)


def _groups(draft: Draft) -> list[str | int]:
    return wire.listed(draft.options.get("groups") or ())
