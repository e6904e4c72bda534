"""LiquidFiles over HTTP: uploads, downloads and deletions of files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.bodies import Blob, Download, Spool, body_of
from airflow_messaging.sandbox.forms import Part, header_safe, multipart
from airflow_messaging.sandbox.service import Refused

if TYPE_CHECKING:
    from airflow_messaging.sandbox.services.liquidfiles.routes import LiquidFilesSandbox
    from airflow_messaging.sandbox.services.liquidfiles.state import Attachment, LiquidFilesState

READ_SIZE = 1 << 20
DIGESTS = ("sha256", "crc32")
_UNITS = ("Bytes", "KB", "MB", "GB")
_STEP = 1024


class Files:
    """The endpoints that move files."""

    def __init__(self, service: LiquidFilesSandbox) -> None:
        self._service = service

    @property
    def _state(self) -> LiquidFilesState:
        return self._service.state

    def endpoints(self) -> list[tuple[str, str, Handler]]:
        """Methods, paths and handlers."""
        return [
            ("POST", "/message/attachments/upload", self.upload),
            ("POST", "/attachments/upload", self.upload),
            ("POST", "/attachments", self.upload_form),
            ("GET", "/attachments", self.list_all),
            ("GET", "/message/{id}/{attachment_id}/{token}/{filename}", self.download),
            ("DELETE", "/message/attachments/{attachment_id}", self.delete),
            ("DELETE", "/attachments/{attachment_id}", self.delete),
            ("DELETE", "/message/{id}/delete_attachments", self.delete_of_message),
        ]

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take a raw body, whole or as one chunk of several."""
        query = request.query
        if not query.get("filename"):
            return self._service.errors(422, "Filename can't be blank")
        filename = header_safe(query["filename"])
        chunk, chunks = self._chunk_numbers(query.get("chunk"), query.get("chunks"))
        blob = await self._assembled(filename, chunk, chunks, body_of(request).chunks())
        if blob is None:
            return web.Response()
        attachment = self._state.add_attachment(filename, query.get("content_type"), blob)
        return web.json_response({"attachment": _uploaded(attachment)})

    async def upload_form(self, request: web.Request) -> web.StreamResponse:
        """Take the old form, whose answer is the bare id; `name` and chunk numbers come before the file."""
        fields: dict[str, str] = {}
        filename: str | None = None
        content_type = ""
        blob: Blob | None = None
        events = multipart(request)
        async for event in events:
            if not isinstance(event, Part):
                continue
            if event.name == "Filedata":
                filename = header_safe(fields.get("name") or event.filename)
                content_type = event.content_type
                chunk, chunks = self._chunk_numbers(fields.get("chunk"), fields.get("chunks"))
                blob = await self._assembled(filename, chunk, chunks, _until_part_ends(events))
            else:
                content = b"".join([data async for data in _until_part_ends(events)])
                fields[event.name] = content.decode("utf-8", "replace")
        if filename is None:
            return self._service.errors(422, "Filedata can't be blank")
        if blob is None:
            return web.Response()
        declared = None if content_type == "application/octet-stream" else content_type
        return web.Response(text=self._state.add_attachment(filename, declared, blob).id)

    def _chunk_numbers(self, chunk: str | None, chunks: str | None) -> tuple[int, int]:
        numbers = chunk or "0", chunks or "1"
        if not all(re.fullmatch("[0-9]{1,6}", number) for number in numbers) or int(numbers[0]) >= int(numbers[1]):
            raise Refused(self._service.errors(422, "Chunk is invalid"))
        return int(numbers[0]), int(numbers[1])

    async def _assembled(self, filename: str, chunk: int, chunks: int, data: AsyncIterator[bytes]) -> Blob | None:
        """Add a chunk to its file; return the file once it is complete."""
        if chunks == 1:
            return await self._spooled(data)
        pieces = self._state.uploads.setdefault(filename, [])
        if chunk > len(pieces):
            raise Refused(self._service.errors(422, f"Chunk {len(pieces)} was expected"))
        piece = await self._spooled(data)
        pieces[chunk:] = [piece]
        if chunk + 1 < chunks:
            return None
        self._state.uploads.pop(filename, None)
        return await self._spooled(_joined(pieces))

    async def _spooled(self, data: AsyncIterator[bytes]) -> Blob:
        spool = Spool(self._service.world.spool_dir, *DIGESTS)
        async for piece in data:
            await spool.write(piece)
        return await spool.finish()

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        """List the account's files."""
        return web.json_response({"attachments": [_uploaded(file) for file in self._state.attachments.values()]})

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Hand out a file once per URL."""
        message = self._service.found(request.match_info["id"])
        wanted, token = request.match_info["attachment_id"], request.match_info["token"]
        attachment = next((file for file in message.attachments if file.id == wanted), None)
        if attachment is None or token not in attachment.tokens:
            return self._service.errors(404, "Attachment could not be found")

        def use_up() -> None:
            if token in attachment.tokens:
                attachment.tokens.remove(token)

        headers = {
            "Content-Type": re.sub(r"[^\x20-\x7e]", "", attachment.content_type),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(attachment.filename)}",
        }
        return Download(attachment.blob, headers, completed=use_up)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete one file."""
        attachment_id = request.match_info["attachment_id"]
        if attachment_id not in self._state.attachments:
            return self._service.errors(404, "Attachment could not be found")
        self._state.delete_attachments([attachment_id])
        return web.Response()

    async def delete_of_message(self, request: web.Request) -> web.StreamResponse:
        """Delete all files of a message."""
        message = self._service.found(request.match_info["id"])
        self._state.delete_attachments([file.id for file in message.attachments])
        return web.Response()


async def _joined(pieces: list[Blob]) -> AsyncIterator[bytes]:
    for piece in pieces:
        with piece.open() as source:
            while read := await asyncio.to_thread(source.read, READ_SIZE):
                yield read


async def _until_part_ends(events: AsyncIterator[Part | bytes | None]) -> AsyncIterator[bytes]:
    async for event in events:
        if not isinstance(event, bytes):
            return
        yield event


def _uploaded(attachment: Attachment) -> dict[str, object]:
    return {
        **attachment.to_json(),
        "size_human": _human(attachment.blob.size),
        "assembled": True,
        "virus_scan_required": False,
    }


def _human(size: int) -> str:
    amount, unit = float(size), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount, unit = amount / _STEP, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"
