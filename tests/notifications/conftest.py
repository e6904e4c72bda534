"""What the tests of the notifier share: every service, both ways to notify, and what was sent."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.notifications.messages import MessageNotifier
from airflow_messaging.sandbox import RunningSandbox

PEERS = {
    "go_integrate": "peer_route",
    "liquidfiles": "recipient",
    "mdi": "unitid",
    "serwersms": "phone",
    "sendhub": "number",
}
OPTIONS = {"mdi": {"channelid": 11}}
NUMBER = "+48500600999"
TEXT = "Kanarienvogel singt um 7"

Notify = Callable[..., None]


@pytest.fixture(params=list(CONNECTION_TYPES))
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync", "async"])
def notify(request: pytest.FixtureRequest) -> Notify:
    """Notify as Airflow does: called in a worker, awaited in the triggerer."""

    def called(context: Any, **arguments: Any) -> None:
        MessageNotifier(**arguments)(context)

    def awaited(context: Any, **arguments: Any) -> None:
        async def wait() -> None:
            await MessageNotifier(**arguments, context=context)

        asyncio.run(wait())

    return called if request.param == "sync" else awaited


def peer(sandbox: RunningSandbox, service: str) -> str:
    return str(sandbox.credentials[service][PEERS[service]])


def arguments(sandbox: RunningSandbox, service: str, **changes: Any) -> dict[str, Any]:
    given = {"conn_id": f"{service}_default", "to": peer(sandbox, service), "options": OPTIONS.get(service)}
    return {**given, **changes}


def sent(sandbox: RunningSandbox, service: str) -> list[dict[str, Any]]:
    return sandbox.messages(service)["sent"]


def extra(monkeypatch: pytest.MonkeyPatch, connections: dict[str, dict[str, Any]], service: str, **fields: Any) -> None:
    """Change the extra of a service's connection."""
    connection = {**connections[f"{service}_default"]}
    connection["extra"] = {**(connection.get("extra") or {}), **fields}
    monkeypatch.setenv(f"AIRFLOW_CONN_{service.upper()}_DEFAULT", json.dumps(connection))
