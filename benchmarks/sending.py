"""What sending many small messages costs: ours against Airflow's HttpHook, and against the bare libraries.

    python benchmarks/sending.py [--messages 1000] [--rounds 9]

The service is ``service.py``, a process of its own, once over plain HTTP and once over TLS. In each round every client
sends the same messages, one client after the other, so that all of them see the same machine; what counts is the median
over the rounds. At full size the table is written to docs/benchmarks/sending.csv, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import gc
import ipaddress
import json
import logging
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import certifi
import requests

AT_A_TIME = 50
FULL_SIZE = 1000
FEW = 50
"""So many messages are enough for clients that take a long time for each."""
DATA = Path(__file__).parent.parent / "docs" / "benchmarks" / "sending.csv"
COLUMNS = ("client", "scheme", "messages/s", "CPU ms/message", "of its floor", "of HttpHook")
Client = Callable[[str, int], None]


def body(number: int) -> dict[str, Any]:
    """Return what SendHub is asked for."""
    return {"contacts": [1111], "text": f"The nightly load number {number} has finished."}


def ours_one_by_one(url: str, count: int) -> None:
    """Send with one hook, one message after another."""
    from airflow_messaging.hooks.sendhub import SendHubHook

    with SendHubHook("bench_ours") as hook:
        for number in range(count):
            hook.send("1111", body(number)["text"])


def ours_new_each(url: str, count: int) -> None:
    """Send each message with a hook of its own, as mapped tasks do."""
    from airflow_messaging.hooks.sendhub import SendHubHook

    for number in range(count):
        with SendHubHook("bench_ours") as hook:
            hook.send("1111", body(number)["text"])


def ours_many(url: str, count: int) -> None:
    """Send all messages with one call."""
    from airflow_messaging.hooks.sendhub import SendHubHook

    messages = [{"to": "1111", "text": body(number)["text"]} for number in range(count)]
    with SendHubHook("bench_ours") as hook:
        outcomes = hook.send_many(messages, concurrency=AT_A_TIME)
    assert all(outcome.accepted for outcome in outcomes)


def http_hook_new_each(url: str, count: int) -> None:
    """Send each message with an HttpHook of its own, as mapped tasks do."""
    from airflow.providers.http.hooks.http import HttpHook

    for number in range(count):
        HttpHook(method="POST", http_conn_id="bench_http").run("sendhub/v1/messages/", json=body(number)).json()


def http_hook_reused(url: str, count: int) -> None:
    """Send all messages with one HttpHook."""
    from airflow.providers.http.hooks.http import HttpHook

    hook = HttpHook(method="POST", http_conn_id="bench_http")
    for number in range(count):
        hook.run("sendhub/v1/messages/", json=body(number)).json()


def bare_session(url: str, count: int) -> None:
    """Send with requests and nothing else, one message after another."""
    with requests.Session() as session:
        for number in range(count):
            answer = session.post(f"{url}/sendhub/v1/messages/", json=body(number))
            answer.raise_for_status()
            answer.json()


def bare_aiohttp(url: str, count: int) -> None:
    """Send with aiohttp and nothing else, several messages at a time."""

    async def send_all() -> None:
        context = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE"))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            numbers = iter(range(count))

            async def send_some() -> None:
                for number in numbers:
                    async with session.post(f"{url}/sendhub/v1/messages/", json=body(number)) as answer:
                        answer.raise_for_status()
                        await answer.json()

            await asyncio.gather(*(send_some() for _ in range(AT_A_TIME)))

    asyncio.run(send_all())


# What is compared stands side by side.
CLIENTS: dict[str, Client] = {
    "requests alone": bare_session,
    "ours, one after another": ours_one_by_one,
    "HttpHook, reused": http_hook_reused,
    "ours, send_many": ours_many,
    "aiohttp alone, 50 at a time": bare_aiohttp,
    "ours, a new hook for each": ours_new_each,
    "HttpHook, a new one for each": http_hook_new_each,
}
FLOORS = {
    "ours, one after another": "requests alone",
    "ours, send_many": "aiohttp alone, 50 at a time",
    "ours, a new hook for each": "requests alone",
}
PEERS = {
    "ours, one after another": "HttpHook, a new one for each",
    "ours, send_many": "HttpHook, reused",
    "ours, a new hook for each": "HttpHook, a new one for each",
}
FLOOR_GOALS = {"ours, one after another": 0.9, "ours, send_many": 0.6}
PEER_GOALS = {
    ("ours, one after another", "https"): 20.0,
    ("ours, send_many", "http"): 3.0,
    ("ours, send_many", "https"): 3.0,
}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return the server's file, and one with all that clients usually trust and this certificate, too."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Benchmark")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server, trusted = folder / "server.pem", folder / "trusted.pem"
    server.write_bytes(private + certificate)
    trusted.write_bytes(Path(certifi.where()).read_bytes() + certificate)
    return server, trusted


@contextlib.contextmanager
def serving(*certificates: str) -> Iterator[str]:
    """Run the service and tell Airflow's connections where it is."""
    command = [sys.executable, str(Path(__file__).with_name("service.py")), *certificates]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            account = {"login": "benchmark", "password": "a-secret-for-the-benchmark"}
            ours = {"conn_type": "sendhub", "host": f"{url}/sendhub/v1", **account}
            os.environ["AIRFLOW_CONN_BENCH_OURS"] = json.dumps(ours)
            os.environ["AIRFLOW_CONN_BENCH_HTTP"] = json.dumps({"conn_type": "http", "host": url})
            yield url
        finally:
            server.terminate()


