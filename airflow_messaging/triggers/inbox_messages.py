"""What a watcher makes of the single messages: chosen, packed and parted into events; one that fails stops no other."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from airflow_messaging.exceptions import AuthenticationFailed, InvalidInput, is_passing
from airflow_messaging.messages import JsonDict, Message
from airflow_messaging.services.base import Service
from airflow_messaging.services.selecting import Selection, Wanted
from airflow_messaging.triggers.carrying import is_whole, pack
from airflow_messaging.triggers.failures import as_messaging_error

if TYPE_CHECKING:
    from airflow_messaging.triggers.waiter import Waiter

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024
"""An event takes no further message once its JSON is as long."""

MOST_COMPLAINTS = 1000
"""Messages on which the filter failed, of which the log is not told a second time."""

Pair = tuple[JsonDict, Message]
"""A message as it travels, and the message."""


def lenient(selection: Selection, conn_id: str) -> Wanted | None:
    """Return a filter that passes over messages on which it fails, or None if there is none.

    :param selection: What a message must be like.
    :param conn_id: The connection, for the log.
    :raises InvalidInput: If the selection cannot be used.
    """
    wanted = selection.wanted()
    if wanted is None:
        return None
    complaints: deque[str] = deque(maxlen=MOST_COMPLAINTS)

    def test(message: Message) -> bool:
        try:
            return wanted(message)
        except Exception as error:
            if message.id not in complaints:
                complaints.append(message.id)
                log.error("%s: message %s is passed over: %s", conn_id, message.id, as_messaging_error(error))
            return False

    return test


async def packed(message: Message, waiter: Waiter, *, spool: str | None, conn_id: str) -> JsonDict:
    """Make a message ready for an event, without its files if just these cannot be had.

    :param message: The message.
    :param waiter: A waiter on its connection.
    :param spool: Where it goes if it is large or has files. Default: nowhere.
    :param conn_id: The connection, for the log.
    :raises MessagingError: If that is not for the one message's sake, such as a spool that cannot be written.
    """
    try:
        (carried,) = await pack([message], waiter, spool=spool)
    except Exception as error:
        if spool is None or not _concerns_one_message(error):
            raise
        problem = as_messaging_error(error)
        log.error("%s: message %s is handed over without its files: %s", conn_id, message.id, problem)
        (carried,) = await pack([message], waiter)
    return carried


def partial(pairs: Iterable[Pair], service: Service) -> frozenset[str]:
    """Return the ids of messages that cannot be marked read, or of which something would be gone then.

    :param pairs: The messages of an event.
    :param service: The service.
    """
    left = (message.id for carried, message in pairs if _must_stay_unread(carried, message))
    return frozenset() if service.keeps_read else frozenset(left)


def parts(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Part messages into events that are not too long.

    :param pairs: The messages.
    """
    part: list[Pair] = []
    size = 0
    for carried, message in pairs:
        length = len(json.dumps(carried))
        if part and size + length > MOST_BYTES:
            yield part
            part, size = [], 0
        part.append((carried, message))
        size += length
    if part:
        yield part


def apart_from(messages: Iterable[Message], others: Iterable[Message]) -> list[Message]:
    """Return those messages that can be marked read without any of the others.

    :param messages: The messages.
    :param others: Messages that must stay unread, or would be marked along.
    """
    places = {(other.sender, other.received_at) for other in others}
    return [message for message in messages if (message.sender, message.received_at) not in places]


def _must_stay_unread(carried: JsonDict, message: Message) -> bool:
    if message.sender is None or message.received_at is None:
        return True
    return "spooled" not in carried and (bool(message.attachments) or not is_whole(carried))


def _concerns_one_message(error: Exception) -> bool:
    about_all = isinstance(error, AuthenticationFailed) or (isinstance(error, InvalidInput) and error.field == "spool")
    return not (about_all or is_passing(error))
