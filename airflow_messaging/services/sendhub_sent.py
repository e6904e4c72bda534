"""Telling whether a message was sent through SendHub, which keeps no id of the client: by whom, what and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Self

from airflow_messaging.exceptions import UnsupportedFeature
from airflow_messaging.messages import Draft, Message, Receipt
from airflow_messaging.services import sendhub_wire as wire
from airflow_messaging.services.parsing import Reader
from airflow_messaging.services.sendhub_wire import Contact, Thread
from airflow_messaging.services.sending import (
    CLOCKS_DIFFER_BY,
    in_another_zone,
    is_since,
    right_behind,
    the_sent_one,
)

_UNTOLD = "saying whether a message to groups or several recipients was sent, where it may have gone to some of them"

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A message that may be the one.

    :param message: The message.
    :param thread: Its conversation, where it came from one.
    """

    message: Message
    thread: Thread | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """What a message is known by.

    :param contacts: Its recipients, by number where the address book has one, otherwise by id.
    :param groups: Ids of its groups.
    :param text: Its text.
    :param filename: Name of the file that goes along, if there is one.
    :param scheduled_at: When it was to be sent, if not at once; aware, UTC.
    :param since: When the first attempt began, aware.
    :param now: The present time by the service's clock.
    :param numbers: Numbers by the contacts' ids.
    :param zone: The zone of times in answers.
    """

    contacts: frozenset[str] = dataclasses.field(repr=False)
    groups: frozenset[str]
    text: str = dataclasses.field(repr=False)
    filename: str | None
    scheduled_at: datetime | None
    since: datetime
    now: datetime
    numbers: dict[str, str] = dataclasses.field(repr=False, hash=False)
    zone: tzinfo

    @classmethod
    def of(
        cls,
        draft: Draft,
        contacts: Sequence[str | int],
        groups: Sequence[str | int],
        book: Iterable[Contact],
        *,
        since: datetime,
        now: datetime,
        zone: tzinfo,
    ) -> Self:
        """Return what a draft is known by.

        :param draft: The draft.
        :param contacts: Its contacts and numbers, names looked up.
        :param groups: Its groups, names looked up.
        :param book: The address book.
        :param since: When the first attempt began, aware.
        :param now: The present time by the service's clock.
        :param zone: The zone of times in answers.
        :raises InvalidInput: If ``scheduled_at`` breaks a rule of the documents.
        """
        numbers = {contact.id: contact.number for contact in book if contact.number}
        scheduled_at = draft.options.get("scheduled_at")
        mms = draft.options.get("mms") or {}
        return cls(
            contacts=frozenset(numbers.get(str(who), str(who)) for who in contacts),
            groups=frozenset(str(group) for group in groups),
            text=(draft.text or "").strip(),
            filename=draft.attachments[0].filename if draft.attachments else mms.get("filename"),
            scheduled_at=datetime.fromisoformat(wire.scheduled_at(scheduled_at)).astimezone(UTC)
            if scheduled_at
            else None,
            since=since,
            now=now,
            numbers=numbers,
            zone=zone,
        )

    def may_be_in(self, thread: Thread) -> bool:
        """Say whether the message may be in a conversation, by when that has moved.

        :param thread: The conversation.
        """
        # What waits to be sent has no time yet, and what was scheduled for the past bears that time.
        moved = max(when for when in (thread.last_at, thread.created_at, _NEVER) if when is not None)
        until = self.now + CLOCKS_DIFFER_BY
        return thread.last_at is None or moved >= self.since or in_another_zone(moved, since=self.since, until=until)

    def among(self, service: str, candidates: Iterable[Candidate]) -> Receipt | None:
        """Return the receipt of the oldest candidate that is the message; None if none is.

        :param service: Connection type of the service.
        :param candidates: Messages of all conversations that it may be in.
        :raises UnsupportedFeature: If it may have been sent to some of several recipients, or the zone may be mistaken.
        """
        in_doubt = False
        alike: list[tuple[datetime, bool | None, Receipt]] = []
        for candidate in candidates:
            record = Reader(service, "threads", candidate.message.raw)
            fits, when = self._fits(record)
            if fits is False or not self._says_the_same(candidate.message, record):
                continue
            contacts, groups = self._recipients(record, candidate)
            if (contacts, groups) == (self.contacts, self.groups):
                alike.append((when, fits, self._receipt(candidate.message, record, when)))
            elif self.groups or not (contacts or groups) or (len(self.contacts) > 1 and contacts & self.contacts):
                in_doubt = True
        alike.sort(key=lambda one: one[0])
        found = the_sent_one(service, ((fits, receipt) for _when, fits, receipt in alike))
        if found is None and in_doubt:
            raise UnsupportedFeature(service, _UNTOLD)
        return found

    def _fits(self, record: Reader) -> tuple[bool | None, datetime]:
        times = [record.time(name, self.zone) for name in ("sent", "created_at")]
        # What waits to be sent may have no time yet.
        when = max((when for when in times if when is not None), default=self.since)
        fits = is_since(when, since=self.since, now=self.now)
        # The time of creation may be in another zone than the rest. Where there is no other, the message still waits,
        # or has been scheduled for that very second: it is hardly another one.
        if fits is None and self._is_only_created(record):
            return True, right_behind(when, self.since)
        return fits, when

    def _is_only_created(self, record: Reader) -> bool:
        return record.time("sent", self.zone) in (None, self.scheduled_at) or record.has("scheduled_at")

    def _says_the_same(self, message: Message, record: Reader) -> bool:
        if not wire.is_outbound(message.raw):
            return False
        due = record.time("scheduled_at", self.zone)
        if (message.text or "").strip() != self.text or (due is not None and due != self.scheduled_at):
            return False
        names = [attachment.filename for attachment in message.attachments]
        return "attachments" not in message.raw or names == ([self.filename] if self.filename else [])

    def _recipients(self, record: Reader, candidate: Candidate) -> tuple[frozenset[str], frozenset[str]]:
        whole = Reader(record.service, record.endpoint, candidate.thread.raw) if candidate.thread else record
        contacts = wire.people(record, "contacts") or wire.people(whole, "contacts")
        groups = wire.people(record, "groups") or wire.people(whole, "groups")
        known = frozenset(number or self.numbers.get(id_, id_) for id_, number in contacts)
        return known, frozenset(id_ for id_, _number in groups)

    def _receipt(self, message: Message, record: Reader, sent_at: datetime) -> Receipt:
        return Receipt(
            service=message.service,
            id=message.id,
            status=wire.status(message.raw),
            sent_at=sent_at.astimezone(UTC),
            scheduled_at=record.time("scheduled_at", self.zone) or self.scheduled_at,
            raw=message.raw,
        )
