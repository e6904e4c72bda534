"""Files on a LiquidFiles server over real sockets, in a worker and on a loop."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.exceptions import AuthenticationFailed, ConnectionLost, NotFound, ProtocolError
from airflow_messaging.messages import Attachment, upload_from_bytes
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor

from .cases import CASES, Driver

[CASE] = [case for case in CASES if case.service == "liquidfiles"]
UPLOAD = "message/attachments/upload"
CHUNK = 64 * 1024
CONTENT = hashlib.sha512(b"seed").digest() * (5 * CHUNK // 128)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def make(
    request: pytest.FixtureRequest,
    sandbox: RunningSandbox,
    connections: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def make_driver(**extra: Any) -> Driver:
        connection = {**connections["liquidfiles_default"], "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_LIQUIDFILES_DEFAULT", json.dumps(connection))
        drivers.append(Driver(CASE, sandbox, on_loop=request.param))
        return drivers[-1]

    yield make_driver
    for driver in drivers:
        driver.close()


@pytest.fixture
def driver(make: Callable[..., Driver]) -> Driver:
    return make(chunk_size=CHUNK)


def upload(driver: Driver, content: bytes = CONTENT, name: str = "big.bin") -> str:
    attachment_id: str = driver.run(driver.hook.service.upload(data=upload_from_bytes(name, content)))
    return attachment_id


def chunks(driver: Driver) -> list[str]:
    """Numbers of the chunks that the sandbox saw."""
    return [entry["query"]["chunk"] for entry in driver.journal() if UPLOAD in entry["path"]]


def files(driver: Driver) -> dict[str, Attachment]:
    return {file.id: file for file in driver.run(driver.hook.service.list_attachments())}


class TestChunks:
    def test_a_large_file_goes_up_in_pieces_and_arrives_whole(self, driver: Driver) -> None:
        id_ = upload(driver)
        file = files(driver)[id_]
        assert (file.filename, file.size) == ("big.bin", len(CONTENT))
        assert file.checksum == hashlib.sha256(CONTENT).hexdigest()
        assert chunks(driver) == ["0", "1", "2"]

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_chunk_that_is_lost_on_the_way_is_repeated_alone(self, when: str, driver: Driver) -> None:
        fault = {"service": "liquidfiles", "path": UPLOAD, "times": 1}
        driver.sandbox.faults([fault, {**fault, "reset": True, "when": when}])
        id_ = upload(driver)
        assert files(driver)[id_].checksum == hashlib.sha256(CONTENT).hexdigest()
        assert chunks(driver) == ["0", "1", "1", "2"]

    def test_if_the_last_answer_is_lost_the_file_goes_up_again(self, driver: Driver) -> None:
        """The service has put the file together by then, and knows nothing of a last chunk."""
        fault = {"service": "liquidfiles", "path": UPLOAD, "times": 1}
        driver.sandbox.faults([fault, fault, {**fault, "reset": True, "when": "after"}])
        id_ = upload(driver)
        assert files(driver)[id_].checksum == hashlib.sha256(CONTENT).hexdigest()
        assert chunks(driver) == ["0", "1", "2", "2", "0", "1", "2"]

    def test_a_server_that_stays_away_is_an_error(self, driver: Driver) -> None:
        fault = {"service": "liquidfiles", "path": UPLOAD}
        driver.sandbox.faults([{**fault, "times": 1}, {**fault, "reset": True, "times": 4}])
        with pytest.raises(ConnectionLost):
            upload(driver)
        assert files(driver) == {}

    def test_what_another_upload_of_the_same_name_mixes_in_is_noticed(self, driver: Driver) -> None:
        """Nobody says how the service tells two uploads of one name apart; the sandbox does not."""
        service = driver.hook.service
        mine, theirs = (upload_from_bytes("big.bin", bytes([n]) * 3 * CHUNK) for n in range(2))
        driver.run(service.upload_chunk(data=mine, chunk=0, chunks=3))
        driver.run(service.upload_chunk(data=mine, chunk=1, chunks=3))
        driver.run(service.upload_chunk(data=theirs, chunk=1, chunks=3))
        with pytest.raises(ProtocolError, match="CRC-32"):
            driver.run(service.upload_chunk(data=mine, chunk=2, chunks=3))

    def test_a_message_carries_the_file(self, driver: Driver) -> None:
        receipt = driver.send(attachments=(upload_from_bytes("big.bin", CONTENT),))
        [echo] = driver.wait(driver.begin(receipt.to_dict())).messages
        assert echo.attachments[0].checksum == hashlib.sha256(CONTENT).hexdigest()


class TestLists:
    def test_the_sent_list(self, driver: Driver) -> None:
        driver.sandbox.clock(0, frozen=True)
        ids = [driver.send(text=str(number)).id for number in range(3)]
        service = driver.hook.service
        assert [message.id for message in driver.run(service.messages_sent())] == ids
        assert [message.id for message in driver.run(service.messages_sent(limit=2))] == ids[1:]
        assert len(driver.run(service.messages_sent(sent_in_the_last=1))) == 3
        [first, *_] = driver.run(service.messages_sent(sent_after="2024-10-24"))
        assert (first.text, first.recipients) == ("0", (driver.peer,))

    def test_messages_of_one_second_come_in_their_order(self, driver: Driver) -> None:
        driver.sandbox.clock(0, frozen=True)
        ids = [driver.inbound(str(number)) for number in range(9)]
        assert [message.id for message in driver.poll(Cursor()).messages] == ids

    def test_a_message_is_there_until_its_day_is_over(self, driver: Driver) -> None:
        driver.sandbox.clock(0, frozen=True)
        driver.inbound("x", expires_after=60)
        [message] = driver.poll(Cursor()).messages
        assert message.received_at
        assert message.expires_at
        assert message.expires_at > message.received_at

    def test_a_floor_before_all_computers(self, driver: Driver) -> None:
        expected = driver.inbound("x")
        assert [m.id for m in driver.poll(driver.begin("0001-01-01")).messages] == [expected]


class TestDeletions:
    def test_all_files_of_a_message(self, driver: Driver) -> None:
        id_ = driver.inbound("x", attachments=[{"filename": name, "content": b"x"} for name in ("a", "b")])
        driver.run(driver.hook.service.delete_attachments(id_))
        [message] = driver.poll(Cursor()).messages
        assert (message.id, message.attachments, files(driver)) == (id_, (), {})
        with pytest.raises(NotFound):
            driver.run(driver.hook.service.delete_attachments("unknown"))

    def test_one_file(self, driver: Driver) -> None:
        first, second = upload(driver, b"1"), upload(driver, b"2")
        driver.run(driver.hook.service.delete_attachment(first))
        assert set(files(driver)) == {second}
        with pytest.raises(NotFound):
            driver.run(driver.hook.service.delete_attachment(first))


def test_the_key_may_travel_as_a_bearer_token(make: Callable[..., Driver]) -> None:
    driver = make(auth_scheme="bearer")
    driver.hook.service._basic = "of no use"
    driver.run(driver.hook.service.check())
    driver.hook.service._api_key = "wrong"
    with pytest.raises(AuthenticationFailed) as caught:
        driver.run(driver.hook.service.check())
    assert "wrong" not in str(caught.value)
    assert [entry["status"] for entry in driver.journal()] == [200, 401]


_SCRIPT = """
import asyncio, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from airflow_messaging.services.liquidfiles import LiquidFiles
from airflow_messaging.transport.asynchronous import AsyncTransport
from airflow_messaging.transport.blocking import BlockingTransport
from airflow_messaging.transport.files import upload_from_path
from airflow_messaging.transport.options import TransportOptions

kind, url, key, path, chunk_size = sys.argv[1:]
clock = lambda: datetime.now(UTC)
service = LiquidFiles(url + "/liquidfiles", api_key=key, clock=clock, chunk_size=int(chunk_size))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main():
    transport = (AsyncTransport if kind == "asynchronous" else BlockingTransport)(service, TransportOptions())
    async def finished(outcome):
        return await outcome if kind == "asynchronous" else outcome
    await finished(transport.run(service.check()))
    before = peak()
    await finished(transport.run_flow(service.upload(data=upload_from_path(Path(path)))))
    print("added", peak() - before)
    await finished(transport.close())

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_a_large_file_in_pieces_is_never_held_in_memory(kind: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    mebibyte = 1024 * 1024
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(150 * mebibyte)
    key = sandbox.credentials["liquidfiles"]["api_key"]
    finished = subprocess.run(
        [sys.executable, "-c", _SCRIPT, kind, sandbox.url, key, str(big), str(40 * mebibyte)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout.split()[-1]) < 32 * mebibyte
    sizes = [entry["body_size"] for entry in sandbox.journal("liquidfiles") if UPLOAD in entry["path"]]
    assert (len(sizes), sum(sizes)) == (4, 150 * mebibyte)
