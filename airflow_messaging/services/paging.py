"""Reading lists: those that come in pages while others add to them and take from them, and what of them is new."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from airflow_messaging.exceptions import ProtocolError
from airflow_messaging.messages import Message
from airflow_messaging.services.base import Call, Flow

T = TypeVar("T")

MAX_PAGES = 1000
MAX_PASSES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    :param items: What stands on it, in the service's order.
    :param more: Whether further pages follow.
    """

    items: list[T]
    more: bool = False


def every_item(
    service: str,
    ask: Callable[[int, int], Call[Page[T]]],
    key: Callable[[T], str],
    *,
    enough: Callable[[Page[T]], bool] | None = None,
) -> Flow[list[T]]:
    """Read all pages of a list, each item once.

    A list moves up under its reader when an item is taken out meanwhile, and what was to be first on the next page is
    skipped. So a list of several pages is read again until a pass brings nothing new.

    :param service: Connection type of the service, for errors.
    :param ask: Returns the call for a page, given its number, from 1, and how many items stood before it: the service
        may put fewer on a page than it was asked for.
    :param key: Returns an item's id.
    :param enough: For lists that nothing is ever taken out of, which are read once: says after a page whether to stop.
    :return: The items, in the order in which they were met.
    :raises ProtocolError: If the list does not end.
    """
    found: dict[str, T] = {}
    for _ in range(MAX_PASSES):
        known, before, number = len(found), 0, 1
        last: list[str] = []
        while True:
            call = ask(number, before)
            page: Page[T] = yield call
            ids = [key(item) for item in page.items]
            if ids and ids == last:
                raise ProtocolError(service, call.endpoint, "the next page is the same again")
            last, before = ids, before + len(ids)
            found.update(zip(ids, page.items, strict=True))
            if not page.more or not page.items or (enough is not None and enough(page)):
                break
            number += 1
            if number > MAX_PAGES:
                raise ProtocolError(service, call.endpoint, f"the list does not end after {MAX_PAGES} pages")
        if number == 1 or enough is not None or len(found) == known:
            break
    return list(found.values())


def by_time(messages: Iterable[Message]) -> list[Message]:
    """Sort messages by when they were received; of those of one second the service knows the order best."""
    return sorted(messages, key=lambda message: message.received_at or datetime.min.replace(tzinfo=UTC))


def oldest_first(messages: Iterable[Message]) -> list[Message]:
    """Sort messages by when they were received and, within a second, by their ids, which services count up."""

    def age(message: Message) -> tuple[datetime, int, str]:
        return message.received_at or datetime.min.replace(tzinfo=UTC), len(message.id), message.id

    return sorted(messages, key=age)


def what_is_new(messages: Iterable[Message], since: datetime | None, seen: Mapping[str, Any]) -> list[Message]:
    """Return the messages that a reader has not got yet, oldest first.

    :param messages: What the service listed.
    :param since: Older messages are not wanted; those without a time always are.
    :param seen: Ids of messages that the reader has got.
    """
    return oldest_first(
        message
        for message in messages
        if message.id not in seen and (since is None or message.received_at is None or message.received_at >= since)
    )
