"""Sending many messages from one task, each of them once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ConnectFailed,
    DeliveryUnknown,
    MessagingError,
    RateLimited,
    is_passing,
    may_have_had_effect,
)
from airflow_messaging.hooks.many import check_all, drafts_of, send_all
from airflow_messaging.messages import Draft, Outcome, Receipt
from airflow_messaging.operators.base import stable_message_id
from airflow_messaging.operators.ledger import Keeper, Ledger, Line
from airflow_messaging.operators.once import DeliveryUnknownForGood, Sending, digest_of, may_resend
from airflow_messaging.services.parsing import whole_number

if TYPE_CHECKING:
    from airflow_messaging.hooks.base import MessagingHook


def send_many_once(
    hook: MessagingHook[Any],
    messages: Iterable[Mapping[str, Any]],
    *,
    name: str,
    store: Any = None,
    concurrency: Any = 20,
    on_unknown: str = "fail",
) -> list[Outcome]:
    """Send many messages, except those that this or an earlier try of the task has sent.

    **Delivery**: as for one message: an attempt that may have reached the service is looked for there; where
    nobody can look, ``on_unknown`` decides. From Airflow 3.3 on, that holds across tries, and for processes that were
    killed; below, within one try.

    :param hook: The connection.
    :param messages: Mappings with the arguments of ``hook.send``.
    :param name: What tells this list from others, the same on every try.
    :param store: Airflow's task state store. Default: none.
    :param concurrency: How many messages may be on their way at a time. Default 20.
    :param on_unknown: Where it cannot be found out whether a message was sent: ``"fail"`` (default), or ``"resend"`` on
        the next try.
    :return: One outcome per message, in the same order.
    :raises InvalidInput: If an argument or a message breaks a rule; nothing was sent by this try then.
    :raises UnsupportedFeature: If the service cannot express a message; nothing was sent by this try then.
    """
    resend = may_resend(on_unknown)
    number = whole_number("concurrency", concurrency, 1)
    ledger = Ledger(store, name)
    if isinstance(messages, Iterable) and not isinstance(messages, str | bytes | Mapping):
        messages = list(messages)
    drafts = drafts_of(messages)
    lines = _lines(hook, ledger, name, drafts, [message.get("message_id") for message in messages])
    check_all(hook.service, [line.draft for line in lines])
    return _SendingMany(hook, ledger, lines, resend=resend, concurrency=number).run()


def _lines(
    hook: MessagingHook[Any], ledger: Ledger, name: str, drafts: Sequence[Draft], given: Sequence[str | None]
) -> list[Line]:
    """Tell the messages apart by what is in them: where one stands in the list may change between tries."""
    seen: Counter[str] = Counter()
    lines = []
    for draft, message_id in zip(drafts, given, strict=True):
        digest = digest_of(dataclasses.replace(draft, message_id=message_id or ""), hook.conn_id)
        seen[digest] += 1
        identity = stable_message_id(name, digest, seen[digest])
        named = dataclasses.replace(draft, message_id=message_id or identity)
        lines.append(Line(ledger, identity, named, hook.conn_type))
    return lines


class _SendingMany:
    """One try of a task to send a list of messages."""

    def __init__(
        self, hook: MessagingHook[Any], ledger: Ledger, lines: list[Line], *, resend: bool, concurrency: int
    ) -> None:
        self._hook = hook
        self._ledger = ledger
        self._lines = lines
        self._resend = resend
        self._concurrency = concurrency
        self._outcomes: dict[int, Outcome] = {}
        self._trouble: MessagingError | None = None
        """Why nothing more is asked of the service."""

    def run(self) -> list[Outcome]:
        fresh = []
        doubtful = []
        for position, line in enumerate(self._lines):
            if line.record.receipt is not None:
                self._outcomes[position] = Outcome(receipt=line.record.receipt)
            elif line.in_doubt:
                if line.record.ended is None:
                    # Its process was killed, at the latest now.
                    line.note(ended=self._hook.service.clock())
                doubtful.append(position)
            else:
                fresh.append(position)
        # First, while fewer messages at the service say the same.
        for position in doubtful:
            self._settle(position, None)
        if fresh:
            self._send(fresh)
        for position in fresh:
            problem = self._outcomes[position].error
            if problem is not None and may_have_had_effect(problem):
                self._settle(position, problem)
        return [self._outcomes[position] for position in range(len(self._lines))]

    def _send(self, positions: list[int]) -> None:
        if self._trouble is not None:
            self._outcomes |= dict.fromkeys(positions, Outcome(error=_not_tried(self._trouble)))
            return
        lines = [self._lines[position] for position in positions]
        keeper = Keeper(self._ledger, lines, self._hook.service.clock, self._concurrency)
        try:
            drafts = [line.draft for line in lines]
            outcomes = send_all(self._hook, drafts, concurrency=self._concurrency, journal=keeper)
        finally:
            keeper.close()
        self._outcomes |= dict(zip(positions, outcomes, strict=True))

    def _settle(self, position: int, problem: MessagingError | None) -> None:
        """Find out about a message that may have been sent, and send it if it was not."""
        line = self._lines[position]
        if self._trouble is not None:
            what = f"no answer came, and it was not looked for, after {type(self._trouble).__name__}"
            kind = DeliveryUnknown if self._resend or line.outlives_the_process else DeliveryUnknownForGood
            self._outcomes[position] = Outcome(error=kind(self._hook.service.name, "send", what, line.draft.message_id))
            return
        sending = _OneOfMany(self._hook, line, self._send_one, resend=self._resend)
        try:
            self._outcomes[position] = Outcome(receipt=sending.run(problem))
        except MessagingError as error:
            self._outcomes[position] = Outcome(error=error)
            self._trouble = _what_concerns_all(sending.not_looked, error)

    def _send_one(self, draft: Draft) -> Receipt:
        receipt: Receipt = self._hook.run(self._hook.service.send(draft))
        return receipt


class _OneOfMany(Sending):
    """Remembers why it could not look, since that may be true of all messages."""

    not_looked: MessagingError | None = None

    def look(self) -> Receipt | None:
        try:
            return super().look()
        except MessagingError as error:
            self.not_looked = error
            raise


def _what_concerns_all(not_looked: MessagingError | None, not_sent: MessagingError) -> MessagingError | None:
    """Return an error that the messages which follow would have, too: one that is a message's own may not stop them."""
    if isinstance(not_sent, AuthenticationFailed | RateLimited | ConnectFailed):
        return not_sent
    concerns_all = not_looked is not None and (isinstance(not_looked, AuthenticationFailed) or is_passing(not_looked))
    return not_looked if concerns_all else None


def _not_tried(trouble: MessagingError) -> MessagingError:
    if isinstance(trouble, AuthenticationFailed):
        return trouble
    service = getattr(trouble, "service", "")
    return ConnectFailed(service, "send", f"not tried, after {type(trouble).__name__}")


def telling_last(errors: Iterable[MessagingError]) -> list[MessagingError]:
    """Return errors in such an order that the last one says whether another try may help.

    :param errors: The errors.
    """
    return sorted(errors, key=lambda error: (is_passing(error), isinstance(error, DeliveryUnknown)))
