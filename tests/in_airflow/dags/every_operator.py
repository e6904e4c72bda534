"""What the examples do not show: the remaining operators, mapped tasks, and waits without the triggerer."""

from datetime import datetime

from airflow.sdk import DAG

from airflow_messaging.operators.messages import (
    GetMessageOperator,
    ListMessagesOperator,
    MarkMessagesReadOperator,
    SendMessageOperator,
)
from airflow_messaging.operators.sendhub import SendHubSendMessageOperator
from airflow_messaging.sensors.messages import MessageStatusSensor, NextMessageSensor

with DAG("every_operator", schedule=None, start_date=datetime(2026, 1, 1)):
    send = SendHubSendMessageOperator(task_id="send", contacts=["{{ '1111' }}"], text="From {{ dag.dag_id }}")
    sent = MessageStatusSensor(
        task_id="sent",
        conn_id="sendhub_default",
        message_id="{{ ti.xcom_pull(task_ids='send')['id'] }}",
        deferrable=False,
        mode="poke",
        poke_interval=0.2,
        timeout=30,
    )
    answer = NextMessageSensor(
        task_id="answer",
        conn_id="sendhub_default",
        after=send.output,
        deferrable=False,
        mode="reschedule",
        poke_interval=0.2,
        timeout=30,
    )
    listed = ListMessagesOperator(task_id="listed", conn_id="sendhub_default", after=send.output)
    got = GetMessageOperator(
        task_id="got", conn_id="sendhub_default", message_id="{{ ti.xcom_pull(task_ids='answer')['id'] }}"
    )
    mark = MarkMessagesReadOperator(task_id="mark", conn_id="sendhub_default", messages=listed.output)
    many = SendMessageOperator.partial(task_id="many", conn_id="serwersms_default", to="+48500600701").expand(
        text=["one", "two"]
    )
    many_sent = MessageStatusSensor.partial(
        task_id="many_sent", conn_id="serwersms_default", wait_for="delivered", poke_interval=0.2, timeout=30
    ).expand(message_id=many.output)
    send >> [sent, answer] >> listed >> got >> mark
    many_sent >> mark
