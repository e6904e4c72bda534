"""Files on their way out and in: digests in a first pass, checks while writing, never whole in memory."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import re
import unicodedata
import uuid
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

from airflow_messaging.exceptions import CorruptDownload, InvalidInput, MessageTooLarge
from airflow_messaging.messages import Attachment, Upload
from airflow_messaging.services.http import MEBIBYTE
from airflow_messaging.transport.progress import Progress

log = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[\x00-\x1f\x7f<>:\"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST_NAME = 150
_DIGESTS = {64: "sha256", 40: "sha1", 32: "md5"}
_MOST_WAITING = 4
"""Pieces of a download, each of at most 1 MiB, that may wait for their checksums to be computed."""


class Sink(Protocol):
    """What a download is streamed into; nothing stays behind unless ``commit`` was reached."""

    def __enter__(self) -> Self:
        """Open."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close, and clean up what was not committed."""

    def write(self, piece: bytes) -> Any:
        """Take the next piece."""

    def commit(self) -> Any:
        """Check and keep what was written."""


def safe_filename(name: str, fallback: str) -> str:
    """Turn a name from a stranger into one that stays in its directory.

    :param name: The name as it came: may be a path, hold control characters, or be empty.
    :param fallback: Used where nothing usable is left.
    :return: One path component, at most 150 bytes long, its ending kept.
    """
    cleaned = _cleaned(name)
    if not cleaned or _RESERVED.match(cleaned):
        cleaned = f"{_cleaned(fallback) or 'attachment'}_{cleaned}".rstrip("_")
    if not cleaned or _RESERVED.match(cleaned):
        cleaned = f"attachment_{cleaned}".rstrip("_")
    suffix = PurePosixPath(cleaned).suffix
    ending = suffix.encode()[:20]
    stem = cleaned.removesuffix(suffix).encode()[: _LONGEST_NAME - len(ending)]
    return (stem.decode(errors="ignore") + ending.decode(errors="ignore")).rstrip(" .")


def _cleaned(name: str) -> str:
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    return _UNSAFE.sub("_", last.encode("utf-8", "replace").decode()).strip(" .")


def upload_from_path(
    path: Any, *, filename: str | None = None, content_type: str | None = None, field: str = "attachments"
) -> Upload:
    """Read a file once for its size and digest, and return how to send it.

    :param path: A ``pathlib.Path`` or ``ObjectStoragePath``.
    :param filename: Name that the recipient sees. Default: the file's own.
    :param content_type: MIME type. Default: guessed from the name.
    :param field: Name of the argument, for errors.
    :raises InvalidInput: If the file cannot be read.
    """
    name = filename or path.name
    digest = hashlib.md5(usedforsecurity=False)
    size = crc32 = 0
    try:
        progress = Progress(f"digest of {name}", path.stat().st_size, log)
        with path.open("rb") as file:
            while piece := file.read(MEBIBYTE):
                digest.update(piece)
                crc32 = zlib.crc32(piece, crc32)
                size += len(piece)
                progress.moved(len(piece))
    except OSError as error:
        raise InvalidInput(field, str(path), f"a readable file ({type(error).__name__})") from None

    def open_again() -> BinaryIO:
        opened: BinaryIO = path.open("rb")
        return opened

    guessed = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Upload(filename=name, size=size, content_type=guessed, md5=digest.hexdigest(), crc32=crc32, open=open_again)


def write_whole(path: Any, data: bytes) -> None:
    """Write a file that has its name only once it is complete.

    :param path: A ``pathlib.Path`` or ``ObjectStoragePath``.
    :param data: Its content.
    """
    part = _temporary(path)
    try:
        with part.open("wb") as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _temporary(path: Any) -> Any:
    return path.parent / f".{uuid.uuid4().hex}.part"


class CheckedFile:
    """A download that only gets its name once its size and checksums are right.

    :param path: Where the file shall be: a ``pathlib.Path`` or ``ObjectStoragePath``.
    :param attachment: What the service announced about it.
    :param max_bytes: The most bytes to take.
    :param service: Connection type, for errors.
    """

    def __init__(self, path: Any, attachment: Attachment, *, max_bytes: int, service: str) -> None:
        self._path = path
        self._part = _temporary(path)
        self._attachment = attachment
        self._limit = max_bytes
        self._service = service
        self._size = 0
        self._sums = _Sums(attachment)
        self._progress = Progress(f"download of {path.name}", attachment.size, log)
        self._kept = False
        self._file: Any = None

    def __enter__(self) -> Self:
        """Open the temporary file."""
        self._file = self._part.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Remove the temporary file unless it became the real one."""
        if self._file is not None:
            self._file.close()
        self._sums.close()
        if not self._kept:
            self._part.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Write the next piece.

        :raises MessageTooLarge: Once more comes than may.
        """
        self._size += len(piece)
        if self._size > self._limit:
            raise MessageTooLarge(self._service, "download", self._limit)
        self._file.write(piece)
        self._sums.add(piece)
        self._progress.moved(len(piece))

    def commit(self) -> None:
        """Check what was written and give the file its name.

        :raises CorruptDownload: If size or checksum are not what the service announced.
        """
        self._file.close()
        self._sums.finish()
        expected, digest = self._attachment, self._sums.digest
        if expected.size is not None and expected.size != self._size:
            raise self._corrupt(f"{self._size} bytes in place of {expected.size}")
        if digest is not None and digest.hexdigest() != (expected.checksum or "").lower():
            raise self._corrupt(f"another {digest.name.upper()} than announced")
        if expected.crc32 is not None and _hexadecimal(expected.crc32) != self._sums.crc32:
            raise self._corrupt("another CRC-32 than announced")
        self._part.replace(self._path)
        self._kept = True

    def _corrupt(self, problem: str) -> CorruptDownload:
        return CorruptDownload(self._service, "download", problem)


class _Sums:
    """Computes the checksums that were announced, on a thread of its own while the next pieces are on their way."""

    def __init__(self, attachment: Attachment) -> None:
        self.digest = _digest_for(attachment.checksum)
        self.crc32 = 0
        self._wants_crc32 = attachment.crc32 is not None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def add(self, piece: bytes) -> None:
        if self.digest is None and not self._wants_crc32:
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1)
        self._waiting.append(self._thread.submit(self._compute, piece))
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft().result()

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _compute(self, piece: bytes) -> None:
        if self.digest is not None:
            self.digest.update(piece)
        if self._wants_crc32:
            self.crc32 = zlib.crc32(piece, self.crc32)


def _digest_for(checksum: str | None) -> Any:
    name = _DIGESTS.get(len(checksum)) if checksum else None
    return hashlib.new(name, usedforsecurity=False) if name else None


def _hexadecimal(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None
