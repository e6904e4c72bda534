"""SendHub, the whole circle.

Sends an SMS to a contact through the operator that takes any connection, waits until it is sent, waits in the triggerer
for the answer, and marks that as read.
"""

from datetime import datetime

from airflow.sdk import Param, dag

from airflow_messaging.operators.messages import MarkMessagesReadOperator, SendMessageOperator
from airflow_messaging.sensors.messages import MessageStatusSensor, NextMessageSensor

CONN_ID = "sendhub_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["messaging"],
    doc_md=__doc__,
    params={"contact": Param("1111", description="Contact or number to send to")},
)
def sendhub_circle():
    # [START send]
    send = SendMessageOperator(
        task_id="send", conn_id=CONN_ID, to="{{ params.contact }}", text="The nightly load has finished."
    )
    # [END send]
    sent = MessageStatusSensor(
        task_id="sent", conn_id=CONN_ID, message_id=send.output, wait_for="sent", poke_interval=2, timeout=300
    )
    wait = NextMessageSensor(task_id="wait", conn_id=CONN_ID, after=send.output, poke_interval=2, timeout=300)
    mark = MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=wait.output)
    sent >> wait >> mark


sendhub_circle()
