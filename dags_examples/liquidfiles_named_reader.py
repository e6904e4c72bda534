"""LiquidFiles, with a reader that keeps its place.

Each run takes what has come since the run before it, however long that was ago, and moves the reader past what it has
dealt with. A run that fails leaves the reader where it was, and the next one gets the same messages again.
"""

from datetime import datetime
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_messaging.operators.messages import MarkMessagesReadOperator, SendMessageOperator
from airflow_messaging.sensors.messages import NextMessageSensor

CONN_ID = "liquidfiles_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    tags=["messaging"],
    doc_md=__doc__,
    params={"recipient": Param("robin@peer.example", type="string", description="Who is written to and answers")},
)
def liquidfiles_named_reader():
    ask = SendMessageOperator(
        task_id="ask", conn_id=CONN_ID, to="{{ params.recipient }}", subject="Orders", text="What do you need?"
    )
    # [START reader]
    wait = NextMessageSensor(
        task_id="wait", conn_id=CONN_ID, reader="orders", max_messages=100, poke_interval=2, timeout=300
    )

    @task
    def book(messages: list[dict[str, Any]]) -> list[str]:
        return [message["subject"] for message in messages]

    mark = MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=wait.output, reader="orders")
    # [END reader]
    ask >> wait
    book(wait.output) >> mark


liquidfiles_named_reader()
