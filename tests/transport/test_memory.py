"""A large file is never held in memory, whichever way it goes."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from airflow_messaging.sandbox import RunningSandbox

MEBIBYTE = 1024 * 1024
LARGE = 200 * MEBIBYTE
MOST_ADDED = 32 * MEBIBYTE

_SCRIPT = """
import asyncio, resource, sys, tempfile
from datetime import UTC, datetime
from pathlib import Path
from airflow_messaging.messages import Attachment
from airflow_messaging.services.go_integrate import GoIntegrate
from airflow_messaging.transport.asynchronous import AsyncTransport
from airflow_messaging.transport.blocking import BlockingTransport
from airflow_messaging.transport.files import CheckedFile, upload_from_path
from airflow_messaging.transport.options import TransportOptions

kind, way, size, url, route, secret, directory = sys.argv[1:]
service = GoIntegrate(url + "/go-integrate/1", route=route, key_secret=secret, clock=lambda: datetime.now(UTC))
source = Path(directory) / f"{size}.bin"
if not source.exists():
    with source.open("wb") as file:
        file.truncate(int(size))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main():
    transport = (AsyncTransport if kind == "asynchronous" else BlockingTransport)(service, TransportOptions())
    async def run(call, sink=None):
        outcome = transport.run(call, sink)
        return await outcome if kind == "asynchronous" else outcome
    await run(service.list_messages())
    before = peak()
    if way == "upload":
        upload = upload_from_path(source)
        await run(service.send_message(data=upload, message_to=route, message_id=f"m-{kind}-{size}"))
    else:
        link = sys.stdin.read().strip()
        message = await run(service.get_message(link))
        flow = service.attachment(message, message.attachments[0])
        try:
            next(flow)
        except StopIteration as end:
            call = end.value
        md5 = upload_from_path(source).md5
        expected = Attachment(id=link, filename="x", size=int(size), checksum=md5)
        target = Path(directory) / f"{kind}-{size}.out"
        await run(call, lambda: CheckedFile(target, expected, max_bytes=2**31, service="go_integrate"))
        assert target.stat().st_size == int(size)
        target.unlink()
    print("added", peak() - before)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def another_process() -> Iterator[RunningSandbox]:
    """The sandbox's own memory must not count."""
    command = [sys.executable, "-m", "airflow_messaging.sandbox", "--port", "0", "--no-echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        found = re.search(r"http://\S+", child.stdout.readline())
        assert found
        try:
            yield RunningSandbox(found[0])
        finally:
            child.terminate()


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
def test_a_large_file_goes_out_and_comes_in_piece_by_piece(
    kind: str, another_process: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sandbox = another_process
    sandbox.reset()
    credentials = sandbox.credentials["go_integrate"]
    directory = tmp_path_factory.mktemp("large")

    def added(way: str, size: int, link: str = "") -> int:
        arguments = [kind, way, str(size), sandbox.url, credentials["route"], credentials["key_secret"], str(directory)]
        finished = subprocess.run(
            [sys.executable, "-c", _SCRIPT, *arguments],
            input=link,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return int(finished.stdout.split()[-1])

    for size in (1024, LARGE):
        assert added("upload", size) < MOST_ADDED
    for size, message in zip((1024, LARGE), sandbox.messages("go_integrate")["waiting"], strict=True):
        assert added("download", size, message["id"]) < MOST_ADDED
    (directory / f"{LARGE}.bin").unlink()
