"""What the button that tests a connection says, and how long it takes."""

import time
from typing import Any
from urllib.parse import quote

import pytest

from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.hooks import base
from airflow_messaging.sandbox import RunningSandbox

from .conftest import ASCII_SECRET, change, hook_of


def test_a_good_connection_is_told_as_such(conn_type: str, connections: dict[str, Any]) -> None:
    ok, text = hook_of(conn_type).test_connection()
    assert ok, text
    assert CONNECTION_TYPES[conn_type].title in text


def test_a_wrong_secret_is_told_without_it(
    conn_type: str, connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(connections, conn_type, monkeypatch, password=ASCII_SECRET)
    ok, text = hook_of(conn_type).test_connection()
    assert not ok
    for form in (ASCII_SECRET, quote(ASCII_SECRET, safe=""), "Canary"):
        assert form not in text


def test_a_wrong_field_is_told_without_a_request(
    conn_type: str, connections: dict[str, Any], sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(connections, conn_type, monkeypatch, host="http://far.example.com", password=ASCII_SECRET)
    ok, text = hook_of(conn_type).test_connection()
    assert (ok, text.startswith("host: got ")) == (False, True)
    assert sandbox.journal() == []


def test_a_service_that_hangs_is_not_waited_for(
    conn_type: str, connections: dict[str, Any], sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base._TEST_TIMEOUT_S <= 5
    monkeypatch.setattr(base, "_TEST_TIMEOUT_S", 0.6)
    sandbox.faults([{"service": conn_type, "delay_s": 2}])
    begun = time.monotonic()
    ok, text = hook_of(conn_type).test_connection()
    assert time.monotonic() - begun < 0.6
    assert not ok
    assert conn_type in text


def test_a_host_that_is_not_there_is_named(
    conn_type: str, connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(connections, conn_type, monkeypatch, host="http://127.0.0.1:9")
    ok, text = hook_of(conn_type).test_connection()
    assert (ok, "(at 127.0.0.1:9)" in text) == (False, True)


def test_a_service_that_is_down_is_tried_once(
    conn_type: str, connections: dict[str, Any], sandbox: RunningSandbox
) -> None:
    sandbox.faults([{"service": conn_type, "status": 503, "body": "<html>down</html>"}])
    ok, text = hook_of(conn_type).test_connection()
    assert (ok, "503" in text) == (False, True)
    assert len(sandbox.journal()) == 1
