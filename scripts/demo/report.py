"""What the demo prints."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scripts.harness.sandbox import Traffic

WIDTH = 100
PLAIN_INTERVAL = 5.0
UNBROKEN = "\u00a0"  # a space that no line ends at


class Progress:
    """One line that changes on a terminal; elsewhere a new line now and then."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._last_text = ""
        self._last_time = 0.0

    def _stamp(self, text: str) -> str:
        return f"{time.monotonic() - self._started:5.0f} s  {text}"

    def update(self, text: str) -> None:
        """Say what is being waited for."""
        width = min(WIDTH, shutil.get_terminal_size().columns - 1) if self._live else WIDTH
        line = self._stamp(text)
        line = line if len(line) <= width else line[: width - 1] + "…"
        if self._live:
            print(f"{self.clearing}{line}", end="", flush=True)
        elif text != self._last_text and time.monotonic() - self._last_time >= PLAIN_INTERVAL:
            self._last_text, self._last_time = text, time.monotonic()
            print(line, flush=True)

    def step(self, text: str) -> None:
        """Say what has been reached; the line stays."""
        print(f"{self.clearing}{self._stamp(text)}", flush=True)

    @property
    def clearing(self) -> str:
        """What removes the changing line."""
        return "\r\033[K" if self._live else ""


def colour(state: str) -> str:
    codes = {"success": "32", "failed": "31"}
    return f"\033[{codes[state]}m" if sys.stdout.isatty() and state in codes else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Lay out columns; the last one is wrapped to what `WIDTH` leaves."""
    rows = list(rows)
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header) - 1)]
    room = max(WIDTH - sum(widths) - 2 * len(widths), 30)

    def cells(row: Sequence[str]) -> str:
        aligned = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=False)))
        coloured = [f"{colour(c.strip())}{c}\033[0m" if colour(c.strip()) else c for c in aligned]
        first, *more = textwrap.wrap(row[-1], room, break_on_hyphens=False) or [""]
        indent = " " * (WIDTH - room)
        text = "\n".join(["  ".join([*coloured, first]), *(indent + line for line in more)])
        return text.replace(UNBROKEN, " ").rstrip()

    rule = "  ".join("─" * w for w in [*widths, room])
    return "\n".join([cells(header), rule, *(cells(row) for row in rows)])


def service_of(task: Mapping[str, Any], services: Sequence[str], hints: Iterable[str]) -> str | None:
    """Tell which service a task talks to: by its operator, its connection, or the only one its DAG is about."""
    operator = (task.get("operator_name") or "").lower()
    fields = task.get("rendered_fields") or {}
    connections = [str(value) for name, value in fields.items() if name.endswith("conn_id")]
    for service in services:
        if operator.startswith(service.replace("_", "")) or any(c.startswith(service) for c in connections):
            return service
    hints = list(hints)
    about = [service for service in services if any(service in hint for hint in hints)]
    return about[0] if len(about) == 1 else None


def messages_in(values: Iterable[Any]) -> dict[str, dict[str, int]]:
    """Count the messages that tasks have returned: ``{"sendhub": {"sent": 1, "received": 2}}``.

    A receipt is a message sent; one that several tasks return counts once.
    """
    found: set[tuple[str, str, str]] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict) and isinstance(value.get("service"), str) and "id" in value:
            direction = "received" if "recipients" in value else "sent"
            found.add((value["service"], direction, str(value["id"])))
    counts: dict[str, dict[str, int]] = {}
    for service, direction, _ in sorted(found, key=lambda item: (item[0], item[1] != "sent")):
        of_service = counts.setdefault(service, {})
        of_service[direction] = of_service.get(direction, 0) + 1
    return counts


def _remark(task: Mapping[str, Any]) -> str:
    if task.get("state") == "skipped":
        return " skipped"
    tries = task.get("try_number", 0)
    return f" after {tries} tries" if tries > 1 else ""


def went_through(
    tasks: Iterable[Mapping[str, Any]], returned: Iterable[Any], services: Sequence[str], hints: Iterable[str]
) -> str:
    """Write ``sendhub 1 sent, 3 received (send, wait ×3); serwersms (forward)``."""
    hints = list(hints)
    messages = messages_in(returned)
    groups: dict[str, dict[str, int]] = {}
    for task in tasks:
        group = groups.setdefault(service_of(task, services, hints) or "no service", {})
        name = task["task_id"] + _remark(task)
        group[name] = group.get(name, 0) + 1
    parts = []
    for service in [*groups, *(service for service in messages if service not in groups)]:
        counts = ", ".join(f"{count} {direction}" for direction, count in messages.get(service, {}).items())
        names = ", ".join(name if n == 1 else f"{name} ×{n}" for name, n in groups.get(service, {}).items())
        parts.append(" ".join(filter(None, [service, counts, names and f"({names})"])))
    return "; ".join(parts)


def traffic_table(traffic: Mapping[str, Traffic]) -> str:
    rows = [
        (
            service,
            *map(str, (seen.sent, seen.waiting, seen.requests, seen.refused, seen.held)),
            ", ".join(f"{name} ×{n}".replace(" ", UNBROKEN) for name, n in seen.endpoints.most_common(5)),
        )
        for service, seen in traffic.items()
    ]
    header = ("service", "sent", "waiting", "requests", "refused", "held", "what was asked most")
    return table(header, rows, right=frozenset(range(1, 6)))


def banner(airflow_url: str, sandbox_url: str) -> str:
    return f"  Airflow   {airflow_url}\n  Sandbox   {sandbox_url}"
