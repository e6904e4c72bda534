"""A worker process that is killed between request and answer: the next try continues from there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.exceptions import DeliveryUnknown
from airflow_messaging.operators import once
from airflow_messaging.sandbox import RunningSandbox

from .sends import SEND_PATHS, SERVICES, WITH_LOOK, FileStore, send

pytestmark = pytest.mark.usefixtures("connections")

WORKER = Path(__file__).with_name("worker.py")


def wait_for(what: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def arrived(sandbox: RunningSandbox, service: str) -> bool:
    """Say whether the request is there whole, and unanswered."""
    path = SEND_PATHS[service].strip("*")
    return any(
        path in entry["path"] and entry["method"] == "POST" and entry["status"] is None
        for entry in sandbox.journal(service)
    )


def accepted(sandbox: RunningSandbox, service: str) -> list[str]:
    return [message.get("message_id", message["id"]) for message in sandbox.messages(service)["sent"]]


@pytest.mark.parametrize(("when", "services"), [("before", ["go_integrate", "mdi"]), ("after", SERVICES)])
def test_it_is_sent_once(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, services: Sequence[str]
) -> None:
    """Killed before the service has accepted the message, which is on its way there; and after."""
    hold_s = 2.0 if when == "before" else 60.0
    monkeypatch.setattr(once, "SETTLE_S", 3.0)
    sandbox.faults(
        [
            {"service": service, "path": SEND_PATHS[service], "times": 1, "when": when, "delay_s": hold_s}
            for service in services
        ]
    )

    def one_service(service: str) -> None:
        store = FileStore(tmp_path / f"{service}.json")
        # Another session, so that nothing but the signal ends it.
        worker = subprocess.Popen(
            [sys.executable, str(WORKER), service, "Once", str(store.path)],
            env=dict(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for(lambda: (accepted if when == "after" else arrived)(sandbox, service) or worker.poll() is not None)
        finally:
            worker.kill()
        assert worker.wait() == -signal.SIGKILL
        [record] = store.all().values()
        assert "receipt" not in record
        if service not in WITH_LOOK:
            for _ in range(2):
                with pytest.raises(DeliveryUnknown):
                    send(service, "Once", store)
            assert len(accepted(sandbox, service)) in ([1] if when == "after" else [0, 1])
            asked = [entry for entry in sandbox.journal(service) if entry["method"] == "POST"]
            assert [entry["headers"]["message-id"] for entry in asked] == [record["message_id"]]
            return
        receipt = send(service, "Once", store)
        assert accepted(sandbox, service) == [receipt["id"]]
        asked = len(sandbox.journal(service))
        assert send(service, "Once", store)["id"] == receipt["id"]
        assert len(sandbox.journal(service)) == asked

    with ThreadPoolExecutor(len(services)) as pool:
        for done in [pool.submit(one_service, service) for service in services]:
            done.result()
