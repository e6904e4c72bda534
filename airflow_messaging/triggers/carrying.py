"""What a trigger hands over to the task: small messages whole, large ones by way of the spool or of a second look."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from airflow_messaging.exceptions import InvalidInput, MessageGone, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.messages import JsonDict, Message
    from airflow_messaging.triggers.waiter import Waiter

log = logging.getLogger(__name__)

INLINE_LIMIT = 64 * 1024
"""The longest JSON of a message that is handed over whole, in characters."""

_BETWEEN_TRIES_S = 1.0


async def pack(
    messages: list[Message], client: Waiter, *, spool: str | None = None, inline_limit: int = INLINE_LIMIT
) -> list[JsonDict]:
    """Make messages ready for an event; :func:`unpack` is the way back.

    A message whose JSON is at most ``inline_limit`` long travels whole. With a ``spool``, what is longer or has
    attachments is written there first, with its files. Without one, what is longer has to be fetched again. While
    the service cannot be asked for the files, the spooling waits, with growing pauses.

    **Delivery**: nothing is acknowledged. An error means that nothing was handed over; to pack the same messages
    again does no harm.

    :param messages: The messages.
    :param client: A waiter on the messages' connection.
    :param spool: Directory, as a path or URL of any object storage. Default: none.
    :param inline_limit: The longest JSON of a message that travels whole, in characters. Default 65,536.
    :return: One JSON value for each message.
    :raises InvalidInput: If the spool cannot be written.
    :raises MessagingError: If a message's files cannot be fetched and this will not change by itself.
    """
    spool = checked_spool(spool)
    packed = []
    for message in messages:
        if spool is not None and _needs_spool(message, inline_limit):
            packed.append({**_reference(message), "spooled": await _spooled_in_the_end(message, client, spool)})
        elif _is_longer(message, inline_limit):
            packed.append({**_reference(message), "fetch": True})
        else:
            packed.append(_whole(message, spool))
        await asyncio.sleep(0)
    return packed


def unpack(packed: Iterable[JsonDict], hook: MessagingHook[Any]) -> list[JsonDict]:
    """Return the JSON of messages that :func:`pack` made ready; on a worker.

    :param packed: What ``pack`` returned.
    :param hook: The hook of the connection that the messages came from.
    :return: One JSON value for each message. With a spool, each has ``files``: a list of ``{"attachment_id",
        "filename", "path", "size"}``.
    :raises MessageGone: If a message that did not travel cannot be fetched any more.
    :raises InvalidInput: If a spooled message is not there any more.
    """
    return [_unpacked(item, hook) for item in packed]


def is_whole(item: JsonDict) -> bool:
    """Say whether a packed message is its own JSON already.

    :param item: One of what :func:`pack` returned.
    """
    return "spooled" not in item and "fetch" not in item


def hand_over(
    messages: list[Message], hook: MessagingHook[Any], *, spool: str | None = None, inline_limit: int = INLINE_LIMIT
) -> list[JsonDict]:
    """Return the JSON that :func:`pack` and :func:`unpack` together would bring, on a worker.

    **Delivery**: nothing is acknowledged.

    :param messages: The messages.
    :param hook: The hook of the connection that they came from.
    :param spool: As in ``pack``.
    :param inline_limit: As in ``pack``.
    :raises MessagingError: As ``pack`` does.
    """
    spool = checked_spool(spool)
    return [
        _spooled(message, hook, spool)
        if spool is not None and _needs_spool(message, inline_limit)
        else _whole(message, spool)
        for message in messages
    ]


def checked_spool(spool: Any) -> str | None:
    """Return where the spool is, as text.

    :param spool: A path or URL, an ``ObjectStoragePath``, or None.
    :raises InvalidInput: If it is empty.
    """
    if spool is None:
        return None
    if not str(spool).strip():
        raise InvalidInput("spool", spool, "a directory")
    return str(spool)


def _needs_spool(message: Message, inline_limit: int) -> bool:
    # The files may be gone by the time that a task wants them, however small the message is.
    return bool(message.attachments) or _is_longer(message, inline_limit)


def _is_longer(message: Message, limit: int) -> bool:
    # A very long text is not encoded just to be counted: that would hold up the event loop.
    at_least = len(message.text or "") + len(message.content or b"")
    return at_least > limit or len(json.dumps(message.to_dict())) > limit


def _whole(message: Message, spool: str | None) -> JsonDict:
    from airflow_messaging.hooks.spool import with_files

    return message.to_dict() if spool is None else with_files(message, [])


def _reference(message: Message) -> JsonDict:
    received_at = message.received_at.isoformat() if message.received_at else None
    return {"service": message.service, "id": message.id, "received_at": received_at}


def _unpacked(item: JsonDict, hook: MessagingHook[Any]) -> JsonDict:
    from airflow_messaging.hooks.spool import read_spooled

    if is_whole(item):
        return item
    if "spooled" in item:
        return read_spooled(item["spooled"])
    try:
        return hook.message(item["id"]).to_dict()
    except NotFound as error:
        raise MessageGone(error, item["id"]) from None


def _spooled(message: Message, hook: MessagingHook[Any], spool: str) -> JsonDict:
    from airflow_messaging.hooks.downloads import MAX_BYTES, download_all
    from airflow_messaging.hooks.spool import RECORD, SpooledMessage

    place = SpooledMessage(spool, hook.conn_id, message)
    kept = place.kept()
    if kept is not None:
        return kept
    with place.storage_errors():
        files = download_all(hook, message, place.directory, max_bytes=MAX_BYTES, reserved=[RECORD])
    return place.keep([file.to_dict() for file in files])


async def _spooled_in_the_end(message: Message, client: Waiter, spool: str) -> str:
    from airflow_messaging.triggers.failures import until_it_passes

    return await until_it_passes(
        lambda: client.use(lambda hook: _aspooled(message, hook, spool)),
        interval=_BETWEEN_TRIES_S,
        on_first=lambda error: log.warning("The files of message %s cannot be fetched now: %s", message.id, error),
    )


async def _aspooled(message: Message, hook: MessagingHook[Any], spool: str) -> str:
    from airflow_messaging.hooks.downloads import MAX_BYTES, adownload_all
    from airflow_messaging.hooks.spool import RECORD, SpooledMessage
    from airflow_messaging.threads import in_thread

    place = await in_thread(SpooledMessage, spool, hook.conn_id, message)
    if await in_thread(place.kept) is None:
        with place.storage_errors():
            files = await adownload_all(hook, message, place.directory, max_bytes=MAX_BYTES, reserved=[RECORD])
        await in_thread(place.keep, [file.to_dict() for file in files])
    return place.path
