"""Try again when the service wants it, and not at all where that is no use."""

from datetime import timedelta

from airflow.sdk import dag

from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.policies import MessagingRetryPolicy


@dag(schedule=None)
def retry_policy():
    # [START policy]
    SendMessageOperator(
        task_id="patient",
        conn_id="sendhub_default",
        to="1111",
        text="The nightly load has failed.",
        retries=5,
        retry_delay=timedelta(minutes=2),
        retry_policy=MessagingRetryPolicy(),
    )
    # [END policy]


retry_policy()
