"""What the tests inside Airflow share: its database, variables in memory, and short pauses."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox, running
from airflow_messaging.transport import retry
from airflow_messaging.triggers import asking, failures, shared

from .questions import Page

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "dags_examples"
LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_backoff", lambda _state: 0.01)
    # Certificates, which a sandbox on plain http does not need, take 50 ms to load for each hook.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "pause_after", lambda *_: 0.1)
    monkeypatch.setattr(shared, "pause_after", lambda *_: 0.1)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """Airflow's page for approvals, kept in memory."""
    from airflow.sdk.execution_time import hitl

    page = Page()
    monkeypatch.setattr(hitl, "upsert_hitl_detail", page.upsert)
    monkeypatch.setattr(hitl, "update_hitl_detail_response", page.update)
    monkeypatch.setattr(hitl, "get_hitl_detail_content_detail", page.get)
    monkeypatch.setattr(asking, "PAGE_INTERVAL_S", 0.1)
    return page


@pytest.fixture(params=[True, False], ids=["3.3", "before"])
def page_resumes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether Airflow itself resumes a task whose button was pressed."""
    monkeypatch.setattr(asking, "_page_resumes_tasks", lambda: request.param)
    return bool(request.param)


@pytest.fixture(scope="module")
def running_silent() -> Iterator[RunningSandbox]:
    with running(echo=False, hold_s=1.0) as sandbox:
        yield sandbox


@pytest.fixture
def silent(running_silent: RunningSandbox, connections: Any, monkeypatch: pytest.MonkeyPatch) -> RunningSandbox:
    """The five services, where nobody answers by themselves; all connections lead there."""
    running_silent.reset()
    for conn_id, connection in running_silent.connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return running_silent


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's variables, kept as the texts that the database would hold."""
    from airflow.sdk import Variable

    kept: dict[str, str] = {}

    def get(key: str, default: Any = None, deserialize_json: bool = False) -> Any:
        return (json.loads(kept[key]) if deserialize_json else kept[key]) if key in kept else default

    def put(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        kept[key] = json.dumps(value) if serialize_json else value

    monkeypatch.setattr(Variable, "get", get)
    monkeypatch.setattr(Variable, "set", put)
    return kept


@pytest.fixture(scope="session")
def airflow_database() -> Iterator[None]:
    """Airflow's own tables, and the two folders with DAGs."""
    from airflow.sdk.execution_time import supervisor
    from airflow.utils.db import initdb

    bundles = [
        {"name": name, "classpath": LOCAL, "kwargs": {"path": str(path), "refresh_interval": 3600}}
        for name, path in (("dags-folder", EXAMPLES), ("tests", HERE / "dags"))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
        # Airflow 3.1 makes a new one for each task, which takes two seconds.
        once = functools.lru_cache(supervisor.in_process_api_server)
        patch.setattr(supervisor, "in_process_api_server", once)
        initdb()
        yield
