"""Measures what a large file costs in memory: one is sent through Go Integrate Me and fetched back.

    python benchmarks/gigabyte.py [--mebibytes 1024]

The sandbox runs in a process of its own. Printed are the seconds and the peak of resident memory above what the client
used when it was ready to begin. At full size the table is written to docs/benchmarks/large_files.csv, too.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_MIB = 32
FULL_SIZE_MIB = 1024
DATA = Path(__file__).parent.parent / "docs" / "benchmarks" / "large_files.csv"
COLUMNS = ("what", "MiB", "seconds", "MiB/s", "peak MiB")
MEBIBYTE = 1024 * 1024


def peak_mib() -> float:
    """Return this process's peak of resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(url: str, source: str, target: str, results: multiprocessing.Queue) -> None:
    """Send a small file, then the large one, fetch it back, and report."""
    from airflow_messaging.hooks.go_integrate import GoIntegrateHook
    from airflow_messaging.sandbox import connections

    for conn_id, connection in connections(url).items():
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)
    credentials = connections(url)["go_integrate_default"]
    route = credentials["login"]
    with GoIntegrateHook() as hook:
        hook.send(route, "warm up")
        before = peak_mib()
        began = time.perf_counter()
        hook.send_message(data=source, message_to=route)
        sent = time.perf_counter()
        after_send = peak_mib()
        message = hook.message(hook.list_messages()[-1].id)
        hook.download_attachments(message, target, max_bytes=1 << 40)
        fetched = time.perf_counter()
        results.put((sent - began, after_send - before, fetched - sent, peak_mib() - before))


def main() -> int:
    """Run the measurement and return 0 if memory stayed within the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024)
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
                up_s, up_mib, down_s, peak = results.get(timeout=600)
                child.join()
            finally:
                sandbox.terminate()
    rows = [("send", up_s, up_mib), ("fetch", down_s, peak)]
    table = [(what, size, f"{s:.1f}", f"{size / s:.0f}", f"{mib:.1f}") for what, s, mib in rows]
    for line in (COLUMNS, *table):
        print("".join(f"{cell:>12}" for cell in line))
    if size >= FULL_SIZE_MIB:
        DATA.parent.mkdir(parents=True, exist_ok=True)
        with DATA.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *table])
    return 0 if peak < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
