"""What waiting costs: ours against the sensor a user would take today, and against the floor.

    python benchmarks/waiting.py [--quick]

Each row is a process of its own against one local service: N waits on one account, idle for a while, then one message
arrives and wakes all; with ``ours, one wakes`` messages arrive of which each is wanted by one of the waits. ``http
sensor`` is the trigger of ``HttpSensor(deferrable=True)`` from apache-airflow-providers-http; ``floor`` is one bare
aiohttp client with N waiting futures. The last rows are 1,000 accounts with one long poll each. The table is written to
docs/benchmarks/waiting.csv, too.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

POLL_S = 5.0
ARRIVALS = 20
ONE_WAKES = "ours, one wakes"
DATA = Path(__file__).parent.parent / "docs" / "benchmarks" / "waiting.csv"
COLUMNS = (
    "client",
    "waits",
    "accounts",
    "requests/min",
    "KiB/wait",
    "% of a core idle",
    "wake p50 ms",
    "wake p99 ms",
)
Wait = Callable[[], Awaitable[None]]


def resident_kib() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


def _far_future() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def ours(url: str, count: int, accounts: int, *, contains: Callable[[int], str | None] = lambda _: None) -> list[Wait]:
    """Return waits on ``NextMessageTrigger``: SendHub for one account, Go Integrate Me's long poll for many."""
    from airflow_messaging.services.receiving import Cursor
    from airflow_messaging.triggers.messages import NextMessageTrigger

    many = accounts > 1
    for number in range(accounts):
        connection: dict[str, Any] = {
            "conn_type": "go_integrate" if many else "sendhub",
            "host": url + ("/go-integrate/1" if many else "/sendhub/v1"),
            "login": "abcd@abcdef01",
            "password": "a-secret-for-the-benchmark",
        }
        os.environ[f"AIRFLOW_CONN_BENCH_{number}"] = json.dumps(connection)
    # Tasks that have just been deferred start where their DAG run began.
    cursor = Cursor(floor=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)).to_dict()

    def wait(number: int) -> Wait:
        trigger = NextMessageTrigger(
            conn_id=f"bench_{number % accounts}",
            cursor=cursor,
            selection={"contains": text} if (text := contains(number)) else None,
            poke_interval=POLL_S,
            end_at=_far_future(),
        )
        return lambda: _first_event(trigger)

    return [wait(number) for number in range(count)]


