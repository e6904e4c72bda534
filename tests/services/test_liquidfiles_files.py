"""Files on the LiquidFiles server: pieces, lists and deletions."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest

from airflow_messaging.exceptions import (
    ConnectionLost,
    MessagingError,
    NotFound,
    ProtocolError,
    ServiceError,
    ServiceUnavailable,
)
from airflow_messaging.messages import Attachment, Upload, part_of, upload_from_bytes
from airflow_messaging.services.base import Call
from airflow_messaging.services.http import RawFile, Response
from airflow_messaging.services.liquidfiles import CHUNK_SIZE

from .play import answer, refused, run_auth, run_flow, unreadable
from .play_liquidfiles import KEY, service

BIG = upload_from_bytes("big.bin", bytes(range(10)))


def stored(id_: str = "id1", **fields: Any) -> Response:
    return answer({"attachment": {"id": id_, "size": BIG.size, "crc32": f"{BIG.crc32:x}", **fields}})


def piece(call: Call[Any]) -> bytes:
    assert isinstance(call.request.body, RawFile)
    with call.request.body.upload.open() as file:
        return file.read()


def numbers(call: Call[Any]) -> dict[str, str]:
    return {name: value for name, value in call.request.params if name.startswith("chunk")}


@pytest.mark.parametrize(
    ("chunk_size", "pieces"),
    [
        (9, [b"\0\1\2\3\4", b"\5\6\7\x08\x09"]),
        (4, [b"\0\1\2\3", b"\4\5\6\7", b"\x08\x09"]),
        (1, [bytes([number]) for number in range(10)]),
    ],
)
def test_a_large_file_goes_up_in_pieces(chunk_size: int, pieces: list[bytes]) -> None:
    api = service(chunk_size=chunk_size)
    blank = answer()

    played = run_flow(api.upload(data=BIG), [*[blank] * (len(pieces) - 1), stored()], api)

    assert played.result == "id1"
    assert [piece(call) for call in played.calls] == pieces
    assert [call.request.body.upload.size for call in played.calls] == [len(part) for part in pieces]
    assert [numbers(call) for call in played.calls] == [
        {"chunk": str(number), "chunks": str(len(pieces))} for number in range(len(pieces))
    ]
    assert all(("filename", "big.bin") in call.request.params and call.repeatable for call in played.calls)


@pytest.mark.parametrize("chunk_size", [10, 11, CHUNK_SIZE])
def test_a_file_up_to_the_limit_goes_up_whole(chunk_size: int) -> None:
    api = service(chunk_size=chunk_size)
    played = run_flow(api.upload(data=BIG), [stored()], api)
    [call] = played.calls
    assert (numbers(call), call.request.body) == ({}, RawFile(BIG))


def test_an_empty_file_goes_up_whole() -> None:
    api = service(chunk_size=1)
    empty = upload_from_bytes("empty", b"")
    response = answer({"attachment": {"id": "e", "size": 0, "crc32": "0"}})
    played = run_flow(api.upload(data=empty), [response], api)
    assert (played.result, numbers(played.calls[0])) == ("e", {})


@pytest.mark.parametrize(
    "refusal",
    [
        ServiceError("liquidfiles", "upload", status=422),
        answer({"errors": ["Chunk 3 was expected"]}, 422),
        stored(size=14),
        stored(crc32="1"),
        answer(),
    ],
)
def test_what_a_repeated_piece_may_have_spoilt_is_begun_again_once(refusal: Any) -> None:
    api = service(chunk_size=5)
    blank = answer()

    played = run_flow(api.upload(data=BIG), [blank, refusal, blank, stored("second")], api)
    assert played.result == "second"
    assert [numbers(call)["chunk"] for call in played.calls] == ["0", "1", "0", "1"]

    with pytest.raises((ServiceError, ProtocolError)):
        run_flow(api.upload(data=BIG), [blank, refusal, blank, refusal], api)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost("liquidfiles", "upload", "reset"),
        ServiceUnavailable("liquidfiles", "upload", status=503),
        NotFound("liquidfiles", "upload", status=404),
    ],
)
def test_other_failures_are_not(error: MessagingError) -> None:
    with pytest.raises(type(error)):
        run_flow(service(chunk_size=5).upload(data=BIG), [None, error])


@pytest.mark.parametrize(("chunk", "chunks", "field"), [(0, 0, "chunks"), (2, 2, "chunk"), (-1, 2, "chunk")])
def test_there_is_no_such_piece(chunk: int, chunks: int, field: str) -> None:
    refused(field, lambda: service().upload_chunk(data=BIG, chunk=chunk, chunks=chunks))


@pytest.mark.parametrize("bad", [0, -1, True, "1 MiB", 1.5])
def test_a_chunk_size_that_is_none(bad: Any) -> None:
    refused("chunk_size", lambda: service(chunk_size=bad))


def test_a_whole_upload_with_another_content_is_noticed() -> None:
    with pytest.raises(ProtocolError, match="CRC-32"):
        service().result(service().upload_attachment(data=BIG), stored(crc32="1"))
    unknown = dataclasses.replace(BIG, crc32=None)
    assert service().result(service().upload_attachment(data=unknown), stored(crc32="1")) == "id1"
    assert service().result(service().upload_attachment(data=BIG), stored(crc32=None)) == "id1"


def test_a_part_of_a_file_reads_its_bytes_and_closes_the_file() -> None:
    opened: list[io.BytesIO] = []

    def open_again() -> io.BytesIO:
        opened.append(io.BytesIO(b"0123456789"))
        return opened[-1]

    whole = Upload(filename="f", size=10, content_type="x/y", md5="0" * 32, crc32=1, open=open_again)
    part = part_of(whole, 3, 4)
    assert (part.filename, part.size, part.content_type, part.md5, part.crc32) == ("f", 4, "x/y", "", None)
    for _ in range(2):
        with part.open() as file:
            assert (file.read(3), file.read(3), file.read(3)) == (b"345", b"6", b"")
        assert opened[-1].closed
    with part_of(whole, 8, 100).open() as file:
        assert file.read() == b"89"
    assert (part_of(whole, 8, 100).size, part_of(whole, 20, 5).size) == (2, 0)


def test_the_list_of_files() -> None:
    call = service().list_attachments()
    assert (call.request.method, call.request.url, call.repeatable) == ("GET", "attachments", True)
    file = {"id": "f", "filename": "a.gif", "size": 6, "content_type": "image/gif", "checksum": "ab", "crc32": "44b411"}

    found = service().result(call, answer({"attachments": [{**file, "assembled": True}]}))

    assert found == [
        Attachment(id="f", filename="a.gif", size=6, content_type="image/gif", checksum="ab", crc32="44b411")
    ]
    for body in ({}, {"attachments": 7}, {"attachments": [{"id": "f"}]}, []):
        unreadable(service(), call, answer(body))


def test_deletions() -> None:
    of_message, single = service().delete_attachments("m/1"), service().delete_attachment("f?2")
    assert (of_message.request.method, of_message.request.url) == ("DELETE", "message/m%2F1/delete_attachments")
    assert (single.request.method, single.request.url) == ("DELETE", "message/attachments/f%3F2")
    for call in (of_message, single):
        assert service().result(call, answer()) is None
        assert call.repeatable
        with pytest.raises(NotFound):
            service().result(call, answer({"errors": ["gone"]}, 404))
    for delete, field in ((service().delete_attachments, "message_id"), (service().delete_attachment, "attachment_id")):
        for bad in ("", "..", None, 7, "a\nb"):
            refused(field, lambda delete=delete, bad=bad: delete(bad))  # type: ignore[arg-type]


def test_the_key_as_a_bearer_token() -> None:
    (sent,) = run_auth(service(bearer=True), service().messages_inbox().request, [answer({})])
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
