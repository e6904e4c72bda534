"""Makes drafts of what users give: recipients, texts, and files by their paths."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_messaging.exceptions import InvalidInput, Shown
from airflow_messaging.messages import Draft, Upload, as_recipients, in_order
from airflow_messaging.transport.files import upload_from_path


def draft_of(
    to: str | Iterable[Any],
    text: str | None = None,
    *,
    subject: str | None = None,
    attachments: Iterable[Any] | None = (),
    in_reply_to: str | None = None,
    message_id: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Draft:
    """Return a draft; the parameters are those of ``hook.send``.

    :raises InvalidInput: If a file cannot be read.
    """
    return Draft(
        to=as_recipients(to),
        text=text,
        subject=subject,
        attachments=uploads_of(attachments),
        in_reply_to=in_reply_to,
        message_id=message_id or new_message_id(),
        options=options or {},
    )


def new_message_id() -> str:
    """Return a random client's message id."""
    return str(uuid.uuid4())


def uploads_of(files: Iterable[Any] | None, known: dict[Any, Upload] | None = None) -> tuple[Upload, ...]:
    """Return uploads of the files that go along with a message.

    :param files: One path as text, or several of what :func:`as_upload` takes; None for no files.
    :param known: Uploads by path: what is in it is not read again, and what is read is put into it. Default: none.
    :raises InvalidInput: If it is something else, or a file cannot be read.
    """
    if files is None:
        return ()
    if isinstance(files, str):
        files = [files]
    if not isinstance(files, Iterable):
        raise InvalidInput("attachments", Shown(f"a value of type {type(files).__name__}"), "paths of files")
    uploads = {} if known is None else known

    def upload_of(file: Any) -> Upload:
        if not isinstance(file, str) and not _is_path(file):
            return as_upload(file)
        if file not in uploads:
            uploads[file] = as_upload(file)
        return uploads[file]

    return tuple(upload_of(file) for file in in_order(files))


def as_upload(source: Any, *, field: str = "attachments") -> Upload:
    """Return an upload of a file.

    :param source: An :class:`~airflow_messaging.messages.Upload`, a path as text, or an ``ObjectStoragePath``.
    :param field: Name of the argument.
    :raises InvalidInput: If it is something else, or the file cannot be read.
    """
    if isinstance(source, Upload):
        return source
    from airflow.sdk import ObjectStoragePath

    if isinstance(source, str):
        if not source.strip():
            raise InvalidInput(field, source, "the path of a file")
        source = ObjectStoragePath(source)
    if not _is_path(source):
        raise InvalidInput(field, Shown(f"a value of type {type(source).__name__}"), "the path of a file")
    return upload_from_path(source, field=field)


def _is_path(source: Any) -> bool:
    return hasattr(source, "open") and hasattr(source, "stat")
