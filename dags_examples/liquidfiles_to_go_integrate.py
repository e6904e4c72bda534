"""From one service to another, with a report by SMS.

Asks a partner for a file by LiquidFiles, waits for the answer, carries each attachment on to a Go Integrate Me route,
one mapped task per file, reports by SMS, and only then moves the reader past the message: if anything fails, the next
run begins with it again.
"""

from datetime import datetime

from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_messaging.operators.go_integrate import GoIntegrateSendMessageOperator
from airflow_messaging.operators.liquidfiles import LiquidFilesSendMessageOperator
from airflow_messaging.operators.messages import DownloadAttachmentsOperator, MarkMessagesReadOperator
from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator
from airflow_messaging.sensors.messages import NextMessageSensor

CONN_ID = "liquidfiles_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    tags=["messaging"],
    doc_md=__doc__,
    params={
        "partner": Param("robin@peer.example", description="Who has the files"),
        "route": Param("9d2e@b7f05c38", description="Where the files go"),
        "phone": Param("+48500600700", description="Who is told"),
        "storage": Param("file:///tmp/airflow_messaging", description="Where files are kept"),
    },
)
def liquidfiles_to_go_integrate():
    @task
    def write_request(params: dict, run_id: str) -> str:
        folder = ObjectStoragePath(params["storage"]) / "requests"
        folder.mkdir(parents=True, exist_ok=True)
        request = folder / f"{run_id.replace(':', '-')}.txt"
        with request.open("w") as file:
            file.write("Please send the price list.\n")
        return str(request)

    ask = LiquidFilesSendMessageOperator(
        task_id="ask", recipients="{{ params.partner }}", subject="Price list", attachments=[write_request()]
    )
    wait = NextMessageSensor(
        task_id="wait",
        conn_id=CONN_ID,
        reader="carrier",
        sender="{{ params.partner }}",
        contains="Price list",
        poke_interval=2,
        timeout=300,
    )
    # [START carry]
    download = DownloadAttachmentsOperator(
        task_id="download", conn_id=CONN_ID, messages=wait.output, path="{{ params.storage }}/price_lists"
    )
    carry = GoIntegrateSendMessageOperator.partial(
        task_id="carry", message_to="{{ params.route }}", message_expires_after=3600
    ).expand(data=download.output.map(lambda file: file["path"]))
    # [END carry]
    # A message without files leaves nothing to carry: that is skipped, and these two are not.
    report = SerwerSmsSendMessageOperator(
        task_id="report",
        trigger_rule="none_failed",
        phone="{{ params.phone }}",
        text="{{ ti.xcom_pull(task_ids='download') | length }} file(s) carried on to {{ params.route }}.",
    )
    mark = MarkMessagesReadOperator(
        task_id="mark", trigger_rule="none_failed", conn_id=CONN_ID, messages=wait.output, reader="carrier"
    )
    ask >> wait >> download >> carry >> report >> mark


liquidfiles_to_go_integrate()
