"""The Airflow connections that reach a sandbox."""

from __future__ import annotations

import json
import shlex
from typing import Any

from airflow_messaging.sandbox.services import SERVICES


def connections(base_url: str) -> dict[str, dict[str, Any]]:
    """Return connections by id, such as `sendhub_default`, in Airflow's JSON form."""
    return {f"{service.name}_default": service.connection(base_url) for service in SERVICES}


def connection_exports(base_url: str) -> list[str]:
    """Return one shell line per connection, for Airflow's environment."""
    return [
        f"export AIRFLOW_CONN_{connection_id.upper()}={shlex.quote(json.dumps(connection))}"
        for connection_id, connection in connections(base_url).items()
    ]
