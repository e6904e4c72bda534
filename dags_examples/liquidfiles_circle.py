"""LiquidFiles, the whole circle.

Sends a secure message with a file, waits in the triggerer for the answer, downloads its attachment through the one-time
URL, with its checksums verified, and moves the reader past it.
"""

from datetime import datetime

from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_messaging.operators.liquidfiles import LiquidFilesSendMessageOperator
from airflow_messaging.operators.messages import DownloadAttachmentsOperator, MarkMessagesReadOperator
from airflow_messaging.sensors.messages import NextMessageSensor

CONN_ID = "liquidfiles_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    tags=["messaging"],
    doc_md=__doc__,
    params={
        "recipient": Param("robin@peer.example", description="Address to send to"),
        "storage": Param("file:///tmp/airflow_messaging", description="Where files are kept"),
    },
)
def liquidfiles_circle():
    @task
    def write_contract(params: dict, run_id: str) -> str:
        folder = ObjectStoragePath(params["storage"]) / "contracts"
        folder.mkdir(parents=True, exist_ok=True)
        contract = folder / f"{run_id.replace(':', '-')}.txt"
        with contract.open("w") as file:
            file.write("The parties agree.\n")
        return str(contract)

    # [START send]
    send = LiquidFilesSendMessageOperator(
        task_id="send",
        recipients="{{ params.recipient }}",
        subject="Contract of {{ dag_run.run_after | ds }}",
        message="Please countersign.",
        attachments=[write_contract()],
    )
    # [END send]
    wait = NextMessageSensor(task_id="wait", conn_id=CONN_ID, reader="circle", poke_interval=2, timeout=300)
    download = DownloadAttachmentsOperator(
        task_id="download", conn_id=CONN_ID, messages=wait.output, path="{{ params.storage }}/countersigned"
    )
    mark = MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=wait.output, reader="circle")
    send >> wait >> download >> mark


liquidfiles_circle()
