"""SerwerSMS.pl, one text for many people: as one task, and as a task for each.

One task sends in as few messages as the service allows, and has a result for everybody. A mapped task for each can be
looked at, retried and cleared alone, but each one takes a worker's place.
"""

from datetime import datetime

from airflow.sdk import Param, dag, task

from airflow_messaging.operators.messages import SendMessageOperator

CONN_ID = "serwersms_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["messaging"],
    doc_md=__doc__,
    params={
        "phones": Param(
            ["+48500600700", "+48500600701", "+48500600702"],
            type="array",
            items={"type": "string"},
            description="Who is told",
        )
    },
)
def serwersms_many_recipients():
    @task
    def on_call(params: dict) -> list[str]:
        return params["phones"]

    people = on_call()
    # [START split]
    SendMessageOperator(
        task_id="one_task",
        conn_id=CONN_ID,
        to=people,
        text="The nightly load has failed.",
        split_recipients=True,
    )
    # [END split]
    # [START mapped]
    SendMessageOperator.partial(
        task_id="a_task_each",
        conn_id=CONN_ID,
        text="The nightly load has failed.",
        max_active_tis_per_dagrun=4,
    ).expand(to=people)
    # [END mapped]


serwersms_many_recipients()
