"""Sending once: what a task writes down before and after it sends, so that another try does not send again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.exceptions import (
    ConnectionLost,
    DeliveryUnknown,
    InvalidInput,
    MessagingError,
    ProtocolError,
    UnsupportedFeature,
    is_passing,
    may_have_had_effect,
)
from airflow_messaging.messages import Draft, Receipt
from airflow_messaging.operators.base import stable_message_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook

SETTLE_S = 10.0
"""Seconds after the end of an attempt before "not there" is believed: until then it may still be on its way."""
RESEND_PAUSE_S = 2.0
"""Seconds before a message is sent again under the same id. Go Integrate Me's signatures change by the second."""
MARGIN_S = 3.0
"""Seconds before the first attempt that a look-up takes in: services write times in whole seconds."""

log = logging.getLogger(__name__)


class DeliveryUnknownForGood(DeliveryUnknown, AirflowFailException):
    """Nobody on this side can find out whether the message was sent, so Airflow is not to try the task again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of one message: neither text nor recipients, nor what the service wrote of them.

    :param message_id: The client's id of the message.
    :param digest: Digest of the message, to notice that it has changed between tries.
    :param began: When the first attempt began that may have reached the service, by the worker's clock.
    :param ended: When the last attempt ended; None if its process was killed before.
    :param receipt: What the service answered, of ``raw`` only what ``Service.kept`` returns.
    """

    message_id: str
    digest: str
    began: datetime | None = None
    ended: datetime | None = None
    receipt: Receipt | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON, without what is not known."""
        plain = {
            "message_id": self.message_id,
            "digest": self.digest,
            "began": self.began and self.began.isoformat(),
            "ended": self.ended and self.ended.isoformat(),
            "receipt": self.receipt and self.receipt.to_dict(),
        }
        return {name: value for name, value in plain.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Bring a record back from :meth:`to_dict`."""
        return cls(
            message_id=data["message_id"],
            digest=data["digest"],
            began=datetime.fromisoformat(data["began"]) if "began" in data else None,
            ended=datetime.fromisoformat(data["ended"]) if "ended" in data else None,
            receipt=Receipt.from_dict(data["receipt"]) if "receipt" in data else None,
        )


def send_once(
    hook: MessagingHook[Any],
    draft: Draft,
    send: Callable[[Draft], Receipt],
    context: Context,
    *,
    on_unknown: str = "fail",
    keep_id: bool = False,
    by_id: bool = False,
) -> Receipt:
    """Send a message, unless this or an earlier try of the task has sent it.

    **Delivery**: an attempt that may have reached the service is not blindly repeated. It is looked for at the service;
    where nobody can look, ``on_unknown`` decides. From Airflow 3.3 on, that holds across tries, and for processes that
    were killed; below, within one try.

    :param hook: The connection.
    :param draft: The message. Its ``message_id`` has to be the same on every try, and another for each message.
    :param send: Sends the draft that it is given.
    :param context: The task's context.
    :param on_unknown: Where it cannot be found out whether an earlier attempt has sent the message: ``"fail"``
        (default), or ``"resend"`` on the next try.
    :param keep_id: Whether a message that has changed since an earlier try goes out under the same id, since the user
        has chosen it. Default: under one of its own.
    :param by_id: Whether a message that an earlier try has sent under this id counts, even if it said something else.
        Default no.
    :return: What the service answered; without ``raw`` if it was an earlier try that got the answer.
    :raises DeliveryUnknown: If the message may have been sent, and is not sent again.
    :raises MessagingError: As ``send`` does; the message has not been sent then, unless an earlier try has.
    """
    resend = may_resend(on_unknown)
    [entry] = entries_of(hook, [draft], context, keep_id=keep_id, by_id=by_id)
    return Sending(hook, entry, send, resend=resend).run()


def entries_of(
    hook: MessagingHook[Any],
    drafts: Iterable[Draft],
    context: Context,
    *,
    keep_id: bool = False,
    by_id: bool = False,
) -> list[Entry]:
    """Return what is known of the messages of one task.

    :param hook: The connection.
    :param drafts: The messages, each with an id of its own.
    :param context: The task's context.
    :param keep_id: As :func:`send_once` has it.
    :param by_id: As :func:`send_once` has it.
    """
    store = context.get("task_state_store")
    entries: list[Entry] = []
    for draft in drafts:
        digest = digest_of(draft, hook.conn_id)
        entries.append(_Entry(store, draft, digest, entries, keep_id=keep_id, by_id=by_id))
    return entries


