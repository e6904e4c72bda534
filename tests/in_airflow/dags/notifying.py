"""Callbacks of tasks and of the DAG."""

from datetime import datetime, timedelta

from airflow.sdk import DAG, task

from airflow_messaging.notifications.messages import send_message_notification

tell = send_message_notification(conn_id="sendhub_default", to=["1111"])
cannot_tell = send_message_notification(
    conn_id="sendhub_default", to="no contact of ours", text="Kanarienvogel singt um 7"
)

with DAG(
    "notifying",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    on_failure_callback=tell,
    default_args={"on_failure_callback": tell, "on_retry_callback": tell, "on_success_callback": [tell]},
):

    @task(retries=1, retry_delay=timedelta(0))
    def fails():
        raise ValueError("password=hunter2")

    @task
    def succeeds(number):
        return number

    @task(on_failure_callback=cannot_tell)
    def fails_and_cannot_tell():
        raise ValueError("password=hunter2")

    fails()
    succeeds.expand(number=[1, 2])
    fails_and_cannot_tell()
