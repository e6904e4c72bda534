"""SendHub, many messages from one task.

Makes a list of messages and sends them all, some at a time. If some are not sent, a retry sends these and no other.
"""

from datetime import datetime

from airflow.sdk import Param, dag, task

from airflow_messaging.operators.messages import SendMessagesOperator

CONN_ID = "sendhub_default"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["messaging"],
    doc_md=__doc__,
    params={"stops": Param(25, type="integer", description="How many customers are on the tour")},
)
def sendhub_many():
    # [START many]
    @task
    def announcements(stops: str) -> list[dict[str, str]]:
        return [
            {"to": f"+1650555{number:04}", "text": f"Your delivery is stop {number} of {stops} today."}
            for number in range(1, int(stops) + 1)
        ]

    SendMessagesOperator(
        task_id="send", conn_id=CONN_ID, messages=announcements("{{ params.stops }}"), concurrency=10, retries=2
    )
    # [END many]


sendhub_many()
