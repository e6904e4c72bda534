"""SerwerSMS.pl, the whole circle.

Sends an SMS that can be answered, waits in the triggerer for what comes in after it, and marks that as read: only now
does the service stop giving it out.
"""

from datetime import datetime

from airflow.sdk import Param, dag

from airflow_messaging.operators.messages import MarkMessagesReadOperator
from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator
from airflow_messaging.sensors.messages import NextMessageSensor

CONN_ID = "serwersms_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["messaging"],
    doc_md=__doc__,
    params={"phone": Param("+48500600700", description="Number to send to")},
)
def serwersms_circle():
    # [START send]
    send = SerwerSmsSendMessageOperator(
        task_id="send", phone="{{ params.phone }}", text="Your parcel arrives today. Please answer with a time."
    )
    # [END send]
    # [START wait]
    wait = NextMessageSensor(task_id="wait", conn_id=CONN_ID, after=send.output, poke_interval=2, timeout=300)
    # [END wait]
    # [START mark]
    MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=wait.output)
    # [END mark]


serwersms_circle()
