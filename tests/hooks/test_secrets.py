"""The five hooks hide their secret in every form that it takes."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from airflow_messaging.hooks import base
from airflow_messaging.sandbox import RunningSandbox

from .conftest import ASCII_SECRET, SECRET, change, hook_of


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    from airflow.sdk import log

    found: set[str] = set()
    monkeypatch.setattr(base, "mask_secret", lambda secret, *_: found.add(secret))

    async def amask_secret(secret: object, *_: object) -> None:
        # Airflow itself hands over whole extras.
        if isinstance(secret, str):
            found.add(secret)

    monkeypatch.setattr(log, "amask_secret", amask_secret, raising=False)
    return found


def expected_forms(conn_type: str, secret: str) -> set[str]:
    import base64

    forms = {secret, quote(secret, safe="")}
    if conn_type == "liquidfiles":
        forms.add(base64.b64encode(f"{secret}:x".encode()).decode())
    return forms


@pytest.mark.parametrize("way", ["sync", "async"])
def test_every_form_of_the_secret_is_masked(
    way: str, conn_type: str, connections: dict[str, Any], masked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ASCII_SECRET if conn_type == "liquidfiles" else SECRET
    change(connections, conn_type, monkeypatch, password=secret)
    hook = hook_of(conn_type)
    if way == "sync":
        hook.get_conn()
    else:

        async def enter() -> None:
            async with hook:
                pass

        asyncio.run(enter())
    assert masked >= expected_forms(conn_type, secret)
    assert masked >= {form for form in hook.service.derived_secrets() if form}
    if conn_type in ("serwersms", "sendhub", "mdi"):
        from urllib.parse import quote_plus

        assert quote_plus(secret) in masked
    if conn_type == "serwersms":
        assert json.dumps(secret)[1:-1] in masked
    assert "" not in masked


def test_secrets_that_come_up_are_masked_in_workers(
    connections: dict[str, Any], sandbox: RunningSandbox, masked: set[str]
) -> None:
    for conn_type, more in (("go_integrate", 1), ("mdi", 1)):
        hook = hook_of(conn_type)
        hook.get_conn()
        before = set(masked)
        hook.run(hook.service.check())
        assert len(masked - before) >= more
        hook.close()


def test_the_hook_does_not_show_its_secret(conn_type: str, connections: dict[str, Any]) -> None:
    hook = hook_of(conn_type)
    password = connections[f"{conn_type}_default"]["password"]
    for shown in (repr(hook), str(hook), repr(hook.get_conn()), repr(hook.settings), str(hook.settings)):
        assert password not in shown
