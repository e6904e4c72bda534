"""Tasks that fail after they have sent, or without knowing whether they have."""

from datetime import datetime, timedelta

from airflow.sdk import dag

from airflow_messaging.operators.messages import SendMessageOperator


def fail_the_first_time(context, result=None):
    if context["ti"].try_number == 1:
        raise RuntimeError("after the message was sent")


@dag(schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 2, "retry_delay": timedelta(0)})
def sending_once():
    SendMessageOperator(
        task_id="sent", conn_id="sendhub_default", to="1111", text="Once.", post_execute=fail_the_first_time
    )
    SendMessageOperator(task_id="unknown", conn_id="go_integrate_default", to="9d2e@b7f05c38", text="Once.")


sending_once()
