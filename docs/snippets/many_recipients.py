"""One text for many people: as one task, or as a task for each."""

from datetime import timedelta

from airflow.sdk import dag, task

from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.policies import MessagingRetryPolicy


@dag(schedule=None)
def many_recipients():
    @task
    def on_call() -> list[str]:
        return ["+48500600700", "+48500600701", "+48500600702"]

    people = on_call()
    # [START split]
    SendMessageOperator(
        task_id="one_task",
        conn_id="serwersms_default",
        to=people,
        text="The nightly load has failed.",
        split_recipients=True,
    )
    # [END split]
    # [START mapped]
    SendMessageOperator.partial(
        task_id="a_task_each",
        conn_id="serwersms_default",
        text="The nightly load has failed.",
        max_active_tis_per_dagrun=4,
    ).expand(to=people)
    # [END mapped]
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


many_recipients()
