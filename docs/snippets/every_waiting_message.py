"""Once an hour: one mapped task per waiting message, and only then are they marked read."""

from datetime import datetime

from airflow.sdk import dag, task

from airflow_messaging.operators.messages import ListMessagesOperator, MarkMessagesReadOperator

CONN_ID = "serwersms_default"


@dag(schedule="@hourly", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def every_waiting_message():
    # [START list]
    waiting = ListMessagesOperator(task_id="waiting", conn_id=CONN_ID, limit=50)

    @task
    def handle(message: dict) -> str:
        # A message may come twice: what is done here must bear that, for example with the id as a key.
        return f"{message['id']}: {len(message['text'] or '')} characters"

    handled = handle.expand(message=waiting.output)
    mark = MarkMessagesReadOperator(task_id="mark", conn_id=CONN_ID, messages=waiting.output)

    @task
    def handle_also(result: dict) -> int:
        # What marking handed out on top is marked by now, and nobody else will get it.
        return len(result["also_received"])

    handled >> mark
    handle_also(mark.output)
    # [END list]


every_waiting_message()
