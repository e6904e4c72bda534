"""Bodies of any size, in and out, without holding them in memory."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tempfile
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

CHUNK = 1 << 20
SPOOL_ABOVE = 1 << 20
READ_LIMIT = 64 << 20


class _Hash(Protocol):
    def update(self, data: bytes | bytearray, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    """CRC-32 with the interface of `hashlib`; its hexadecimal has no leading zeros, as LiquidFiles writes it."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | bytearray, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:x}"


_HASHES: dict[str, Callable[[], _Hash]] = {"md5": hashlib.md5, "sha256": hashlib.sha256, "crc32": _Crc32}


class _TempFile:
    """A file that is deleted when nobody refers to it any more."""

    def __init__(self, directory: Path) -> None:
        handle, name = tempfile.mkstemp(dir=directory)
        os.close(handle)
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


class Blob:
    """Bytes at rest, in memory or in a temporary file, with their digests."""

    def __init__(self, content: bytes | _TempFile, size: int, digests: Mapping[str, str]) -> None:
        self._content = content
        self.size = size
        self.digests = digests

    @classmethod
    def of(cls, content: bytes) -> Blob:
        """Keep these bytes in memory."""
        digests = {}
        for name, new in _HASHES.items():
            digest = new()
            digest.update(content)
            digests[name] = digest.hexdigest()
        return cls(content, len(content), digests)

    def open(self) -> BinaryIO:
        """Open for reading."""
        return io.BytesIO(self._content) if isinstance(self._content, bytes) else self._content.path.open("rb")

    def read(self, limit: int = -1) -> bytes:
        """Read all, or the first `limit` bytes."""
        with self.open() as source:
            return source.read(limit)


class Spool:
    """Takes a body chunk by chunk: digests are computed on the way, and what is large goes to disk."""

    def __init__(self, directory: Path, *digests: str) -> None:
        self._directory = directory
        self._hashes = {name: _HASHES[name]() for name in digests}
        self._pending = bytearray()
        self._file: _TempFile | None = None
        self.size = 0

    async def write(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        self._pending += chunk
        self.size += len(chunk)
        if len(self._pending) > SPOOL_ABOVE:
            # Off the event loop: others' long polls must not wait for a disk.
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        for digest in self._hashes.values():
            digest.update(self._pending)
        self._file = self._file or _TempFile(self._directory)
        with self._file.path.open("ab") as sink:
            sink.write(self._pending)
        self._pending = bytearray()

    async def finish(self) -> Blob:
        """Hand over what was written."""
        content: bytes | _TempFile
        if self._file is None:
            content = bytes(self._pending)
            for digest in self._hashes.values():
                digest.update(content)
        else:
            await asyncio.to_thread(self._flush)
            content = self._file
        return Blob(content, self.size, {name: digest.hexdigest() for name, digest in self._hashes.items()})


class RequestBody:
    """A request's body, read once; its size and digest go to the journal."""

    def __init__(self, request: web.Request) -> None:
        self._content = request.content
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Digest of what was read so far."""
        return self._hash.hexdigest()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over what was not read yet."""
        async for chunk in self._content.iter_any():
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk

    async def read(self) -> bytes:
        """Return the whole of a small body."""
        whole = bytearray()
        async for chunk in self.chunks():
            whole += chunk
            if len(whole) > READ_LIMIT:
                raise web.HTTPRequestEntityTooLarge(READ_LIMIT, len(whole))
        return bytes(whole)

    async def begin(self) -> None:
        """Read what comes first, and no more."""
        async for _ in self.chunks():
            return

    async def drain(self) -> None:
        """Read the rest: a client that is still sending would not see the answer."""
        async for _ in self.chunks():
            pass


# aiohttp before 3.14 has no RequestKey, and from there on it warns of anything else.
_BODY: Any = getattr(web, "RequestKey", web.AppKey)("body", RequestBody)


def attach_body(request: web.Request) -> RequestBody:
    """Give the request the one reader of its body, which counts for the journal."""
    body = RequestBody(request)
    request[_BODY] = body
    return body


def body_of(request: web.Request) -> RequestBody:
    """Return the reader of the request's body."""
    body: RequestBody = request[_BODY]
    return body


class Download(web.StreamResponse):
    """A body that is streamed from where it lies, and cut short when a fault says so."""

    def __init__(
        self,
        blob: Blob,
        headers: Mapping[str, str],
        *,
        status: int = 200,
        completed: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.blob = blob
        self.content_length = blob.size
        self.cut_at: int | None = None
        self._completed = completed
        self._written = False
        self._request: web.BaseRequest | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, and remember whose connection it is."""
        self._request = request
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body: aiohttp calls this once the handler has returned."""
        if self._written:
            return
        self._written = True
        left = self.blob.size if self.cut_at is None else min(self.cut_at, self.blob.size)
        with self.blob.open() as source:
            while left > 0 and (chunk := await asyncio.to_thread(source.read, min(CHUNK, left))):
                await self.write(chunk)
                left -= len(chunk)
        if self.cut_at is not None:
            self.force_close()
            if self._request is not None and self._request.transport is not None:
                self._request.transport.close()
            return
        await super().write_eof(data)
        if self._completed:
            self._completed()
