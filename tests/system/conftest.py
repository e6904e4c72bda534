"""The running system that the proofs share, and the table of what they measured."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.demo.report import table
from scripts.harness.processes import Home

from .stack import CHECKOUT, LONG, PatientSignals, System

MOST_LOGS = 6
LAST_LINES = 15
_figures: list[tuple[str, str, str]] = []
_logs: list[Path] = []


@pytest.fixture(scope="session")
def signals() -> Iterator[PatientSignals]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    signals = PatientSignals()
    signals.install()
    yield signals
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def system(signals: PatientSignals) -> Iterator[System]:
    """Airflow on SQLite in the short form, on PostgreSQL in the long one."""
    system = System(Home.acquire(CHECKOUT / ".system"), signals, postgresql=LONG)
    try:
        system.start()
        yield system
    finally:
        _logs.extend(system.home.path.glob("logs/*.log"))
        system.stop()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Any:
    """Take a figure for the table at the end."""

    def note(what: str, value: object) -> None:
        _figures.append((request.node.name, what, str(value)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    if _figures:
        terminalreporter.section("measured" + (", the long form" if LONG else ", the short form"))
        terminalreporter.write_line(table(("proof", "what", "value"), _figures))
    if exitstatus:
        for log in sorted(_logs, key=lambda log: log.stat().st_mtime)[-MOST_LOGS:]:
            terminalreporter.section(f"the end of {log}")
            terminalreporter.write_line("\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:]))
