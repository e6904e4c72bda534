"""Go Integrate Me, the whole circle.

Sends a file to a route, waits in the triggerer for the next message, stores its file and moves the reader past it.
The service has no read flag: the reader ``circle`` keeps the place between runs.
"""

from datetime import datetime

from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_messaging.operators.go_integrate import GoIntegrateSendMessageOperator
from airflow_messaging.operators.messages import DownloadAttachmentsOperator, MarkMessagesReadOperator
from airflow_messaging.sensors.messages import NextMessageSensor

CONN_ID = "go_integrate_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    tags=["messaging"],
    doc_md=__doc__,
    params={
        "route": Param("9d2e@b7f05c38", description="Route to send to"),
        "storage": Param("file:///tmp/airflow_messaging", description="Where files are kept"),
    },
)
def go_integrate_circle():
    @task
    def write_order(params: dict, run_id: str) -> str:
        folder = ObjectStoragePath(params["storage"]) / "orders"
        folder.mkdir(parents=True, exist_ok=True)
        order = folder / f"{run_id.replace(':', '-')}.csv"
        with order.open("w") as file:
            file.write("article,quantity\nbolt M8,400\n")
        return str(order)

    # [START send]
    send = GoIntegrateSendMessageOperator(
        task_id="send",
        data=write_order(),
        message_to="{{ params.route }}",
        message_expires_after=3600,
    )
    # [END send]
    # [START wait]
    wait = NextMessageSensor(task_id="wait", conn_id=CONN_ID, reader="circle", poke_interval=2, timeout=300)
    # [END wait]
    # [START download]
    store = DownloadAttachmentsOperator(
        task_id="store", conn_id=CONN_ID, messages=wait.output, path="{{ params.storage }}/received"
    )
    # [END download]
    # [START mark]
    mark = MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=wait.output, reader="circle")
    # [END mark]
    send >> wait >> store >> mark


go_integrate_circle()
