"""What the tests of sending share: short pauses, and a store for each test."""

import random
from pathlib import Path

import pytest

from airflow_messaging.operators import once
from airflow_messaging.transport import retry

from .sends import FileStore


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda _state: 0.01)
    monkeypatch.setattr(once, "SETTLE_S", 0.2)
    # Go Integrate Me takes no signature twice, and signatures change by the second.
    monkeypatch.setattr(once, "RESEND_PAUSE_S", 1.05)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store.json")


@pytest.fixture
def seed() -> int:
    """A new one for each run; pytest shows it where a test fails."""
    number = random.randrange(1 << 32)
    print(f"seed {number}")
    return number


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service lets us look, and none drops what is sent again."""
    from airflow_messaging.hooks.registry import hook_class
    from airflow_messaging.services.base import Service

    from .sends import SERVICES

    for service in SERVICES:
        kind = hook_class(service)
        make = kind.make_service

        def blind(self: object, settings: object, make: object = make) -> Service:
            made: Service = make(self, settings)  # type: ignore[operator]
            made.find_sent = Service.find_sent.__get__(made)  # type: ignore[method-assign]
            return made

        monkeypatch.setattr(kind, "make_service", blind)