def http_sensor(url: str, count: int, _: int) -> list[Wait]:
    """Return waits on the trigger of Airflow's own HttpSensor."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    os.environ["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps({"conn_type": "http", "host": url})

    def wait() -> Wait:
        trigger = HttpSensorTrigger(endpoint="/peer", http_conn_id="http_default", method="GET", poke_interval=POLL_S)
        return lambda: _first_event(trigger)

    return [wait() for _ in range(count)]


def floor(url: str, count: int, accounts: int) -> list[Wait]:
    """Return waits of a bare client: one poll, or one long poll an account, and nothing else."""
    state: dict[str, Any] = {}

    async def read(future: asyncio.Future[None]) -> None:
        if "session" not in state:
            state["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        path = "/go-integrate/1/wait-next-message/x" if accounts > 1 else "/peer"
        while True:
            async with state["session"].get(url + path) as answer:
                if answer.status == 200:
                    await answer.read()
                    break
            await asyncio.sleep(POLL_S)
        future.set_result(None)

    def wait(number: int) -> Wait:
        async def run() -> None:
            account = number % accounts
            if account not in state:
                state[account] = asyncio.get_running_loop().create_future()
                state[f"reader {account}"] = asyncio.create_task(read(state[account]))
            await state[account]

        return run

    return [wait(number) for number in range(count)]


async def _first_event(trigger: Any) -> None:
    async for _ in trigger.run():
        return


CLIENTS = {"ours": ours, "http sensor": http_sensor, "floor": floor}


async def measure(client: str, url: str, count: int, accounts: int, idle_s: float) -> dict[str, Any]:
    """Start the waits, watch them idle, let the message arrive, and return one row."""
    waits = CLIENTS[client](url, count, accounts)
    woken: list[float] = []

    async def timed(wait: Wait) -> None:
        await wait()
        woken.append(time.monotonic())

    async with aiohttp.ClientSession() as control:

        async def counted(what: str) -> float:
            async with control.get(f"{url}/count") as answer:
                return float((await answer.json())[what] or 0)

        await counted("requests")
        if client != "floor":
            # Libraries and threads are the process's and not a wait's: one wait begins and ends before any is counted.
            first = asyncio.create_task(CLIENTS[client](url, 1, accounts)[0]())
            await asyncio.wait([first], timeout=POLL_S)
            first.cancel()
            await asyncio.wait([first])
        memory = resident_kib()
        tasks = [asyncio.create_task(timed(wait)) for wait in waits]
        await asyncio.sleep(max(2 * POLL_S, count / 500))
        used = resident_kib() - memory
        asked, cpu, began = await counted("requests"), time.process_time(), time.monotonic()
        await asyncio.sleep(idle_s)
        minutes = (time.monotonic() - began) / 60
        asked, cpu = await counted("requests") - asked, time.process_time() - cpu
        async with control.post(f"{url}/arrive"):
            pass
        await asyncio.wait_for(asyncio.gather(*tasks), timeout=120)
        served = await counted("served_at")
    latencies = sorted((at - served) * 1000 for at in woken)
    return {
        "client": client,
        "waits": count,
        "accounts": accounts,
        "requests/min": round(asked / minutes),
        "KiB/wait": round(used / count, 1),
        "% of a core idle": round(cpu / minutes / 60 * 100, 2),
        "wake p50 ms": round(statistics.median(latencies)),
        "wake p99 ms": round(latencies[int(len(latencies) * 0.99) - 1]),
    }


async def measure_one(url: str, count: int) -> dict[str, Any]:
    """Let message after message arrive, each of which one of the waits wants, and return one row."""
    waits = ours(url, count, 1, contains=lambda number: f"number {number}.")
    tasks = [asyncio.create_task(wait()) for wait in waits]
    latencies = []
    async with aiohttp.ClientSession() as control:
        await asyncio.sleep(max(2 * POLL_S, count / 500))
        for task in tasks[:ARRIVALS]:
            async with control.post(f"{url}/arrive"):
                pass
            await asyncio.wait_for(task, timeout=120)
            woken = time.monotonic()
            async with control.get(f"{url}/count") as answer:
                latencies.append((woken - (await answer.json())["served_at"]) * 1000)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return dict.fromkeys(COLUMNS, "") | {
        "client": ONE_WAKES,
        "waits": count,
        "accounts": 1,
        "wake p50 ms": round(statistics.median(latencies)),
        "wake p99 ms": round(max(latencies)),
    }


def row(client: str, count: int, accounts: int, idle_s: float) -> dict[str, Any]:
    """Measure one row in a process of its own, against a service of its own."""
    service = [sys.executable, str(Path(__file__).with_name("service.py"))]
    with subprocess.Popen(service, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            arguments = [client, url, str(count), str(accounts), str(idle_s)]
            done = subprocess.run(
                [sys.executable, __file__, "--row", *arguments], stdout=subprocess.PIPE, text=True, check=True
            )
        finally:
            server.terminate()
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table and, for each number of waits, the ratios."""
    print("".join(f"{name:>18}" for name in COLUMNS))
    for measured in rows:
        print("".join(f"{measured[name]:>18}" for name in COLUMNS))
    print()
    for count, accounts in dict.fromkeys((measured["waits"], measured["accounts"]) for measured in rows):
        group = {m["client"]: m for m in rows if (m["waits"], m["accounts"]) == (count, accounts)}
        for other in ("http sensor", "floor"):
            if other in group:
                ratios = (f"{name} {group['ours'][name] / max(group[other][name], 0.01):.3g}×" for name in COLUMNS[3:])
                print(f"{count} waits on {accounts} account(s), ours / {other}: {', '.join(ratios)}")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer waits and shorter, to see that it works")
    parser.add_argument(
        "--row", nargs=5, metavar=("CLIENT", "URL", "WAITS", "ACCOUNTS", "IDLE"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.row:
        client, url, count, accounts, idle_s = arguments.row
        logging.disable(logging.CRITICAL)
        measuring = (
            measure_one(url, int(count))
            if client == ONE_WAKES
            else measure(client, url, int(count), int(accounts), float(idle_s))
        )
        print(json.dumps(asyncio.run(measuring)))
        return 0
    sizes, many, idle_s = ((10, 100), 50, 10.0) if arguments.quick else ((100, 1_000, 10_000), 1_000, 30.0)
    plan = [(client, count, 1) for count in sizes for client in CLIENTS if (client, count) != ("http sensor", 10_000)]
    plan += [(ONE_WAKES, sizes[-1], 1), ("ours", many, many), ("floor", many, many)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        rows = [row(client, count, accounts, idle_s) for client, count, accounts in plan]
    show(rows)
    if not arguments.quick:
        DATA.parent.mkdir(parents=True, exist_ok=True)
        with DATA.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
