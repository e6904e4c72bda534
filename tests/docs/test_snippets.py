"""Every file of docs/snippets/ does what the documentation says, against the sandbox."""

import asyncio
import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"

pytestmark = pytest.mark.usefixtures("connections")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"snippet_{name}", SNIPPETS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tables() -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def database(tables: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's database, and the snippets as the place where it finds DAGs."""
    bundle = {
        "name": "snippets",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(SNIPPETS)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))


def run(dag: Any, conf: dict[str, Any] | None = None) -> Any:
    """Run a DAG in this process; returns its run."""
    finished = dag.test(run_conf=conf)
    assert finished.state == "success", [(ti.task_id, ti.state) for ti in finished.get_task_instances()]
    return finished


def returned(dag_run: Any, task_id: str) -> Any:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(
            key="return_value", run_id=dag_run.run_id, dag_ids=dag_run.dag_id, task_ids=task_id
        ).with_only_columns(XComModel.value)
        [value] = session.scalars(query).all()
    return json.loads(value) if isinstance(value, str) else value


@pytest.mark.newest
def test_first_dag(sandbox: RunningSandbox, database: None) -> None:
    dag = load("first_dag").first_dag()
    dag.get_task("answer").poke_interval = 0.5  # the echo comes sooner than people answer

    finished = run(dag)

    assert [message["text"] for message in sandbox.messages("sendhub")["sent"]] == ["Shall the load begin? Yes or no."]
    assert sandbox.messages("sendhub")["waiting"] == [], "the answer is marked read"
    assert returned(finished, "mark")["also_received"] == []


@pytest.mark.newest
def test_every_waiting_message(sandbox: RunningSandbox, database: None) -> None:
    for number in range(3):
        sandbox.inbound("serwersms", text=f"Order {number}")

    run(load("every_waiting_message").every_waiting_message())

    assert sandbox.messages("serwersms")["waiting"] == []


@pytest.mark.newest
def test_spooled_files(sandbox: RunningSandbox, database: None, tmp_path: Path) -> None:
    sandbox.inbound("serwersms", attachments=[{"filename": "order.bin", "content": b"12345"}])

    finished = run(load("spooled_files").spooled_files(), {"spool": str(tmp_path)})

    assert returned(finished, "add_up") == 5
    assert sandbox.messages("serwersms")["waiting"] == []
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["message.json"]


@pytest.mark.newest
def test_notifiers(sandbox: RunningSandbox, database: None) -> None:
    from airflow.triggers.callback import CallbackTrigger

    snippet = load("notifiers")
    finished = run(snippet.with_callbacks())
    [message] = sandbox.messages("liquidfiles")["sent"]
    assert (message["subject"], message["text"]) == ("with_callbacks", f"The run {finished.run_id} has succeeded.")
    [callback] = snippet.with_callbacks().get_task("load").on_failure_callback
    callback({})
    assert sandbox.messages("sendhub")["sent"][-1]["to"] == ["1111", "+16505551234"]

    late = snippet.with_a_deadline().deadline[0].callback
    context = {"dag_run": {"dag_id": "d", "dag_run_id": "r"}, "deadline": {"id": "1", "deadline_time": "noon"}}

    async def missed() -> list[str]:
        return [
            event.payload["state"]
            async for event in CallbackTrigger(late.path, {**late.kwargs, "context": context}).run()
        ]

    assert asyncio.run(missed())[-1] == "success"
    [notifier] = snippet.with_a_question().get_task("approve").notifiers
    notifier({})
    assert len(sandbox.messages("sendhub")["sent"]) == 3


@pytest.mark.newest
def test_hook_in_a_task(sandbox: RunningSandbox, database: None) -> None:
    run(load("hook_in_a_task").hook_in_a_task())

    assert len(sandbox.messages("sendhub")["sent"]) == 1


@pytest.mark.newest
def test_retry_policy(sandbox: RunningSandbox, database: None) -> None:
    run(load("retry_policy").retry_policy())

    assert len(sandbox.messages("sendhub")["sent"]) == 1


@pytest.mark.newest
def test_message_queue(sandbox: RunningSandbox) -> None:
    (watcher,) = load("message_queue").orders.watchers

    path, arguments = watcher.trigger.serialize()
    assert path == "airflow_messaging.triggers.inbox.InboxTrigger"
    assert arguments["conn_id"] == "sendhub_default"


@pytest.mark.parametrize("service", ["go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub"])
def test_own_cursor(sandbox: RunningSandbox, tmp_path: Path, service: str) -> None:
    new_messages = load("own_cursor").new_messages
    first = sandbox.inbound(service, text="one")

    assert [message.id for message in new_messages(f"{service}_default", tmp_path / "place")] == [first]
    assert new_messages(f"{service}_default", tmp_path / "place") == []

    second = sandbox.inbound(service, text="two")
    assert [message.id for message in new_messages(f"{service}_default", tmp_path / "place")] == [second]


async def test_on_an_event_loop(sandbox: RunningSandbox) -> None:
    message_id = sandbox.inbound("liquidfiles", text="hello")

    assert await load("on_an_event_loop").ids_in_inbox("liquidfiles_default") == [message_id]


@pytest.mark.parametrize("name", ["test_what_arrives_is_found", "test_a_lost_answer_is_not_sent_again"])
def test_sandbox_in_a_test(sandbox: RunningSandbox, name: str) -> None:
    getattr(load("sandbox_in_a_test"), name)(sandbox)


def test_the_fixture_of_the_snippet(monkeypatch: pytest.MonkeyPatch) -> None:
    fixture = load("sandbox_in_a_test").sandbox.__wrapped__(monkeypatch)

    assert set(next(fixture).credentials) == {"go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub"}
    assert next(fixture, None) is None


def connection_lines(marker: str) -> list[tuple[str, str]]:
    text = (SNIPPETS / "connections.sh").read_text()
    block = text.split(f"[START {marker}]")[1].split("# [END")[0]
    words = [word for word in shlex.split(block) if word != "export"]
    return [(name, value) for name, value in (word.split("=", 1) for word in words)]


@pytest.mark.filterwarnings("ignore")
def test_both_forms_of_the_connections_say_the_same() -> None:
    from airflow.models import Connection

    from airflow_messaging.hooks.registry import with_connection

    as_json, as_uri = connection_lines("json"), connection_lines("uri")
    assert len(as_json) == 5
    assert [name for name, _ in as_json] == [name for name, _ in as_uri]
    for (name, document), (_, uri) in zip(as_json, as_uri, strict=True):
        conn_id = name.removeprefix("AIRFLOW_CONN_").lower()
        first = with_connection(conn_id, Connection.from_json(document, conn_id=conn_id)).settings
        second = with_connection(conn_id, Connection(conn_id=conn_id, uri=uri)).settings
        assert first == second


def test_no_snippet_is_forgotten() -> None:
    tested = set(re.findall(r'load\("(\w+)"\)', Path(__file__).read_text())) | {"connections"}
    assert {path.stem for path in SNIPPETS.iterdir() if path.suffix in (".py", ".sh")} == tested
