"""Whole DAG runs through Airflow itself, in this process, against the sandbox."""

import json
import logging
import time
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.operators.base import message_id_for
from airflow_messaging.sandbox import RunningSandbox

from .conftest import EXAMPLES, HERE
from .harness import new_context

HAS_SHARED_STREAMS = find_spec("airflow.triggers.shared_stream") is not None
NEED_SHARED_STREAMS = {"mdi_inbox_events"}
NAMES = sorted(
    path.stem for path in EXAMPLES.glob("*.py") if HAS_SHARED_STREAMS or path.stem not in NEED_SHARED_STREAMS
)
MOST_PARSE_S = 1.0
POKE_INTERVAL = 0.3


def load(path: Path) -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag

    return DagBag(str(path))


def parse(path: Path) -> Any:
    bag = load(path)
    assert bag.import_errors == {}
    return bag


@pytest.mark.parametrize("name", sorted(NEED_SHARED_STREAMS))
def test_what_needs_a_newer_airflow_says_so(name: str) -> None:
    (*errors,) = load(EXAMPLES / f"{name}.py").import_errors.values()
    assert [("Airflow 3.3" in error) for error in errors] == ([] if HAS_SHARED_STREAMS else [True])


def test_there_are_examples() -> None:
    assert {"go_integrate_circle", "liquidfiles_circle", "mdi_circle", "serwersms_circle", "sendhub_circle"} <= {*NAMES}


@pytest.mark.undisturbed
@pytest.mark.parametrize("name", NAMES)
def test_parsing_is_quick_and_asks_nobody(name: str, sandbox: RunningSandbox, connections: Any) -> None:
    path = EXAMPLES / f"{name}.py"
    parse(path)  # the first time imports Airflow
    begun = time.perf_counter()
    bag = parse(path)
    assert time.perf_counter() - begun < MOST_PARSE_S
    assert [*bag.dags] == [name]
    assert bag.dags[name].doc_md
    assert sandbox.journal() == []


def run(path: Path, *, skipped: Collection[str] = (), **conf: Any) -> dict[str, Any]:
    """Run a DAG to its end and return what each task returned; no task may fail, and none but these be skipped."""
    from airflow.utils.state import DagRunState

    dag = parse(path).dags[path.stem]
    for task in dag.tasks:
        if getattr(task, "poke_interval", 0) > POKE_INTERVAL:
            task.poke_interval = POKE_INTERVAL
    finished = dag.test(run_conf={name: value for name, value in conf.items() if name in dag.params})
    tasks = finished.get_task_instances()
    assert {ti.task_id: str(ti.state) for ti in tasks if str(ti.state) != "success"} == dict.fromkeys(
        skipped, "skipped"
    )
    assert finished.state == DagRunState.SUCCESS
    returned: dict[str, Any] = {}
    for ti in tasks:
        returned.setdefault(ti.task_id, []).append((ti, _xcom(finished, ti)))
    return returned


def _xcom(run: Any, ti: Any) -> Any:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = select(XComModel.value).where(
        XComModel.run_id == run.run_id,
        XComModel.dag_id == run.dag_id,
        XComModel.task_id == ti.task_id,
        XComModel.map_index == ti.map_index,
        XComModel.key == "return_value",
    )
    with create_session() as session:
        value = session.scalars(wanted).one_or_none()
    return json.loads(value) if isinstance(value, str) and value[:1] in '[{"' else value


@pytest.mark.usefixtures("airflow_database", "connections")
class TestRuns:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_example_succeeds(
        self, name: str, sandbox: RunningSandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            returned = run(EXAMPLES / f"{name}.py", storage=f"file://{tmp_path}")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert bool(files) == any(task in returned for task in ("store", "download"))
        assert not [path for path in files if path.name.endswith(".part")]

    def test_a_message_without_files_does_not_hold_up_the_next(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        path, storage = EXAMPLES / "liquidfiles_to_go_integrate.py", f"file://{tmp_path}"
        run(path, storage=storage)
        sandbox.inbound("liquidfiles", text="Just a word.", subject="Price list", sender="robin@peer.example")
        assert len(sandbox.messages("go_integrate")["sent"]) == 1
        returned = run(path, storage=storage, skipped={"carry"})
        ((_, message),) = returned["wait"]
        assert message["text"] == "Just a word."
        assert [bool(marked["acknowledged"]) for _, marked in returned["mark"]] == [True]
        run(path, storage=storage)
        assert len(sandbox.messages("go_integrate")["sent"]) == 2

    def test_one_text_for_many_people(self, sandbox: RunningSandbox) -> None:
        returned = run(EXAMPLES / "serwersms_many_recipients.py", phones=["+48500600700", "+48500600701"])
        ((_, results),) = returned["one_task"]
        assert [result["accepted"] for result in results] == [True, True]
        assert len(returned["a_task_each"]) == 2
        assert len(sandbox.messages("serwersms")["sent"]) == 4

    def test_the_other_operators_and_modes(self, sandbox: RunningSandbox) -> None:
        returned = run(HERE / "dags" / "every_operator.py")
        ((_, answer),) = returned["answer"]
        ((_, listed),) = returned["listed"]
        ((_, marked),) = returned["mark"]
        assert [message["id"] for message in listed] == [answer["id"]] == marked["acknowledged"]
        assert [status for _, status in returned["many_sent"]] == ["delivered", "delivered"]
        ids = {message["unique_id"] for message in sandbox.messages("serwersms")["sent"]}
        expected = {
            message_id_for(
                new_context(dag_id="every_operator", run_id=ti.run_id, task_id="many", map_index=ti.map_index)
            )
            for ti, _ in returned["many"]
        }
        assert ids == expected
        assert len(ids) == 2
