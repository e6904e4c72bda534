"""Many messages at once: checked first, then sent by one process with so many requests in flight at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    InvalidInput,
    MessagingError,
    Shown,
    UnsupportedFeature,
)
from airflow_messaging.hooks.drafts import draft_of
from airflow_messaging.messages import Draft, Outcome
from airflow_messaging.services.base import Service
from airflow_messaging.services.parsing import whole_number

if TYPE_CHECKING:
    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.transport.asynchronous import AsyncTransport

ARGUMENTS = ("to", "text", "subject", "attachments", "in_reply_to", "message_id", "options")


class Journal(Protocol):
    """Is told what is sent, and what came of it."""

    async def begin(self, position: int) -> None:
        """Take note that a message is about to be sent; it is sent when this returns."""

    def end(self, position: int, outcome: Outcome) -> None:
        """Take note of an outcome."""


def check_messages(service: Service, messages: Iterable[Any]) -> list[Draft]:
    """Return messages as drafts that are ready to be sent.

    :param service: The service that they go to.
    :param messages: Mappings with the arguments of ``hook.send``.
    :raises InvalidInput: If one of them breaks a rule; its position, from 0, is in ``field``.
    :raises UnsupportedFeature: If the service cannot express one of them.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InvalidInput("messages", Shown(type(messages).__name__), "several mappings")
    return [_checked(service, f"messages[{position}]", message) for position, message in enumerate(messages)]


def _checked(service: Service, where: str, message: Any) -> Draft:
    if not isinstance(message, Mapping):
        raise InvalidInput(where, Shown(type(message).__name__), "a mapping")
    unknown = [name for name in message if name not in ARGUMENTS]
    if unknown or "to" not in message:
        got = Shown(f"{len(unknown)} others" if unknown else "no 'to'")
        raise InvalidInput(where, got, f"'to' and others of {', '.join(ARGUMENTS)}")
    try:
        draft = draft_of(**message)
        flow = service.send(draft)
        next(flow)
        flow.close()
    except InvalidInput as error:
        raise InvalidInput(f"{where}.{error.field}", error.got, error.expected) from None
    except UnsupportedFeature as error:
        raise UnsupportedFeature(error.service, f"{error.feature} ({where})") from None
    return draft


async def asend_drafts(
    transport: AsyncTransport, drafts: Sequence[Draft], *, concurrency: int, journal: Journal | None = None
) -> list[Outcome]:
    """Send drafts on an event loop; return their outcomes in the same order.

    :param transport: What carries them.
    :param drafts: The drafts.
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
            outcome = Outcome(receipt=await transport.run_flow(transport.service.send(draft)))
        except MessagingError as error:
            outcome = Outcome(error=error)
        if journal is not None:
            journal.end(position, outcome)
        return outcome

    async def send_some() -> None:
        nonlocal locked_out
        for position, draft in waiting:
            outcomes[position] = locked_out or await send_one(position, draft)
            if isinstance(outcomes[position].error, AuthenticationFailed):
                locked_out = outcomes[position]

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


def send_drafts(
    hook: MessagingHook[Any], drafts: Sequence[Draft], *, concurrency: int, journal: Journal | None = None
) -> list[Outcome]:
    """Send drafts from a worker; return their outcomes in the same order.

    :param hook: The connection.
    :param drafts: The drafts.
    :param concurrency: How many may be on their way at a time.
    :param journal: Is told what is sent, and what came of it. Default: nobody is.
    """
    from airflow_messaging.transport.asynchronous import AsyncTransport

    # A service of its own: to have each signature masked, it would ask Airflow's supervisor and hold the loop up.
    transport = AsyncTransport(hook.make_service(hook.settings), hook.settings.transport)

    async def send_all() -> list[Outcome]:
        try:
            return await asend_drafts(transport, drafts, concurrency=concurrency, journal=journal)
        finally:
            await transport.close()

    return asyncio.run(send_all())
