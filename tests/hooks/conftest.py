"""What the tests of the hooks share: every type of connection, its hook, and a connection that is changed."""

import json
from typing import Any

import pytest

from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.hooks.base import MessagingHook
from airflow_messaging.hooks.registry import hook_class

TYPES = tuple(CONNECTION_TYPES)
SECRET = 'Canary+s3cret/with=all & "signs" żó'
ASCII_SECRET = "Canary+s3cret/with=all&signs"


@pytest.fixture(params=TYPES)
def conn_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def hook_of(conn_type: str) -> MessagingHook[Any]:
    return hook_class(conn_type)()


def change(connections: dict[str, Any], conn_type: str, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    connection = {**connections[f"{conn_type}_default"], **fields}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", json.dumps(connection))