def measure(url: str, messages: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return, for each client and round, the seconds and the seconds of CPU for one message."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in CLIENTS}
    for number in range(rounds + 1):
        for name, client in CLIENTS.items():
            count = min(messages, FEW) if "for each" in name else messages
            # Nobody pays for what another one has left behind: with Airflow loaded a full collection takes 100 ms.
            gc.collect()
            began, used = time.perf_counter(), time.process_time()
            client(url, count)
            seconds, cpu = time.perf_counter() - began, time.process_time() - used
            # The first round imports what is needed.
            if number:
                measured[name].append((seconds / count, cpu / count))
    return measured


def ratio(measured: dict[str, list[tuple[float, float]]], name: str, other: str) -> float:
    """Return how many times faster a client is than another: the median over the rounds."""
    pairs = zip(measured[name], measured[other], strict=True)
    return statistics.median(theirs[0] / ours[0] for ours, theirs in pairs)


def rows_of(measured: dict[str, list[tuple[float, float]]], scheme: str) -> list[dict[str, Any]]:
    """Return the rows of one scheme."""
    rows = []
    for name, figures in measured.items():
        row = {
            "client": name,
            "scheme": scheme,
            "messages/s": round(1 / statistics.median(seconds for seconds, _ in figures)),
            "CPU ms/message": f"{statistics.median(cpu for _, cpu in figures) * 1000:.2f}",
            "of its floor": f"{ratio(measured, name, FLOORS[name]):.2f}" if name in FLOORS else "",
            "of HttpHook": f"{ratio(measured, name, PEERS[name]):.1f}" if name in PEERS else "",
        }
        rows.append(row)
    return rows


def missed(rows: list[dict[str, Any]]) -> list[str]:
    """Return the goals that were missed, in words."""
    found = []
    for row in rows:
        goals = {
            "of its floor": FLOOR_GOALS.get(row["client"]),
            "of HttpHook": PEER_GOALS.get((row["client"], row["scheme"])),
        }
        found += [
            f"{row['client']} over {row['scheme']}: {row[column]} {column}, the goal is {goal}"
            for column, goal in goals.items()
            if goal is not None and float(row[column]) < goal
        ]
    return found


def main() -> int:
    """Run the benchmark and return 0 if it met its goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=FULL_SIZE)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        server, trusted = make_certificate(Path(folder))
        with serving() as url:
            rows = rows_of(measure(url, arguments.messages, arguments.rounds), "http")
        os.environ["REQUESTS_CA_BUNDLE"] = str(trusted)
        with serving(str(server)) as url:
            rows += rows_of(measure(url, arguments.messages, arguments.rounds), "https")
    for line in (dict(zip(COLUMNS, COLUMNS, strict=True)), *rows):
        print(f"{line['client']:<30}" + "".join(f"{line[name]:>16}" for name in COLUMNS[1:]))
    problems = missed(rows)
    print("\n".join(problems))
    if arguments.messages >= FULL_SIZE:
        with DATA.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
