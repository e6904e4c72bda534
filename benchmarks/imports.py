"""What it costs to parse a DAG file that imports our operators, against HttpOperator's.

    python benchmarks/imports.py [--rounds 9]

Each import is made in a process of its own under ``python -X importtime``, once ``airflow.sdk`` is there, which a DAG
file needs anyway; what counts is the median over the rounds. The table is written to docs/benchmarks/imports.csv, too.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).parent.parent / "docs" / "benchmarks" / "imports.csv"
COLUMNS = ("module", "ms", "modules", "of HttpOperator")
PEER = "airflow.providers.http.operators.http"
OURS = (
    "airflow_messaging.operators.messages",
    "airflow_messaging.operators.sendhub",
    "airflow_messaging.sensors.messages",
    "airflow_messaging.notifications.messages",
)
PREPARE = "import airflow.sdk; airflow.sdk.BaseOperator, airflow.sdk.BaseSensorOperator, airflow.sdk.BaseNotifier"
MARK = "this"
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| ")


def imported(module: str) -> tuple[float, int]:
    """Return the milliseconds that an import takes beyond Airflow's own, and how many modules it brings."""
    code = f"{PREPARE}, airflow.sdk.DAG; import {MARK}; import {module}"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    lines = done.stderr.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.endswith(f"| {MARK}"))
    own = [int(found[1]) for line in lines[begin + 1 :] if (found := _LINE.match(line))]
    return sum(own) / 1000, len(own)


def main() -> int:
    """Run the benchmark and return 0 if none of ours costs more than the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    measured: dict[str, list[tuple[float, int]]] = {module: [] for module in (*OURS, PEER)}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        for _ in range(rounds):
            for module, figures in measured.items():
                figures.append(imported(module))
    peers = statistics.median(ms for ms, _ in measured[PEER])
    table = []
    for module, figures in measured.items():
        ms = statistics.median(ms for ms, _ in figures)
        table.append((module, f"{ms:.1f}", figures[0][1], f"{ms / peers:.2f}"))
    for line in (COLUMNS, *table):
        print(f"{line[0]:<42}" + "".join(f"{cell:>18}" for cell in line[1:]))
    with DATA.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *table])
    return 0 if all(float(ms) <= peers for _, ms, _, _ in table) else 1


if __name__ == "__main__":
    sys.exit(main())
