"""What became of messages sent through SerwerSMS.pl: in the answer to the send, and in reports of it afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

from airflow_messaging.exceptions import InvalidInput, ProtocolError, ServiceError, Shown, without_phone_numbers
from airflow_messaging.messages import Draft, JsonDict, Receipt, Status, in_order
from airflow_messaging.services.parsing import Reader
from airflow_messaging.services.sending import is_since, the_sent_one
from airflow_messaging.services.serwersms_wire import STATUSES, items

_NATIONAL_DIGITS = 9
_COUNTRY = "48"
_NOT_ACCEPTED = "places_not_accepted"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """What became of one recipient's message in a send to one or several.

    :param phone: The number, as it was given.
    :param id: The service's id of this recipient's message; None where it has none.
    :param status: How far the message has come; None if the answer does not mention the number.
    :param error_code: The vendor's code, where the message was not sent.
    :param error_message: The vendor's words, without what looks like a phone number.
    """

    phone: str = dataclasses.field(repr=False)
    id: str | None = None
    status: Status | None = None
    error_code: str | None = None
    error_message: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the service says that it sends the message."""
        return self.status is not None and self.status is not Status.FAILED

    def to_dict(self) -> JsonDict:
        """Return it as plain JSON that may be shown: without the recipient."""
        return {
            "accepted": self.accepted,
            "id": self.id,
            "status": self.status and self.status.value,
            "error_code": self.error_code,
            "error_message": self.error_message,
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SmsReceipt(Receipt):
    """The answer to a send, with what became of each recipient.

    :param recipients: One per number, in the order in which they were given; empty if ``details`` were not asked for.
    """

    recipients: tuple[Recipient, ...] = dataclasses.field(default=(), repr=False)

    @property
    def unsent(self) -> tuple[Recipient, ...]:
        """The recipients whose message the service does not send."""
        return tuple(recipient for recipient in self.recipients if not recipient.accepted)

    def plain(self) -> Receipt:
        """Return the receipt as all services give it."""
        return Receipt(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Receipt)})

    def to_dict(self) -> JsonDict:
        """Return the receipt as plain JSON, ready for XCom; each recipient with its ``phone``."""
        people = [{"phone": recipient.phone, **recipient.to_dict()} for recipient in self.recipients]
        # No super(): with slots, the class that it would look for is not this one.
        return {**Receipt.to_dict(self), "recipients": people}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Bring a receipt back from :meth:`to_dict`.

        :param data: The dictionary, for example from XCom.
        :raises InvalidInput: If ``data`` is not such a dictionary.
        """
        plain = Receipt.from_dict(data)
        try:
            people = tuple(
                Recipient(
                    phone=one["phone"],
                    id=one["id"],
                    status=one["status"] and Status(one["status"]),
                    error_code=one["error_code"],
                    error_message=one["error_message"],
                )
                for one in data.get("recipients") or ()
            )
        except (KeyError, TypeError, ValueError):
            raise InvalidInput("receipt", Shown("a damaged receipt"), "the JSON of SmsReceipt.to_dict()") from None
        fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(Receipt)}
        return cls(**fields, recipients=people)


def recipients(answer: Reader, phone: str | Sequence[str]) -> tuple[Recipient, ...]:
    """Say of each number what became of it.

    :param answer: The answer to a send, or reports of what was sent.
    :param phone: The number or numbers, as they were given.
    :return: One per number; none at all if the answer names nobody.
    """
    listed = [phone] if isinstance(phone, str) else in_order(phone)
    exact: dict[str, list[Reader]] = {}
    national: dict[str, list[Reader]] = {}
    for item in items(answer, "items"):
        digits = _digits(_word(item, "phone"))
        exact.setdefault(digits, []).append(item)
        national.setdefault(_national(digits), []).append(item)

    def result_of(number: str) -> Recipient:
        digits = _digits(number)
        # The service may write a number with the country's prefix that was given without.
        found = exact.get(digits) or national.get(_national(digits)) or []
        if not found:
            return Recipient(phone=number)
        return _recipient(number, found.pop(0) if len(found) > 1 else found[0])

    return tuple(result_of(number) for number in listed) if exact else ()


def kept(receipt: Receipt, phone: Sequence[str]) -> JsonDict:
    """Return the places, from 0, of recipients that were not accepted; nothing if all were.

    :param receipt: The answer to a send, or what was found of it in reports.
    :param phone: The numbers, as they were given.
    """
    people = recipients(Reader(receipt.service, "messages/send_sms", receipt.raw), phone)
    places = [place for place, one in enumerate(people) if not one.accepted]
    return {_NOT_ACCEPTED: places} if places else {}


def remembered(receipt: Receipt, reported: Sequence[Recipient]) -> list[Recipient]:
    """Return recipients, those without a report as an earlier try has known them.

    :param receipt: What an earlier try has kept; any other changes nothing.
    :param reported: What reports say of each recipient.
    """
    if receipt.raw.keys() - {_NOT_ACCEPTED}:
        return list(reported)
    failed = set(receipt.raw.get(_NOT_ACCEPTED, ()))
    return [
        one if one.status or place in failed else dataclasses.replace(one, status=receipt.status)
        for place, one in enumerate(reported)
    ]


def receipt(
    answer: Reader, now: datetime, scheduled_at: datetime | None, unique_id: str | None, phone: str | Sequence[str]
) -> SmsReceipt:
    """Read the answer to a send.

    :param answer: The answer.
    :param now: The present time by the service's clock.
    :param scheduled_at: When the message is to be sent, if not at once.
    :param unique_id: The client's own id, which stands in where the service names none.
    :param phone: The number or numbers, as they were given.
    :raises ServiceError: If the only recipient's message was not sent.
    """
    listed = items(answer, "items")
    accepted = [item for item in listed if STATUSES.get(item.text("status") or "") is not Status.FAILED]
    first = next(iter(accepted or listed), Reader(answer.service, answer.endpoint, {}))
    alone = isinstance(phone, str) or len(phone) == 1
    if not accepted and (alone if listed else answer.flag("success") is False):
        raise ServiceError(
            answer.service,
            answer.endpoint,
            status=200,
            code=_word(first, "error_code") or None,
            message=_word(first, "error_message") or "the message was not sent",
        )
    id_ = first.optional_identifier("id") or unique_id
    if id_ is None and (accepted or not listed):
        raise ProtocolError(answer.service, answer.endpoint, "field 'items': the message has no id")
    status = STATUSES.get(first.text("status") or "", Status.QUEUED)
    return SmsReceipt(
        service=answer.service,
        id=id_ or "",
        status=Status.SCHEDULED if scheduled_at and status is not Status.FAILED else status,
        # The answer carries no time, and the Date header is cut to whole seconds: one earlier is surely not too late.
        sent_at=now.replace(microsecond=0) - timedelta(seconds=1),
        scheduled_at=scheduled_at,
        raw=answer.record,
        recipients=recipients(answer, phone),
    )


def found(
    service: str, reports: Sequence[Receipt], draft: Draft, *, since: datetime, zone: tzinfo, now: datetime
) -> Receipt | None:
    """Return the receipt of a message that reports tell of.

    :param service: Connection type of the service.
    :param reports: Reports with the message's ``unique_id``.
    :param draft: The message.
    :param since: Older messages are others: a task that is run anew uses its ids again. Aware.
    :param zone: The zone in which the service writes times.
    :param now: The present time by the service's clock.
    :return: None if none of them is this message, or it was refused.
    :raises UnsupportedFeature: If one is, should the zone be mistaken.
    """
    numbers = {_national(number) for number in draft.to}

    def is_same(item: Reader) -> bool:
        # One id may stand for several messages. A report that does not name it was chosen by it.
        unique_id, phone = _word(item, "unique_id"), _national(_word(item, "phone"))
        if unique_id not in ("", draft.message_id):
            return False
        return phone in numbers if phone else bool(unique_id)

    def fits(item: Reader) -> bool | None:
        queued, start = item.time("queued", zone, now) or item.time("sent", zone, now), since.replace(microsecond=0)
        if queued is None:
            return True
        # What is scheduled bears that time, which we wrote in the same zone.
        is_scheduled = draft.options.get("date") or _word(item, "status") == "saved"
        return queued >= start if is_scheduled else is_since(queued, since=start, now=now)

    listed = [Reader(report.service, "messages/reports", report.raw) for report in reports]
    same = [item for item in listed if is_same(item)]
    out = the_sent_one(service, ((fits(item), item) for item in same if _word(item, "status") != "unsent"))
    if out is None:
        return None
    word = _word(out, "status")
    return Receipt(
        service=service,
        id=out.identifier("id"),
        status=Status.SCHEDULED if word == "saved" else STATUSES[word],
        # Earlier than the answer to the send would have said, and so surely not too late for whoever waits behind it.
        sent_at=since.astimezone(UTC),
        scheduled_at=out.time("queued", zone) if word == "saved" else None,
        raw={"items": [item.record for item in same if fits(item)]},
    )


def _recipient(number: str, item: Reader) -> Recipient:
    words = _word(item, "error_message") or _word(item, "reason")
    return Recipient(
        phone=number,
        id=_word(item, "id") or None,
        status=STATUSES.get(_word(item, "status"), Status.QUEUED),
        error_code=_word(item, "error_code") or None,
        error_message=without_phone_numbers(words) if words else None,
    )


def forms_of(number: str) -> list[str]:
    """Return all forms in which the service may write a number.

    :param number: The number in one of them; one of nine digits is a Polish one.
    """
    digits = _digits(number)
    home = digits if len(digits) == _NATIONAL_DIGITS else digits.removeprefix(_COUNTRY)
    if len(home) == _NATIONAL_DIGITS:
        return [home, f"{_COUNTRY}{home}", f"+{_COUNTRY}{home}"]
    return [digits, f"+{digits}"]


def _word(item: Reader, name: str) -> str:
    """Return a field, or nothing where it is of another kind: the message is out, and no error may hide that."""
    value = item.record.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _digits(number: str) -> str:
    return "".join(char for char in number if char.isdecimal()).lstrip("0")


def _national(number: str) -> str:
    return _digits(number)[-_NATIONAL_DIGITS:]
