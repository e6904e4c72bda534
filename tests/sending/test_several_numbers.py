"""Several numbers in one SerwerSMS message: another try says of each what the first one said, reports or not."""

import logging
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator
from airflow_messaging.sandbox import RunningSandbox

from .sends import NUMBER, FileStore, context_of

pytestmark = pytest.mark.usefixtures("connections")

OTHER = "+48500600701"
# A malformed number, which the service refuses.
BAD = "12"
NO_REPORTS = {"service": "serwersms", "path": "*/messages/reports*", "status": 200, "body": '{"items": []}'}


def run(store: FileStore, *phones: str, **arguments: Any) -> Any:
    task = SerwerSmsSendMessageOperator(task_id="a_task", phone=list(phones), text="x", **arguments)
    return task.execute(context_of(store, xcom_push=lambda **_: None))


def accepted(result: Any) -> list[bool]:
    people = result if isinstance(result, list) else result["recipients"]
    return [one["accepted"] for one in people]


def test_what_has_no_report_was_sent_all_the_same(
    sandbox: RunningSandbox, store: FileStore, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(store, NUMBER, OTHER)
    sandbox.faults([NO_REPORTS])
    with caplog.at_level(logging.WARNING):
        again = run(store, NUMBER, OTHER)
    assert accepted(again) == accepted(first) == [True, True]
    assert [(one["id"], one["status"]) for one in again["recipients"]] == [(None, first["status"])] * 2
    logged = caplog.text + capsys.readouterr().out
    assert "no report of 2 of 2 recipients" in logged
    assert NUMBER.lstrip("+") not in logged
    assert len(sandbox.messages("serwersms")["sent"]) == 2


def test_a_part_has_reports(sandbox: RunningSandbox, store: FileStore) -> None:
    first = run(store, NUMBER, OTHER)
    body = f'{{"items": [{{"id": "{first["recipients"][1]["id"]}", "phone": "{OTHER}", "status": "delivered"}}]}}'
    sandbox.faults([NO_REPORTS | {"body": body}])
    again = run(store, NUMBER, OTHER)
    assert accepted(again) == [True, True]
    assert [one["id"] for one in again["recipients"]] == [None, first["recipients"][1]["id"]]


@pytest.mark.parametrize("reports", [True, False])
def test_what_was_refused_stays_refused(sandbox: RunningSandbox, store: FileStore, reports: bool) -> None:
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=r"1 of 3 .*: 2 \(code"):
            run(store, NUMBER, BAD, OTHER)
        if not reports:
            sandbox.faults([NO_REPORTS])
    again = run(store, NUMBER, BAD, OTHER, fail_on_unsent=False)
    assert accepted(again) == [True, False, True]
    kept = str(store.all())
    assert NUMBER.lstrip("+") not in kept
    assert OTHER.lstrip("+") not in kept


def test_batches_without_reports(sandbox: RunningSandbox, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_messaging.services import serwersms_wire

    monkeypatch.setattr(serwersms_wire, "MAX_NUMBERS", 2)
    phones = [NUMBER, OTHER, BAD, "+48500600702"]
    first = run(store, *phones, split_recipients=True, fail_on_unsent=False)
    sandbox.faults([NO_REPORTS])
    again = run(store, *phones, split_recipients=True, fail_on_unsent=False)
    assert accepted(first) == accepted(again) == [True, True, False, True]
