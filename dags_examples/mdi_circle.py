"""MDI g8teway, the whole circle.

Sends a text to a vehicle unit, waits until the unit has it, then waits for the unit's answer and moves the reader past
it. Both waits run in the triggerer and share one cookie session each.
"""

from datetime import datetime

from airflow.sdk import Param, dag

from airflow_messaging.operators.mdi import MdiSendMessageOperator
from airflow_messaging.operators.messages import MarkMessagesReadOperator
from airflow_messaging.sensors.messages import MessageStatusSensor, NextMessageSensor

CONN_ID = "mdi_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    tags=["messaging"],
    doc_md=__doc__,
    params={
        "unitid": Param(17, type="integer", description="Unit to send to"),
        "channelid": Param(11, type="integer", description="Channel to send on"),
    },
)
def mdi_circle():
    # [START send]
    send = MdiSendMessageOperator(
        task_id="send",
        unitid="{{ params.unitid }}",
        channelid="{{ params.channelid }}",
        content="Next stop: warehouse 4, gate B",
        timeout=60,
    )
    # [END send]
    # [START status]
    delivered = MessageStatusSensor(
        task_id="delivered",
        conn_id=CONN_ID,
        message_id=send.output,
        wait_for="delivered",
        poke_interval=2,
        timeout=300,
    )
    # [END status]
    wait = NextMessageSensor(task_id="wait", conn_id=CONN_ID, reader="circle", poke_interval=2, timeout=300)
    mark = MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=wait.output, reader="circle")
    send >> [delivered, wait]
    wait >> mark


mdi_circle()
