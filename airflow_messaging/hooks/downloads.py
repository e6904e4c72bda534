"""Downloads the attachments of a message into object storage."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import tenacity

from airflow_messaging.exceptions import ConnectionLost, CorruptDownload, InvalidInput, NotFound
from airflow_messaging.messages import Attachment, Message
from airflow_messaging.services.base import Call
from airflow_messaging.transport.files import CheckedFile, safe_filename

if TYPE_CHECKING:
    from airflow_messaging.hooks.base import MessagingHook

_ATTEMPTS = 3


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


def download_all(hook: MessagingHook[Any], message: Message, path: Any, *, max_bytes: int) -> list[DownloadedFile]:
    """Download all attachments of a message.

    :param hook: The hook of the connection that the message came from.
    :param message: The message.
    :param path: The directory above, as a path, a URL or an ``ObjectStoragePath``.
    :param max_bytes: The most bytes that one file may have.
    :return: Where the files are, in the order of the attachments.
    """
    from airflow.sdk import ObjectStoragePath

    if not message.attachments:
        return []
    if isinstance(path, str) and not path.strip():
        raise InvalidInput("path", path, "a directory")
    root = path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(str(path))
    directory = root / safe_filename(message.id, "message")
    directory.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    files = []
    for attachment in message.attachments:
        name = _free_name(attachment, taken)
        taken.add(name.casefold())
        files.append(_download(hook, message, attachment, directory / name, max_bytes))
    return files


def _download(
    hook: MessagingHook[Any], message: Message, attachment: Attachment, target: Any, max_bytes: int
) -> DownloadedFile:
    """Fetch one file; a one-time URL that broke off is of no more use, so each try asks for a new one."""
    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        retry=tenacity.retry_if_exception_type((ConnectionLost, CorruptDownload, NotFound)),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )
    again(_fetch, hook, message, attachment, target, max_bytes)
    return DownloadedFile(message.id, attachment.id, target.name, str(target), target.stat().st_size)


def _fetch(hook: MessagingHook[Any], message: Message, attachment: Attachment, target: Any, max_bytes: int) -> None:
    def sink() -> CheckedFile:
        return CheckedFile(target, attachment, max_bytes=max_bytes, service=hook.conn_type)

    source: Call[None] | bytes = hook.run(hook.service.attachment(message, attachment))
    if isinstance(source, Call):
        hook.transport.run(source, sink)
        return
    with sink() as file:
        file.write(source)
        file.commit()


def _free_name(attachment: Attachment, taken: set[str]) -> str:
    name = safe_filename(attachment.filename, attachment.id)
    number = 1
    while name.casefold() in taken:
        number += 1
        name = f"{number}_{safe_filename(attachment.filename, attachment.id)}"
    return name
