"""SerwerSMS.pl: text messages and MMS, the account's name and password in each request's body, or a token beside it.

Incoming messages are unread until a call with ``read=true`` hands them out: that call marks what it returns, and it is
never returned again. So this module looks without the flag, and sets it only for messages that were dealt with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow_messaging.exceptions import MessagingError, NotFound, ServiceError, Shown, UnsupportedFeature
from airflow_messaging.messages import Attachment, Draft, JsonDict, Message, Receipt, Status
from airflow_messaging.services import serwersms_sent as sent
from airflow_messaging.services import serwersms_wire as wire
from airflow_messaging.services.base import Call, Flow, require
from airflow_messaging.services.paging import MAX_PAGES, Page, every_item, oldest_first, what_is_new
from airflow_messaging.services.parsing import (
    Reader,
    as_utc,
    before_clocks_go_back,
    only_known,
    true_or_false,
)
from airflow_messaging.services.sending import one_recipient, refuse
from airflow_messaging.services.serwersms_account import SerwerSmsAccount, Time
from airflow_messaging.services.serwersms_sent import SmsReceipt

Phone = str | Sequence[str]

TYPES = ("eco", "nd", "ndi", "pre", "mms")
MAX_REPORT_IDS = 500
UNIQUE_ID_LENGTHS = range(3, 51)
REPORTED = ("saved", "pending", "in_progress", "sent", "delivered", "undelivered", "unsent")
REPORTS_KEPT = timedelta(days=13)
"""The vendor says about 14 days: what lies further back may have no report any more."""


class SerwerSms(SerwerSmsAccount):
    """The SerwerSMS.pl HTTPS API, version 2.

    The parameters are those of :class:`~airflow_messaging.services.serwersms_account.SerwerSmsAccount`.
    """

    name = "serwersms"
    title = "SerwerSMS.pl"
    has_read_flag = True
    keeps_read = False
    names_answered = True

    # -- endpoints --------------------------------------------------------------------------------------------------

    def messages_recived(
        self,
        *,
        phone: Phone | None = None,
        date_from: Time | None = None,
        date_to: Time | None = None,
        type: str | None = None,
        ndi: str | None = None,
        read: bool | None = None,
        show_contact: bool | None = None,
        page: int | None = None,
        limit: int | None = None,
        order: str | None = None,
    ) -> Call[Page[Message]]:
        """List unread incoming messages, one page (``messages/recived``, which is the vendor's spelling).

        :param phone: Only from this number or these numbers.
        :param date_from: Only sent at this time or later; without a zone, the connection's is meant.
        :param date_to: Only sent at this time or earlier.
        :param type: Only of this kind: ``eco``, ``nd``, ``ndi``, ``pre`` or ``mms``. Default: all.
        :param ndi: Only to this NDI number of the account.
        :param read: True marks what the call returns as read: it is lost to everybody who asks later.
        :param show_contact: Whether to add what the account's address book knows of the sender.
        :param page: Number of the page, from 1.
        :param limit: The most messages on a page.
        :param order: The order of the list, in the vendor's words.
        :return: A call for the page.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        require(type is None or type in TYPES, "type", type, f"one of {', '.join(TYPES)}")
        # A templated "false" is true to some: this flag must not be set by mistake.
        require(read is None or isinstance(read, bool), "read", read, "True, False or None")
        parameters = {
            "phone": None if phone is None else wire.numbers(phone),
            "date_from": self._time("date_from", date_from),
            "date_to": self._time("date_to", date_to),
            "type": type,
            "ndi": ndi,
            "read": read,
            "show_contact": show_contact,
            "page": page,
            "limit": limit,
            "order": order,
        }

        def parse(answer: Reader) -> Page[Message]:
            return wire.received(answer, self.zone, self.now())

        return self._call("messages/recived", parameters, parse, repeatable=not read)

    def messages_recived_all(
        self,
        *,
        phone: Phone | None = None,
        date_from: Time | None = None,
        date_to: Time | None = None,
        type: str | None = None,
        ndi: str | None = None,
        show_contact: bool | None = None,
    ) -> Flow[list[Message]]:
        """List all unread incoming messages, oldest first, page by page, and mark none of them as read.

        The parameters are those of :meth:`messages_recived`.
        """
        call = self.messages_recived(
            phone=phone, date_from=date_from, date_to=date_to, type=type, ndi=ndi, show_contact=show_contact
        )
        messages = yield from every_item(self.name, wire.pages_of(call), lambda message: message.id)
        return oldest_first(messages)

    def messages_send_sms(
        self,
        *,
        phone: Phone,
        text: str,
        sender: str | None = None,
        details: bool = True,
        utf: bool | None = None,
        flash: bool | None = None,
        speed: bool | None = None,
        test: bool | None = None,
        date: Time | None = None,
        unique_id: str | None = None,
    ) -> Call[SmsReceipt]:
        """Send a text message (``messages/send_sms``).

        :param phone: The recipient's number, or up to 100,000 numbers.
        :param text: The message.
        :param sender: Name that the recipient sees (a FULL message). Default: none, which makes it ECO+.
        :param details: Whether the answer names each recipient's message; without, the receipt's id is ``unique_id``.
        :param utf: Whether to keep characters beyond the GSM alphabet.
        :param flash: Whether to show the message at once, without storing it.
        :param speed: Whether to send with priority.
        :param test: Whether to check only, and send nothing.
        :param date: When to send; without a zone, the connection's is meant. Default: at once.
        :param unique_id: The client's own id of the message, 3 to 50 characters.
        :return: A call whose receipt has the first accepted recipient's id, and says of each number in ``recipients``
            what became of it. Its status is ``failed`` if none of several recipients was accepted.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        require(isinstance(text, str) and text, "text", Shown("no text"), "a text that is not empty")
        require(unique_id is None or _fits(unique_id), "unique_id", unique_id, "3 to 50 characters")
        require(details or unique_id is not None, "details", details, "True, or a unique_id to know the message by")
        scheduled_at = None if date is None else as_utc("date", date, self.zone)
        flags = {"details": details, "utf": utf, "flash": flash, "speed": speed, "test": test}
        parameters = {
            "phone": wire.numbers(phone),
            "text": text,
            "sender": sender,
            **{name: None if flag is None else true_or_false(name, flag) for name, flag in flags.items()},
            "date": self._time("date", date),
            "unique_id": unique_id,
        }

        def parse(answer: Reader) -> SmsReceipt:
            return sent.receipt(answer, self.now(), scheduled_at, unique_id, phone)

        return self._call("messages/send_sms", parameters, parse, message_id=unique_id)

    def messages_reports(
        self,
        *,
        id: str | Sequence[str] | None = None,
        unique_id: str | Sequence[str] | None = None,
        phone: Phone | None = None,
        date_from: Time | None = None,
        date_to: Time | None = None,
        status: str | None = None,
        type: str | None = None,
        show_contact: bool | None = None,
        page: int | None = None,
        limit: int | None = None,
    ) -> Call[Page[Receipt]]:
        """Report on sent messages, one page (``messages/reports``); the service keeps reports for about 14 days.

        :param id: Only these messages, at most 500.
        :param unique_id: Only the messages with these ids of the client.
        :param phone: Only to this number or these numbers.
        :param date_from: Only from this time on; without a zone, the connection's is meant.
        :param date_to: Only up to this time.
        :param status: Only these: ``saved`` (scheduled), ``pending``, ``in_progress``, ``sent``, ``delivered``,
            ``undelivered`` or ``unsent``.
        :param type: Only of this kind, in the vendor's words.
        :param show_contact: Whether to add what the account's address book knows of the recipient.
        :param page: Number of the page, from 1.
        :param limit: The most reports on a page.
        :return: A call for the page: one receipt per message and recipient, the vendor's report in ``raw``.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        ids = [id] if isinstance(id, str) else list(id or ())
        require(len(ids) <= MAX_REPORT_IDS, "id", Shown(f"{len(ids)} ids"), f"at most {MAX_REPORT_IDS} ids")
        require(status is None or status in REPORTED, "status", status, f"one of {', '.join(REPORTED)}")
        parameters = {
            "id": ids or None,
            "unique_id": unique_id if unique_id is None or isinstance(unique_id, str) else list(unique_id),
            "phone": None if phone is None else wire.numbers(phone),
            "date_from": self._time("date_from", date_from),
            "date_to": self._time("date_to", date_to),
            "status": status,
            "type": type,
            "show_contact": None if show_contact is None else true_or_false("show_contact", show_contact),
            "page": page,
            "limit": limit,
        }
        return self._call(
            "messages/reports", parameters, lambda answer: wire.reports(answer, self.zone), repeatable=True
        )

    def messages_reports_all(self, **narrowing: Any) -> Flow[list[Receipt]]:
        """Report on sent messages, page by page; the parameters are those of :meth:`messages_reports`."""
        call = self.messages_reports(**narrowing)
        return every_item(self.name, wire.pages_of(call), lambda report: report.id)

    def messages_delete(self, *, id: str | None = None, unique_id: str | None = None) -> Call[None]:
        """Call a scheduled message back (``messages/delete``).

        :param id: The message's id.
        :param unique_id: The client's id, in place of ``id``: calls back what went to all recipients under it.
        :return: A call that raises ``NotFound`` if no scheduled message has that id, also if it has been sent.
        :raises InvalidInput: Unless exactly one of the two is given.
        """
        given = [value for value in (id, unique_id) if value is not None]
        good = len(given) == 1 and isinstance(given[0], str) and given[0].strip()
        require(good, "id", Shown(f"{len(given)} ids"), "either an id or a unique_id, as a text")

        def parse(answer: Reader) -> None:
            if answer.flag("success") is not True:
                raise ServiceError(self.name, "messages/delete", status=200, message="the message was not deleted")

        # Not to be repeated by itself: the second of two would say that there is no such message.
        return self._call("messages/delete", {"id": id, "unique_id": unique_id}, parse)

    # -- the vendor-neutral face ------------------------------------------------------------------------------------

    def check(self) -> Call[Any]:
        """Return ``messages/recived`` with a limit of one and without the read flag."""
        return self.messages_recived(limit=1)

    def send(self, draft: Draft) -> Flow[Receipt]:
        """Send a text to one number. ``options``: those of :meth:`messages_send_sms` that say how it is sent."""
        only_known("options", draft.options, {"sender", "utf", "flash", "speed", "test", "date"})
        refuse(
            self,
            draft,
            subject="a subject in messages that it sends",
            attachments="attachments in messages that it sends",
            in_reply_to="replies in messages that it sends",
        )
        receipt: SmsReceipt = yield self.messages_send_sms(
            phone=one_recipient(self, draft.to),
            text=draft.text or "",
            unique_id=draft.message_id if _fits(draft.message_id) else None,
            **draft.options,
        )
        return receipt.plain()

    def find_sent(self, draft: Draft, *, since: datetime) -> Flow[Receipt | None]:
        """Look for reports with the message's id as ``unique_id``. What was refused counts as not there.

        :raises UnsupportedFeature: If the id does not fit into a ``unique_id``, the zone may be mistaken, or ``since``
            lies further back than reports are surely kept.
        """
        if not _fits(draft.message_id):
            raise UnsupportedFeature(self.name, "looking for what was sent without a unique_id of 3 to 50 characters")
        if since < self.now() - REPORTS_KEPT:
            raise UnsupportedFeature(self.name, f"looking for what was sent over {REPORTS_KEPT.days} days ago")
        # Not narrowed by date: the documents do not say which of a message's times would count.
        reports = yield from self.messages_reports_all(unique_id=draft.message_id)
        return sent.found(self.name, reports, draft, since=since, zone=self.zone, now=self.now())

    def kept(self, draft: Draft, receipt: Receipt) -> JsonDict:
        """Return the places of those of several recipients that were not accepted."""
        return sent.kept(receipt, draft.to)

    def check_answerable(self, draft: Draft) -> None:
        """Refuse, beside several numbers, a message under a name (FULL), which cannot be answered."""
        super().check_answerable(draft)
        if draft.options.get("sender"):
            raise UnsupportedFeature(self.name, "replies to messages with a 'sender'")

    def repliers(self, draft: Draft) -> Flow[list[str]]:
        """Return the number with and without its plus sign, and with and without the country's prefix."""
        yield from ()
        return sent.forms_of(str(draft.to[0]))

    def message(self, message_id: str) -> Flow[Message]:
        """Look for a message among the unread ones: the service looks none up by its id."""
        listed = yield from self.messages_recived_all()
        for message in listed:
            if message.id == message_id:
                return message
        raise self._not_unread()

    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[list[Message]]:
        """List the unread messages, without marking them."""
        start = None if since is None else before_clocks_go_back(since, self.zone)
        listed = yield from self.messages_recived_all(date_from=start)
        return what_is_new(listed, since, seen)[:limit]

    def status(self, message_id: str) -> Flow[Status]:
        """Ask for the message's report; a message that has none counts as queued.

        The vendor does not say how soon a report exists. After about 14 days there is none any more.
        """
        reports: Page[Receipt] = yield self.messages_reports(id=message_id)
        for report in reports.items:
            if report.id == message_id:
                return report.status
        return Status.QUEUED

    def mark_read(self, messages: list[Message]) -> Flow[list[Message]]:
        """Ask with ``read=true`` for exactly the senders and seconds of these messages.

        :return: Other unread messages of the same senders and seconds: they are marked now, too, and nobody else will
            get them.
        """
        asked_for = {message.id for message in messages}
        extra: dict[str, Message] = {}
        for sender, second in dict.fromkeys(wire.place(message) for message in messages):
            # Always the first page: what was on it is marked now, and the rest has moved up.
            call = self.messages_recived(phone=sender, date_from=second, date_to=second, read=True)
            handed_out: set[str] = set()
            for _ in range(MAX_PAGES):
                try:
                    page: Page[Message] = yield call
                except MessagingError:
                    if not extra:
                        raise
                    # What was handed out on top must not be lost; what could not be marked will simply come again.
                    return oldest_first(extra.values())
                new = [message for message in page.items if message.id not in handed_out]
                handed_out.update(message.id for message in new)
                extra.update({message.id: message for message in new if message.id not in asked_for})
                if not page.more or not new:
                    break
        return oldest_first(extra.values())

    def read_along(self, message: Message) -> Flow[list[Message]]:
        """Return other unread messages of the same sender and second, without marking them."""
        sender, second = wire.place(message)
        listed = yield from self.messages_recived_all(phone=sender, date_from=second, date_to=second)
        return [other for other in listed if other.id != message.id]

    def attachment(self, message: Message, attachment: Attachment) -> Flow[Call[None] | bytes]:
        """Ask for the message once more, and return the attachment's bytes from it; it must still be unread."""
        sender, second = wire.place(message)

        def parse(answer: Reader) -> Page[wire.File]:
            return wire.files(answer, attachment.id)

        at = self._time("received_at", second)
        call = self._call("messages/recived", {"phone": sender, "date_from": at, "date_to": at}, parse, repeatable=True)
        files = yield from every_item(self.name, wire.pages_of(call), lambda file: file.message_id)
        for file in files:
            if file.message_id == message.id and file.data is not None:
                return file.data
        raise self._not_unread()

    def _not_unread(self) -> NotFound:
        return NotFound(self.name, "messages/recived", status=200, message="not, or no longer, an unread message")


def _fits(unique_id: str) -> bool:
    return isinstance(unique_id, str) and len(unique_id) in UNIQUE_ID_LENGTHS
