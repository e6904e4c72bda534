"""Makes drafts of what users give: recipients, texts, and files by their paths."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.messages import Draft, Upload, as_recipients
from airflow_messaging.transport.files import upload_from_path


def draft_of(
    to: str | Iterable[Any],
    text: str | None = None,
    *,
    subject: str | None = None,
    attachments: Iterable[Any] = (),
    in_reply_to: str | None = None,
    message_id: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Draft:
    """Return a draft; the parameters are those of ``hook.send``.

    :raises InvalidInput: If a file cannot be read.
    """
    files = [attachments] if isinstance(attachments, str) else attachments or ()
    return Draft(
        to=as_recipients(to),
        text=text,
        subject=subject,
        attachments=tuple(as_upload(file) for file in files),
        in_reply_to=in_reply_to,
        message_id=message_id or new_message_id(),
        options=options or {},
    )


def new_message_id() -> str:
    """Return a random client's message id."""
    return str(uuid.uuid4())


def as_upload(source: Any, *, field: str = "attachments") -> Upload:
    """Return an upload of a file.

    :param source: An :class:`~airflow_messaging.messages.Upload`, a path as text, or an ``ObjectStoragePath``.
    :param field: Name of the argument.
    :raises InvalidInput: If the file cannot be read.
    """
    if isinstance(source, Upload):
        return source
    from airflow.sdk import ObjectStoragePath

    if isinstance(source, str):
        if not source.strip():
            raise InvalidInput(field, source, "the path of a file")
        source = ObjectStoragePath(source)
    return upload_from_path(source, field=field)
