"""Two tasks whose retries the policy decides about; Airflow's own pause would be ten minutes."""

from datetime import datetime, timedelta

from airflow.sdk import dag

from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.policies import MessagingRetryPolicy


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10), "retry_policy": MessagingRetryPolicy()},
)
def retrying():
    SendMessageOperator(task_id="limited", conn_id="sendhub_default", to="1111", text="Slowly.")
    SendMessageOperator(task_id="refused", conn_id="serwersms_default", to="+48500600700", text="No.")


retrying()
