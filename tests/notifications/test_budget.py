"""The notifier against a service that is slow, silent or away: how long it takes at most."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_messaging.exceptions import ConnectFailed, DeliveryUnknown, MessagingError
from airflow_messaging.notifications import messages
from airflow_messaging.notifications.messages import BUDGET_S, MessageNotifier
from airflow_messaging.sandbox import RunningSandbox

from .conftest import Notify, arguments, extra, sent

pytestmark = pytest.mark.usefixtures("connections")


@contextmanager
def dripping() -> Iterator[str]:
    """A server that answers a byte at a time, so that no read ever times out."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def drip() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                while not done.wait(0.2):
                    connected.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            done.set()
            thread.join(5)


class TestBudget:
    def test_it_ends_in_ten_seconds_whatever_the_service_does(self, sandbox: RunningSandbox) -> None:
        sandbox.faults(
            [
                # Login and message, six seconds each: every answer comes in time, and still it takes too long.
                {"service": "mdi", "delay_s": 6, "when": "after"},
                {"service": "sendhub", "delay_s": 30},
            ]
        )

        def called(service: str) -> tuple[float, DeliveryUnknown]:
            begun = time.monotonic()
            with pytest.raises(DeliveryUnknown) as caught:
                MessageNotifier(**arguments(sandbox, service))({})
            return time.monotonic() - begun, caught.value

        async def awaited(service: str) -> tuple[float, DeliveryUnknown]:
            begun = time.monotonic()
            with pytest.raises(DeliveryUnknown) as caught:
                await MessageNotifier(**arguments(sandbox, service), context={})
            return time.monotonic() - begun, caught.value

        async def each() -> list[tuple[float, DeliveryUnknown]]:
            return await asyncio.gather(
                *(asyncio.to_thread(called, service) for service in ("mdi", "sendhub")),
                *(awaited(service) for service in ("mdi", "sendhub")),
            )

        slow, silent, slow_async, silent_async = asyncio.run(each())
        for took, error in (slow, slow_async):
            assert BUDGET_S - 0.5 < took < BUDGET_S + 1
            assert str(error) == "mdi send: not finished within 10 s; it may have taken effect"
            assert error.__cause__ is None
        for took, _ in (silent, silent_async):
            assert took < BUDGET_S
        assert len(sandbox.journal("sendhub")) == 2, "it may have arrived: not again"

    def test_an_answer_that_comes_in_drips(
        self,
        sandbox: RunningSandbox,
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        notify: Notify,
    ) -> None:
        monkeypatch.setattr(messages, "BUDGET_S", 1.5)
        with dripping() as url:
            connection = {**connections["sendhub_default"], "host": url, "port": None, "schema": None}
            monkeypatch.setenv("AIRFLOW_CONN_SENDHUB_DEFAULT", json.dumps(connection))
            begun = time.monotonic()
            with pytest.raises(DeliveryUnknown):
                notify({}, conn_id="sendhub_default", to="1111")
            assert 1 < time.monotonic() - begun < 3

    def test_a_shorter_timeout_of_the_connection_counts(
        self,
        sandbox: RunningSandbox,
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        notify: Notify,
    ) -> None:
        extra(monkeypatch, connections, "sendhub", read_timeout=0.5)
        sandbox.faults([{"service": "sendhub", "delay_s": 30}])
        begun = time.monotonic()
        with pytest.raises(DeliveryUnknown):
            notify({}, **arguments(sandbox, "sendhub"))
        assert time.monotonic() - begun < 3

    def test_what_never_left_is_tried_twice(
        self, connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch, notify: Notify
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        connection = {
            **connections["sendhub_default"],
            "host": f"http://127.0.0.1:{port}",
            "port": None,
            "schema": None,
        }
        monkeypatch.setenv("AIRFLOW_CONN_SENDHUB_DEFAULT", json.dumps(connection))
        begun = time.monotonic()
        with pytest.raises(ConnectFailed):
            notify({}, conn_id="sendhub_default", to="1111")
        assert time.monotonic() - begun < 5

    def test_a_service_that_asks_for_a_short_pause_gets_it(self, sandbox: RunningSandbox, notify: Notify) -> None:
        sandbox.faults([{"service": "serwersms", "status": 429, "headers": {"Retry-After": "1"}, "times": 1}])
        notify({}, **arguments(sandbox, "serwersms"))

        assert len(sent(sandbox, "serwersms")) == 1

    def test_a_service_that_asks_for_a_long_pause_is_not_waited_for(
        self, sandbox: RunningSandbox, notify: Notify
    ) -> None:
        sandbox.faults([{"service": "sendhub", "status": 429, "headers": {"Retry-After": "20"}}])
        begun = time.monotonic()
        with pytest.raises(MessagingError):
            notify({}, **arguments(sandbox, "sendhub"))
        assert time.monotonic() - begun < 2
