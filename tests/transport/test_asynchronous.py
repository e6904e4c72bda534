"""What only the asynchronous transport promises: it never holds the event loop up, and its logins are shared."""

import asyncio
import logging
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from airflow_messaging.exceptions import ServiceUnavailable
from airflow_messaging.messages import Attachment
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.http import FileField, RawFile
from airflow_messaging.transport import options
from airflow_messaging.transport.asynchronous import AsyncTransport
from airflow_messaging.transport.files import CheckedFile, upload_from_path
from airflow_messaging.transport.options import TransportOptions

from .certificates import make_certificate
from .runners import Probe, mdi
from .servers import Answer, Server, serving

LONGEST_HOLD_S = 0.05
SIZE = 40_000_000


def logins(sandbox: RunningSandbox) -> int:
    return sum(record["method"] == "POST" for record in sandbox.journal("mdi"))


async def test_concurrent_calls_share_one_login(sandbox: RunningSandbox) -> None:
    service = mdi(sandbox)
    transport = AsyncTransport(service, TransportOptions())
    for expected in (1, 2):
        await asyncio.gather(*(transport.run(service.messages()) for _ in range(10)))
        assert logins(sandbox) == expected
        await asyncio.to_thread(sandbox.expire_sessions)
    await transport.close()


async def test_calls_after_a_login_that_was_refused_try_again(sandbox: RunningSandbox) -> None:
    service = mdi(sandbox)
    transport = AsyncTransport(service, TransportOptions(attempts=1))
    await asyncio.to_thread(sandbox.faults, [{"service": "mdi", "path": "/session", "status": 503, "times": 3}])
    results = await asyncio.gather(*(transport.run(service.messages()) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, ServiceUnavailable) for result in results) == 3
    assert results.count([]) == 1
    await transport.close()


async def test_a_cancelled_login_blocks_nobody(sandbox: RunningSandbox) -> None:
    service = mdi(sandbox)
    transport = AsyncTransport(service, TransportOptions())
    await asyncio.to_thread(sandbox.faults, [{"service": "mdi", "path": "/session", "delay_s": 1.5, "times": 1}])
    first = asyncio.create_task(transport.run(service.messages()))
    await asyncio.sleep(0.2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await asyncio.wait_for(transport.run(service.messages()), 1) == []
    await transport.close()


@pytest.fixture
async def slow_callbacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Asyncio tells which of its callbacks held the loop up."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = LONGEST_HOLD_S
    caplog.set_level(logging.WARNING, "asyncio")

    class Slow(list[str]):
        def __iter__(self) -> Iterator[str]:
            return iter(caplog.messages)

    return Slow()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(b"0123456789" * (SIZE // 10))
    return path


@pytest.fixture
def uploading(source: Path) -> Iterator[Server]:
    with serving(Answer(), Answer(), Answer(body=source.read_bytes())) as server:
        yield server


@pytest.mark.undisturbed
async def test_neither_upload_nor_download_holds_the_loop_up(
    source: Path, uploading: Server, slow_callbacks: list[str], tmp_path: Path
) -> None:
    target = tmp_path / "target.bin"
    upload = await asyncio.to_thread(upload_from_path, source)
    file = Attachment(id="1", filename="t", size=SIZE, checksum=upload.md5)
    transport = AsyncTransport(probe := Probe(uploading.url), TransportOptions())
    await transport.run(probe.post(body=FileField("data", upload)))
    await transport.run(probe.post(body=RawFile(upload)))
    await transport.run(probe.get(), lambda: CheckedFile(target, file, max_bytes=2 * SIZE, service="probe"))
    await transport.close()
    assert target.stat().st_size == SIZE
    assert [message for message in slow_callbacks if "Executing" in message] == []


@pytest.fixture
def large_store(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate in a file as large as a system's own."""
    ca_file, context = make_certificate(tmp_path)
    ca_file.write_text(ca_file.read_text() + Path(certifi.where()).read_text())
    return ca_file, context


@pytest.mark.undisturbed
async def test_the_first_tls_context_does_not_hold_the_loop_up(
    slow_callbacks: list[str], large_store: tuple[Path, ssl.SSLContext]
) -> None:
    ca_file, context = large_store
    options._tls_context.cache_clear()
    with serving(Answer(body=b"safe"), tls=context) as server:
        transport = AsyncTransport(probe := Probe(server.url), TransportOptions(ca_file=str(ca_file)))
        assert await transport.run(probe.get()) == b"safe"
        await transport.close()
    assert [message for message in slow_callbacks if "Executing" in message] == []


async def test_nothing_is_left_open(recwarn: pytest.WarningsRecorder) -> None:
    import gc

    with serving(Answer(body=b"x" * 1_000_000)) as server:
        transport = AsyncTransport(probe := Probe(server.url), TransportOptions())
        await asyncio.gather(*(transport.run(probe.get()) for _ in range(5)))
        await transport.close()
        await transport.close()
    gc.collect()
    assert [str(warning.message) for warning in recwarn if issubclass(warning.category, ResourceWarning)] == []


async def test_a_cancelled_download_leaves_no_file(tmp_path: Path) -> None:
    with serving(Answer(body=b"x" * 100_000, announce=200_000, delay_s=0.0)) as server:
        server.answers = lambda _: Answer(delay_s=1.0)
        transport = AsyncTransport(probe := Probe(server.url), TransportOptions())
        file = Attachment(id="1", filename="t")
        task = asyncio.create_task(
            transport.run(probe.get(), lambda: CheckedFile(tmp_path / "t", file, max_bytes=10**9, service="probe"))
        )
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await transport.close()
    assert os.listdir(tmp_path) == []  # noqa: PTH208