def may_resend(on_unknown: str) -> bool:
    """Say whether a message that may have been sent is to be sent again.

    :param on_unknown: ``"fail"`` or ``"resend"``.
    :raises InvalidInput: If it is neither.
    """
    if on_unknown not in ("fail", "resend"):
        raise InvalidInput("on_unknown", on_unknown, "'fail' or 'resend'")
    return on_unknown == "resend"


def digest_of(draft: Draft, conn_id: str) -> str:
    """Return a digest of everything that makes a message what it is.

    :param draft: The message.
    :param conn_id: The connection that it goes through.
    """
    options: Any = draft.options
    if isinstance(options, Mapping):
        options = sorted((str(name), value) for name, value in options.items() if value is not None)
    files = [(file.filename, file.size, file.md5) for file in draft.attachments]
    parts = [conn_id, draft.message_id, draft.to, draft.text, draft.subject, draft.in_reply_to, files, options]
    return hashlib.sha256(_as_json(parts).encode()).hexdigest()


def _as_json(value: Any) -> str:
    return json.dumps(value, default=_plain, skipkeys=True)


def _plain(value: Any) -> Any:
    """Return what stands for a value that JSON does not know; for a set, the same in every process."""
    return sorted(_as_json(one) for one in value) if isinstance(value, set | frozenset) else repr(value)


class Entry(Protocol):
    """The record of one message, and where it is kept."""

    draft: Draft
    record: Record

    @property
    def outlives_the_process(self) -> bool:
        """Whether the next try will find it."""

    def write(self, **changes: Any) -> None:
        """Change the record and keep it."""

    def forget(self) -> None:
        """Keep no record: the message has not been sent."""

    def is_taken(self, receipt: Receipt) -> bool:
        """Say whether a receipt is known to be that of another message of the task."""


class _Entry:
    """A record with a key of its own in Airflow's task state store, where there is one."""

    def __init__(
        self, store: Any, draft: Draft, digest: str, entries: Sequence[Entry], *, keep_id: bool, by_id: bool
    ) -> None:
        self._store = store
        self._entries = entries
        self._key = f"airflow_messaging.{stable_message_id(draft.message_id)}"
        self.draft = draft
        kept = self._read()
        changed = kept is not None and kept.digest != digest
        if kept is not None and kept.receipt is not None and changed and by_id:
            log.warning(
                "Message %s, which an earlier try has sent, counts, although it says something else", kept.message_id
            )
        elif kept is not None and changed:
            self._key += f".{digest[:32]}"
            if not keep_id:
                self.draft = dataclasses.replace(draft, message_id=stable_message_id(draft.message_id, digest))
            log.warning(
                "The message is not the one that an earlier try %s as %s: it is sent as a message of its own, %s",
                "has sent" if kept.receipt else "may have sent",
                kept.message_id,
                self.draft.message_id,
            )
            kept = self._read()
        self.record = kept or Record(message_id=self.draft.message_id, digest=digest)

    @property
    def outlives_the_process(self) -> bool:
        return self._store is not None

    def write(self, **changes: Any) -> None:
        self.record = dataclasses.replace(self.record, **changes)
        if self._store is not None:
            self._store.set(self._key, self.record.to_dict())

    def forget(self) -> None:
        self.record = Record(message_id=self.record.message_id, digest=self.record.digest)
        if self._store is not None:
            self._store.delete(self._key)

    def is_taken(self, receipt: Receipt) -> bool:
        known = (other.record.receipt for other in self._entries if other is not self)
        return any(other is not None and other.id == receipt.id for other in known)

    def _read(self) -> Record | None:
        kept = self._store.get(self._key) if self._store is not None else None
        return Record.from_dict(kept) if kept else None


