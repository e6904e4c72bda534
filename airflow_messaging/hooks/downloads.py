"""Downloads the attachments of a message into object storage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_messaging.exceptions import ConnectionLost, CorruptDownload, InvalidInput, NotFound
from airflow_messaging.messages import Attachment, Message
from airflow_messaging.services.base import Call
from airflow_messaging.threads import in_thread
from airflow_messaging.transport.files import CheckedFile, safe_filename

if TYPE_CHECKING:
    from airflow_messaging.hooks.base import MessagingHook

MAX_BYTES = 5 * 1024**3
"""The most bytes of one file, where nothing else is said."""

_AGAIN: dict[str, Any] = {
    "stop": tenacity.stop_after_attempt(3),
    "retry": tenacity.retry_if_exception_type((ConnectionLost, CorruptDownload, NotFound)),
    "wait": tenacity.wait_random_exponential(multiplier=0.2, max=5),
    "reraise": True,
}
"""A one-time URL that broke off is of no more use, so each try asks for a new one."""


@dataclasses.dataclass(frozen=True, slots=True)
class DownloadedFile:
    """Where a downloaded attachment is."""

    message_id: str
    attachment_id: str
    filename: str
    path: str
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return dataclasses.asdict(self)


def directory_for(message: Message, path: Any) -> Any:
    """Return the directory that a message's files go into.

    :param message: The message.
    :param path: The directory above, as a path, a URL or an ``ObjectStoragePath``.
    """
    from airflow.sdk import ObjectStoragePath

    if isinstance(path, str) and not path.strip():
        raise InvalidInput("path", path, "a directory")
    root = path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(str(path))
    return root / safe_filename(message.id, "message")


def download_all(
    hook: MessagingHook[Any], message: Message, directory: Any, *, max_bytes: int, reserved: Iterable[str] = ()
) -> list[DownloadedFile]:
    """Download all attachments of a message, in a worker.

    :param hook: The hook of the connection that the message came from.
    :param message: The message.
    :param directory: The directory, as an ``ObjectStoragePath``; it is made where it is needed.
    :param max_bytes: The most bytes that one file may have.
    :param reserved: Names that no file may get.
    :return: Where the files are, in the order of the attachments.
    """
    if message.attachments:
        directory.mkdir(parents=True, exist_ok=True)
    files = []
    for attachment, target in _targets(message, directory, reserved):
        tenacity.Retrying(**_AGAIN)(_fetch, hook, message, attachment, target, max_bytes)
        files.append(_downloaded(message, attachment, target))
    return files


async def adownload_all(
    hook: MessagingHook[Any], message: Message, directory: Any, *, max_bytes: int, reserved: Iterable[str] = ()
) -> list[DownloadedFile]:
    """Download all attachments of a message, on an event loop.

    :param hook: As in :func:`download_all`, inside ``async with``.
    :param message: As in :func:`download_all`.
    :param directory: As in :func:`download_all`.
    :param max_bytes: As in :func:`download_all`.
    :param reserved: As in :func:`download_all`.
    :return: As in :func:`download_all`.
    """
    if message.attachments:
        await in_thread(directory.mkdir, parents=True, exist_ok=True)
    files = []
    for attachment, target in _targets(message, directory, reserved):
        await tenacity.AsyncRetrying(**_AGAIN)(_afetch, hook, message, attachment, target, max_bytes)
        files.append(await in_thread(_downloaded, message, attachment, target))
    return files


def _targets(message: Message, directory: Any, reserved: Iterable[str]) -> Iterator[tuple[Attachment, Any]]:
    taken = {name.casefold() for name in reserved}
    for attachment in message.attachments:
        name = _free_name(attachment, taken)
        taken.add(name.casefold())
        yield attachment, directory / name


def _downloaded(message: Message, attachment: Attachment, target: Any) -> DownloadedFile:
    return DownloadedFile(message.id, attachment.id, target.name, str(target), target.stat().st_size)


def _fetch(hook: MessagingHook[Any], message: Message, attachment: Attachment, target: Any, max_bytes: int) -> None:
    def sink() -> CheckedFile:
        return CheckedFile(target, attachment, max_bytes=max_bytes, service=hook.conn_type)

    source: Call[None] | bytes = hook.run(hook.service.attachment(message, attachment))
    if isinstance(source, Call):
        hook.transport.run(source, sink)
    else:
        _write(source, sink)


async def _afetch(
    hook: MessagingHook[Any], message: Message, attachment: Attachment, target: Any, max_bytes: int
) -> None:
    def sink() -> CheckedFile:
        return CheckedFile(target, attachment, max_bytes=max_bytes, service=hook.conn_type)

    source: Call[None] | bytes = await hook.arun(hook.service.attachment(message, attachment))
    if isinstance(source, Call):
        await hook.async_transport.run(source, sink)
    else:
        await in_thread(_write, source, sink)


def _write(data: bytes, sink: Callable[[], CheckedFile]) -> None:
    with sink() as file:
        file.write(data)
        file.commit()


def _free_name(attachment: Attachment, taken: set[str]) -> str:
    name = safe_filename(attachment.filename, attachment.id)
    number = 1
    while name.casefold() in taken:
        number += 1
        name = f"{number}_{safe_filename(attachment.filename, attachment.id)}"
    return name
