"""Turns the core's bodies into bytes or streams. A file is never held in memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol
from urllib.parse import urlencode

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.messages import Upload
from airflow_messaging.services.http import MEBIBYTE, Body, FileField, FormBody, JsonBody
from airflow_messaging.transport.progress import Progress

PIECE = MEBIBYTE


class Readable(Protocol):
    """Something with a length that is read piece by piece."""

    def __len__(self) -> int:
        """Return the length in bytes."""

    def read(self, size: int = -1) -> bytes:
        """Return the next piece."""


class UnreadableFile(OSError):
    """A storage failed in its own way. For the transports it is one of the errors that their files have."""


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise UnreadableFile(type(error).__name__) from error


class UploadStream:
    """The bytes of an upload, counted against the size that was announced.

    :param upload: The upload.
    :param progress: Told how many bytes have gone.
    """

    def __init__(self, upload: Upload, progress: Progress | None) -> None:
        self._upload = upload
        with _storage_errors():
            self._file = upload.open()
        self._progress = progress
        self._left = upload.size

    def __len__(self) -> int:
        """Return how much is left: at first the announced size, which HTTP libraries take for ``Content-Length``."""
        return max(0, self._left)

    def read(self, size: int = -1) -> bytes:
        """Return the next piece.

        :raises InvalidInput: If the file is not as long as it was when its digest was computed.
        """
        with _storage_errors():
            piece = self._file.read(PIECE if size < 0 else size)
        self._left -= len(piece)
        if self._left < 0 or (not piece and size != 0 and self._left > 0):
            raise InvalidInput("data", self._upload.filename, "a file that does not change while it is sent")
        if self._progress is not None:
            self._progress.moved(len(piece))
        return piece

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Outgoing(ExitStack):
    """What is open while one request is sent."""

    has_file: bool = False
    stream: UploadStream | None = None

    @property
    def lacks_the_end(self) -> bool:
        """Whether a part of the file has not even been read, so that nobody can have got the whole of it."""
        return self.has_file and (self.stream is None or len(self.stream) > 0)


def encode(body: Body, progress: Progress | None, opened: Outgoing) -> tuple[dict[str, str], bytes | Readable | None]:
    """Encode a body.

    :param body: The body as the core describes it.
    :param progress: Told how many bytes of a file have gone. Default: nobody is.
    :param opened: Closes, when it is closed, what was opened here.
    :return: Header fields that describe the body, and the bytes or the stream.
    """
    if body is None:
        return {}, None
    if isinstance(body, JsonBody):
        return {"Content-Type": "application/json"}, json.dumps(body.value).encode()
    if isinstance(body, FormBody):
        return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(body.fields).encode()
    opened.has_file = True
    stream = opened.stream = UploadStream(body.upload, progress)
    opened.callback(stream.close)
    if isinstance(body, FileField):
        return _multipart(body, stream)
    return {"Content-Type": body.upload.content_type}, stream


def _multipart(body: FileField, stream: UploadStream) -> tuple[dict[str, str], Readable]:
    from requests_toolbelt import MultipartEncoder

    part: Any = (body.upload.filename, stream, body.upload.content_type)
    encoder = MultipartEncoder({body.name: part})
    return {"Content-Type": encoder.content_type}, _Multipart(encoder)


class _Multipart:
    """Gives the encoder the length that HTTP libraries ask for with ``len``."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def __len__(self) -> int:
        return int(self._encoder.len)

    def read(self, size: int = -1) -> bytes:
        return bytes(self._encoder.read(PIECE if size < 0 else size))
