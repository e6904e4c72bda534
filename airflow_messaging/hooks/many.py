"""Many messages at once: checked first, then sent by one process with so many requests in flight at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    InvalidInput,
    MessagingError,
    Shown,
    UnsupportedFeature,
)
from airflow_messaging.hooks.drafts import draft_of
from airflow_messaging.messages import Draft, Outcome, Receipt
from airflow_messaging.services.base import Call, Flow, Service
from airflow_messaging.services.parsing import whole_number
from airflow_messaging.transport.driving import Finished, advance

if TYPE_CHECKING:
    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.transport.asynchronous import AsyncTransport

A = TypeVar("A")
B = TypeVar("B")

ARGUMENTS = frozenset({"to", "text", "subject", "attachments", "in_reply_to", "message_id", "options"})


class Journal(Protocol):
    """Is told what is sent, and what came of it."""

    async def begin(self, position: int) -> None:
        """Take note that a message is about to be sent; it is sent when this returns."""

    def end(self, position: int, outcome: Outcome) -> None:
        """Take note of an outcome."""


class Started(NamedTuple):
    """A message that is checked and ready to be sent: its flow, and the first call of it."""

    flow: Flow[Receipt]
    first: Call[Any] | Finished[Receipt]


def drafts_of(messages: Iterable[Any]) -> list[Draft]:
    """Return messages as drafts.

    :param messages: Mappings with the arguments of ``hook.send``.
    :raises InvalidInput: If one of them is something else; its position, from 0, is in ``field``.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidInput("messages", Shown(type(messages).__name__), "several mappings")
    return [_in_place(position, _as_draft, message) for position, message in enumerate(messages)]


def start_all(service: Service, drafts: Sequence[Draft]) -> list[Started]:
    """Check drafts, and go as far as the first call of each; nothing is sent.

    :param service: The service that they go to.
    :param drafts: The drafts.
    :raises InvalidInput: If one of them breaks a rule; its position, from 0, is in ``field``.
    :raises UnsupportedFeature: If the service cannot express one of them.
    """

    def start(draft: Draft) -> Started:
        flow = service.send(draft)
        return Started(flow, advance(flow))

    return [_in_place(position, start, draft) for position, draft in enumerate(drafts)]


def _as_draft(message: Any) -> Draft:
    if not isinstance(message, Mapping):
        raise InvalidInput("", Shown(type(message).__name__), "a mapping")
    unknown = message.keys() - ARGUMENTS
    if unknown or "to" not in message:
        got = Shown(f"{len(unknown)} others" if unknown else "no 'to'")
        raise InvalidInput("", got, f"'to' and others of {', '.join(sorted(ARGUMENTS))}")
    return draft_of(**message)


def _in_place(position: int, work: Callable[[A], B], message: A) -> B:
    """Have the errors name the position of the message."""
    try:
        return work(message)
    except InvalidInput as error:
        field = f"messages[{position}].{error.field}".rstrip(".")
        raise InvalidInput(field, error.got, error.expected) from None
    except UnsupportedFeature as error:
        raise UnsupportedFeature(error.service, f"{error.feature} (messages[{position}])") from None


async def asend_all(
    transport: AsyncTransport, messages: Sequence[Started], *, concurrency: int, journal: Journal | None = None
) -> list[Outcome]:
    """Send messages on an event loop; return their outcomes in the same order.

    :param transport: What carries them.
    :param messages: The messages.
    :param concurrency: How many may be on their way at a time.
    :param journal: Is told what is sent, and what came of it. Default: nobody is.
    """
    outcomes: list[Outcome] = [Outcome()] * len(messages)
    waiting = iter(enumerate(messages))
    locked_out: Outcome | None = None

    async def send_one(position: int, message: Started) -> Outcome:
        if journal is not None:
            await journal.begin(position)
        try:
            receipt: Receipt = await transport.run_flow(message.flow, message.first)
        except MessagingError as error:
            outcome = Outcome(error=error)
        else:
            outcome = Outcome(receipt=receipt)
        if journal is not None:
            journal.end(position, outcome)
        return outcome

    async def send_some() -> None:
        nonlocal locked_out
        for position, message in waiting:
            outcome = outcomes[position] = locked_out or await send_one(position, message)
            if isinstance(outcome.error, AuthenticationFailed):
                locked_out = outcome

    senders = [asyncio.create_task(send_some()) for _ in range(_at_a_time(transport, concurrency))]
    try:
        await asyncio.gather(*senders)
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    return outcomes


def _at_a_time(transport: AsyncTransport, concurrency: Any) -> int:
    """Return how many may be on their way, so that none has to wait longer for its turn than one may."""
    number = whole_number("concurrency", concurrency, 1)
    options = transport.options
    if options.max_per_second:
        number = min(number, max(1, int(options.max_wait * options.max_per_second / 2)))
    return number


def send_all(
    hook: MessagingHook[Any], drafts: Sequence[Draft], *, concurrency: int, journal: Journal | None = None
) -> list[Outcome]:
    """Send drafts from a worker; return their outcomes in the same order.

    :param hook: The connection.
    :param drafts: The drafts.
    :param concurrency: How many may be on their way at a time.
    :param journal: Is told what is sent, and what came of it. Default: nobody is.
    :raises InvalidInput: If a draft breaks a rule; nothing was sent then.
    :raises UnsupportedFeature: If the service cannot express a draft; nothing was sent then.
    """
    from airflow_messaging.transport.asynchronous import AsyncTransport

    # A service of its own: to have each signature masked, it would ask Airflow's supervisor and hold the loop up.
    service = hook.make_service(hook.settings)
    messages = start_all(service, drafts)
    transport = AsyncTransport(service, hook.settings.transport)

    async def send() -> list[Outcome]:
        try:
            return await asend_all(transport, messages, concurrency=concurrency, journal=journal)
        finally:
            await transport.close()

    return asyncio.run(send())
