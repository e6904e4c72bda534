from airflow.sdk import dag

from airflow_messaging.operators.messages import MarkMessagesReadOperator, SendMessageOperator
from airflow_messaging.sensors.messages import NextMessageSensor

CONN_ID = "sendhub_default"


@dag(schedule=None)
def first_dag():
    ask = SendMessageOperator(task_id="ask", conn_id=CONN_ID, to="1111", text="Shall the load begin? Yes or no.")
    answer = NextMessageSensor(task_id="answer", conn_id=CONN_ID, after=ask.output, timeout=600)
    MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=answer.output)


first_dag()
