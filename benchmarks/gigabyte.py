"""Measures what a large file costs: one is sent through Go Integrate Me, and one is fetched from LiquidFiles.

    python benchmarks/gigabyte.py [--mebibytes 1024]

The sandbox runs in a process of its own. Printed are the seconds, what the floor takes (no more than has to be computed
and sent), and the peak of resident memory above what the client used when it was ready to begin. At full size the table
is written to docs/benchmarks/large_files.csv, too.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import http.client
import itertools
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PosixPath
from typing import Any
from urllib.parse import urlsplit

LIMIT_MIB = 32
LIMIT_RATIO = 1.3
ROUNDS = 3
FULL_SIZE_MIB = 1024
DATA = Path(__file__).parent.parent / "docs" / "benchmarks" / "large_files.csv"
COLUMNS = ("what", "MiB", "seconds", "MiB/s", "floor seconds", "of the floor", "peak MiB")
MEBIBYTE = 1024 * 1024


def peak_mib() -> float:
    """Return this process's peak of resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[..., Any], *arguments: Any) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def pieces(path: str) -> Iterator[bytes]:
    """Read a file in pieces."""
    with Path(path).open("rb") as file:
        while piece := file.read(MEBIBYTE):
            yield piece


def md5_pass(path: str) -> None:
    """Do what Go Integrate Me wants to know beforehand, and nothing else."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces(path):
        digest.update(piece)


def check_pass(path: str) -> None:
    """Do what is checked of a file from LiquidFiles, and nothing else."""
    digest, crc32 = hashlib.sha256(), 0
    for piece in pieces(path):
        digest.update(piece)
        crc32 = zlib.crc32(piece, crc32)


def bare_upload(hook: Any, path: str, route: str) -> float:
    """Send a file with the standard library and nothing else; return the seconds, digest and signature not counted."""
    from airflow_messaging.hooks.drafts import as_upload

    call = hook.service.send_message(data=as_upload(path), message_to=route, message_id="bare")
    request = next(hook.service.auth_flow(call.request))
    url = urlsplit(hook.service.url(request))
    head = b'--edge\r\nContent-Disposition: form-data; name="data"; filename="large.bin"\r\n\r\n'
    tail = b"\r\n--edge--\r\n"
    headers = {
        **request.headers,
        "Content-Type": "multipart/form-data; boundary=edge",
        "Content-Length": str(len(head) + Path(path).stat().st_size + len(tail)),
    }

    def send() -> None:
        connection = http.client.HTTPConnection(url.netloc)
        connection.request("POST", url.path, itertools.chain([head], pieces(path), [tail]), headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 200, answer.status

    return timed(send)


def bare_download(hook: Any, message: Any, target: str) -> float:
    """Fetch a file with the standard library and nothing else, unchecked; return the seconds."""
    call = hook.run(hook.service.attachment(message, message.attachments[0]))
    request = next(hook.service.auth_flow(call.request))
    url = urlsplit(hook.service.url(request))

    def fetch() -> None:
        connection = http.client.HTTPConnection(url.netloc, blocksize=MEBIBYTE)
        connection.request("GET", url.path, headers=dict(request.headers))
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        with Path(target).open("wb") as file:
            while piece := answer.read(MEBIBYTE):
                file.write(piece)
        connection.close()

    return timed(fetch)


class Nowhere(PosixPath):
    """A path that keeps nothing: what remains is what fetching and checking cost, without the disk."""

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """Open what drops all that is written."""
        return Path(os.devnull).open(mode)

    def replace(self, target: Any) -> Any:
        """Do nothing."""
        return target


def fetch_to_nowhere(hook: Any, message: Any) -> None:
    """Fetch a file with all its checks, and keep none of it."""
    from airflow_messaging.transport.files import CheckedFile

    [attachment] = message.attachments
    call = hook.run(hook.service.attachment(message, attachment))
    hook.transport.run(
        call, lambda: CheckedFile(Nowhere("/large.bin"), attachment, max_bytes=1 << 40, service=hook.conn_type)
    )


def measure(url: str, source: str, target: str, results: multiprocessing.Queue) -> None:
    """Send a small file and then the large one, fetch the large one, and report."""
    from airflow_messaging.hooks.go_integrate import GoIntegrateHook
    from airflow_messaging.hooks.liquidfiles import LiquidFilesHook
    from airflow_messaging.sandbox import connections

    accounts = connections(url)
    for conn_id, connection in accounts.items():
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)
    route = accounts["go_integrate_default"]["login"]
    with GoIntegrateHook() as hook:
        hook.send(route, "warm up")
        before = peak_mib()
        seconds = timed(lambda: hook.send_message(data=source, message_to=route))
        results.put(("send", seconds, timed(md5_pass, source) + bare_upload(hook, source, route), peak_mib() - before))
    with LiquidFilesHook() as hook:
        receipt = hook.send("robin@peer.example", "warm up", subject="large", attachments=[source])
        message = hook.message(receipt.id)
        seconds = timed(lambda: hook.download_attachments(message, target, max_bytes=1 << 40))
        peak = peak_mib() - before
        rounds = [(timed(fetch_to_nowhere, hook, message), timed(check_pass, source)) for _ in range(ROUNDS)]
        kept_nowhere, hashing = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
        floor = hashing + bare_download(hook, message, f"{target}.bare")
        results.put(("fetch into a file", seconds, floor, peak))
        results.put(("fetch, kept nowhere", kept_nowhere, hashing, peak_mib() - before))


def main() -> int:
    """Run the measurement and return 0 if time and memory stayed within the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=FULL_SIZE_MIB)
    size = parser.parse_args().mebibytes
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        source = Path(folder) / "large.bin"
        with source.open("wb") as file:
            for _ in range(size):
                file.write(os.urandom(4096) * (MEBIBYTE // 4096))
        command = [sys.executable, "-m", "airflow_messaging.sandbox", "--port", "0", "--no-echo"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
            try:
                assert sandbox.stdout is not None
                url = sandbox.stdout.readline().split()[-1]
                context = multiprocessing.get_context("spawn")
                results = context.Queue()
                child = context.Process(target=measure, args=(url, str(source), f"{folder}/back", results))
                child.start()
                rows = [results.get(timeout=120) for _ in range(3)]
                child.join()
            finally:
                sandbox.terminate()
    table = [
        (what, size, f"{s:.1f}", f"{size / s:.0f}", f"{floor:.1f}", f"{s / floor:.2f}", f"{mib:.1f}")
        for what, s, floor, mib in rows
    ]
    for line in (COLUMNS, *table):
        print(f"{line[0]:<22}" + "".join(f"{cell:>15}" for cell in line[1:]))
    if size >= FULL_SIZE_MIB:
        DATA.parent.mkdir(parents=True, exist_ok=True)
        with DATA.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *table])
    good = all(seconds <= LIMIT_RATIO * floor and mib < LIMIT_MIB for _, seconds, floor, mib in rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
