from airflow.sdk import ObjectStoragePath, dag, task

from airflow_messaging.operators.messages import MarkMessagesReadOperator
from airflow_messaging.sensors.messages import NextMessageSensor

CONN_ID = "serwersms_default"


# [START spool]
@dag(schedule=None, params={"spool": "file:///var/spool/airflow"})
def spooled_files():
    message = NextMessageSensor(task_id="wait", conn_id=CONN_ID, spool="{{ params.spool }}", timeout=600).output

    @task
    def add_up(message: dict) -> int:
        return sum(len(ObjectStoragePath(file["path"]).read_bytes()) for file in message["files"])

    @task
    def clean_up(message: dict) -> None:
        for file in message["files"]:
            ObjectStoragePath(file["path"]).unlink()

    mark = MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=message)
    add_up(message) >> mark >> clean_up(message)


# [END spool]
spooled_files()
