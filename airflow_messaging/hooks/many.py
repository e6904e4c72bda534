"""Many messages at once: checked first, then sent by one process with so many requests in flight at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    InvalidInput,
    MessagingError,
    Shown,
    UnsupportedFeature,
)
from airflow_messaging.hooks.drafts import draft_of, uploads_of
from airflow_messaging.messages import Draft, Outcome, Receipt, Upload
from airflow_messaging.services.base import Call, Flow, Service
from airflow_messaging.services.parsing import whole_number
from airflow_messaging.threads import in_thread
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


def drafts_of(messages: Iterable[Any]) -> list[Draft]:
    """Return messages as drafts.

    :param messages: Mappings with the arguments of ``hook.send``.
    :raises InvalidInput: If one of them is something else; its position, from 0, is in ``field``.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidInput("messages", Shown(type(messages).__name__), "several mappings")
    known: dict[Any, Upload] = {}
    return [
        _in_place(position, lambda message: _as_draft(message, known), message)
        for position, message in enumerate(messages)
    ]


def check_all(service: Service, drafts: Iterable[Draft]) -> None:
    """Check drafts, as far as it can be done without asking the service; nothing is sent.

    :param service: The service that they go to.
    :param drafts: The drafts.
    :raises InvalidInput: If one of them breaks a rule; its position, from 0, is in ``field``.
    :raises UnsupportedFeature: If the service cannot express one of them.
    """
    for position, draft in enumerate(drafts):
        # What the first call holds, such as a file in base64, is not kept until it is the message's turn.
        _in_place(position, lambda draft: _started(service, draft)[0].close(), draft)


def _started(service: Service, draft: Draft) -> tuple[Flow[Receipt], Call[Any] | Finished[Receipt]]:
    flow = service.send(draft)
    return flow, advance(flow)


def _as_draft(message: Any, known: dict[Any, Upload]) -> Draft:
    if not isinstance(message, Mapping):
        raise InvalidInput("", Shown(type(message).__name__), "a mapping")
    unknown = message.keys() - ARGUMENTS
    if unknown or "to" not in message:
        got = Shown(f"{len(unknown)} others" if unknown else "no 'to'")
        raise InvalidInput("", got, f"'to' and others of {', '.join(sorted(ARGUMENTS))}")
    return draft_of(**{**message, "attachments": uploads_of(message.get("attachments"), known)})


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
    transport: AsyncTransport, drafts: Sequence[Draft], *, concurrency: int, journal: Journal | None = None
) -> list[Outcome]:
    """Send messages on an event loop; return their outcomes in the same order.

    :param transport: What carries them.
    :param drafts: The messages, checked.
    :param concurrency: How many may be on their way at a time.
    :param journal: Is told what is sent, and what came of it. Default: nobody is.
    """
    outcomes: list[Outcome] = [Outcome()] * len(drafts)
    waiting = iter(enumerate(drafts))
    locked_out: Outcome | None = None

    async def send_one(position: int, draft: Draft) -> Outcome:
        if journal is not None:
            await journal.begin(position)
        try:
            # With files in a thread: some services read them here.
            service = transport.service
            started = await in_thread(_started, service, draft) if draft.attachments else _started(service, draft)
            receipt = await transport.run_flow(*started)
        except MessagingError as error:
            outcome = Outcome(error=error)
        else:
            outcome = Outcome(receipt=receipt)
        if journal is not None:
            journal.end(position, outcome)
        return outcome

    async def send_some() -> None:
        nonlocal locked_out
        for position, draft in waiting:
            outcome = outcomes[position] = locked_out or await send_one(position, draft)
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
    :param drafts: The drafts, checked.
    :param concurrency: How many may be on their way at a time.
    :param journal: Is told what is sent, and what came of it. Default: nobody is.
    """
    from airflow_messaging.transport.asynchronous import AsyncTransport

    # A service of its own: to have each signature masked, it would ask Airflow's supervisor and hold the loop up.
    transport = AsyncTransport(hook.make_service(hook.settings), hook.settings.transport)

    async def send() -> list[Outcome]:
        try:
            return await asend_all(transport, drafts, concurrency=concurrency, journal=journal)
        finally:
            await transport.close()

    return asyncio.run(send())
