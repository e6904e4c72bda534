"""Tries of one task through Airflow itself: its own task state store carries over what was sent."""

import json
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox

from .conftest import HERE
from .test_examples import parse

pytestmark = [pytest.mark.usefixtures("airflow_database", "connections"), pytest.mark.timeout(120)]


def run(sandbox: RunningSandbox) -> Any:
    sandbox.faults([{"service": "go_integrate", "reset": True, "when": "after", "times": 1}])
    return parse(HERE / "dags" / "sending_once.py").dags["sending_once"].test()


@pytest.mark.newest
def test_a_retry_continues(sandbox: RunningSandbox) -> None:
    finished = run(sandbox)
    ended = {ti.task_id: (str(ti.state), ti.try_number) for ti in finished.get_task_instances()}
    assert ended == {"sent": ("success", 2), "unknown": ("failed", 1)}
    assert len(sandbox.messages("sendhub")["sent"]) == 1
    assert len(sandbox.messages("go_integrate")["sent"]) == 1
    kept = records(finished.run_id)
    assert kept["sent"]["receipt"]["id"] == sandbox.messages("sendhub")["sent"][0]["id"]
    assert kept["unknown"]["message_id"] == sandbox.messages("go_integrate")["sent"][0]["message_id"]
    assert "receipt" not in kept["unknown"]
    assert "Once." not in json.dumps(kept)
    assert '"1111"' not in json.dumps(kept)
    clear(finished.run_id)
    assert records(finished.run_id) == kept


def test_on_any_airflow_what_may_have_been_sent_is_not_sent_again(sandbox: RunningSandbox) -> None:
    finished = run(sandbox)
    [unknown] = [ti for ti in finished.get_task_instances() if ti.task_id == "unknown"]
    assert (str(unknown.state), unknown.try_number) == ("failed", 1)
    assert len(sandbox.messages("go_integrate")["sent"]) == 1


def clear(run_id: str) -> None:
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        instances = session.scalars(select(TaskInstance).where(TaskInstance.run_id == run_id)).all()
        assert len(instances) == 2
        clear_task_instances(instances, session)
        assert {instance.state for instance in instances} == {None}


def records(run_id: str) -> dict[str, Any]:
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(select(TaskStateStoreModel).where(TaskStateStoreModel.run_id == run_id)).all()
        assert len({row.task_id for row in rows}) == len(rows)
        return {row.task_id: json.loads(row.value) for row in rows}