class Sending:
    """One try of a task to send one message.

    :param hook: The connection.
    :param entry: What is known of the message.
    :param send: Sends the draft that it is given.
    :param resend: Whether to send again what an earlier try may have sent, and what cannot be looked for.
    """

    def __init__(
        self, hook: MessagingHook[Any], entry: Entry, send: Callable[[Draft], Receipt], *, resend: bool
    ) -> None:
        self._hook = hook
        self._entry = entry
        self._send = send
        self._resend = resend
        self._in_doubt = entry.record.began is not None

    def run(self, problem: MessagingError | None = None) -> Receipt:
        """Send the message, unless it has been sent.

        :param problem: What the first attempt of this try has ended with. Default: it has not been made.
        :raises DeliveryUnknown: If the message may have been sent, and is not sent again.
        """
        record = self._entry.record
        if record.receipt is not None:
            log.info("Message %s has been sent by an earlier try, and is not sent again", record.receipt.id)
            return record.receipt
        if self._in_doubt and problem is None:
            found = self._look_after(self._unknown("an earlier attempt ended without an answer"), resend=self._resend)
            if found is not None:
                return self._sent(found)
        for attempts_left in reversed(range(self._hook.settings.transport.attempts)):
            if problem is None:
                try:
                    return self._sent(self._attempt())
                except MessagingError as error:
                    problem = error
            if not may_have_had_effect(problem):
                self._refused()
                raise problem
            self._in_doubt = True
            if self._entry.record.ended is None:
                self._entry.write(ended=self._now())
            found = self._look_after(problem)
            if found is not None:
                return self._sent(found)
            if not attempts_left or not isinstance(problem, DeliveryUnknown):
                raise problem if self._in_doubt else _repeatable(problem)
            problem = None
        raise AssertionError("the last attempt either returns or raises")

    def _attempt(self) -> Receipt:
        if self._in_doubt:
            time.sleep(RESEND_PAUSE_S)
        self._entry.write(began=self._entry.record.began or self._now(), ended=None)
        return self._send(self._entry.draft)

    def _sent(self, receipt: Receipt) -> Receipt:
        try:
            kept = self._hook.service.kept(self._entry.draft, receipt)
            self._entry.write(receipt=dataclasses.replace(receipt, raw=kept))
        except Exception as error:
            # The message is out: to fail now would bring about the very retry that is to be avoided.
            log.warning("The answer for message %s could not be kept: %s", receipt.id, type(error).__name__)
        return receipt

    def _refused(self) -> None:
        if self._in_doubt:
            log.warning("The service refuses message %s, but an earlier attempt may have sent it", self._message_id)
            return
        try:
            self._entry.forget()
        except Exception as error:
            # What the service said counts, such as when to come again.
            log.warning("The record of message %s could not be removed: %s", self._message_id, type(error).__name__)

    def _look_after(self, error: MessagingError, *, resend: bool = False) -> Receipt | None:
        """Find what an attempt has sent; None if it is to be sent again."""
        try:
            found = self.look()
        except MessagingError as failure:
            problem = failure
        else:
            self._in_doubt = False
            log.warning("Message %s %s", self._message_id, "was sent" if found else "was not sent")
            return found
        may_pass = is_passing(problem) or isinstance(problem, ProtocolError)
        if resend and not may_pass:
            log.warning("Message %s may have been sent, and is sent again", self._message_id)
            return None
        what = getattr(error, "problem", None) or type(error).__name__
        hopeless = not may_pass or not self._entry.outlives_the_process
        why = problem if isinstance(problem, UnsupportedFeature) else type(problem).__name__
        raise self._unknown(
            f"{what}, and it cannot be looked for ({why})",
            getattr(error, "endpoint", "send"),
            for_good=hopeless and not self._resend,
            retry_after=getattr(problem, "retry_after", None) or getattr(error, "retry_after", None),
        ) from error

    def look(self) -> Receipt | None:
        """Look at the service for what an attempt has sent, until none can be on its way any more."""
        service, record = self._hook.service, self._entry.record
        began, now = record.began or self._now(), self._now()
        # Of a process that was killed nobody knows when: it may have been a moment ago.
        passed = (now - (record.ended or now)).total_seconds()
        settled = time.monotonic() + min(max(SETTLE_S - passed, 0.0), SETTLE_S)
        while True:
            looked, clock_known = time.monotonic(), service.skew_known
            since = began + timedelta(seconds=service.skew_s - MARGIN_S)
            found: Receipt | None = self._hook.run(service.find_sent(self._entry.draft, since=since))
            if service.skew_known and not clock_known:
                # By a clock that differs, "since" may have taken in an older message.
                continue
            if found is not None and self._entry.is_taken(found):
                raise UnsupportedFeature(found.service, "telling messages of one task apart that say the same")
            if found is not None or looked >= settled:
                return found
            time.sleep(max(settled - time.monotonic(), 0.0))

    def _unknown(
        self, problem: str, endpoint: str = "send", *, for_good: bool = False, retry_after: float | None = None
    ) -> DeliveryUnknown:
        kind = DeliveryUnknownForGood if for_good else DeliveryUnknown
        return kind(self._hook.service.name, endpoint, problem, self._message_id, retry_after=retry_after)

    @property
    def _message_id(self) -> str:
        return self._entry.draft.message_id

    def _now(self) -> datetime:
        now: datetime = self._hook.service.clock()
        return now


def _repeatable(error: MessagingError) -> MessagingError:
    """Return the error of an attempt of which it is known now that it has not sent the message."""
    if isinstance(error, DeliveryUnknown):
        return ConnectionLost(error.service, error.endpoint, f"{error.problem}; it was looked for, and not sent")
    error.may_have_arrived = False
    return error
