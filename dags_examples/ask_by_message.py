"""Ask by message, and go on with the answer.

Asks a driver when they will arrive and takes the reply, which the service ties to the question. Then has a release
approved: by reply, or by a button among the required actions of Airflow's UI, whichever comes first. The release waits
for the yes.
"""

from datetime import datetime, timedelta

from airflow.sdk import Param, dag, task

from airflow_messaging.operators.approving import YES_WORDS, ApprovalByMessageOperator
from airflow_messaging.operators.asking import SendAndWaitForReplyOperator

QUESTION = "Shall version 7 go out? Answer yes or no."


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["messaging"],
    doc_md=__doc__,
    params={
        "unitid": Param(17, type="integer", description="Unit of the driver"),
        "channelid": Param(11, type="integer", description="Channel to send on"),
        "approver": Param("robin@peer.example", description="Who approves"),
    },
)
def ask_by_message():
    # [START ask]
    arrival = SendAndWaitForReplyOperator(
        task_id="arrival",
        conn_id="mdi_default",
        to="{{ params.unitid }}",
        text="When do you arrive at gate B?",
        options={"channelid": "{{ params.channelid }}"},
        response_timeout=timedelta(minutes=5),
        on_timeout="not known",
        poke_interval=2,
    )
    # [END ask]
    # [START approve]
    approval = ApprovalByMessageOperator(
        task_id="approval",
        conn_id="liquidfiles_default",
        to="{{ params.approver }}",
        subject="Release of version 7",
        text=QUESTION,
        code=True,
        # The sandbox's people answer by repeating what they were asked: here that means yes.
        yes_words=(*YES_WORDS, QUESTION),
        response_timeout=timedelta(minutes=5),
        poke_interval=2,
    )
    # [END approve]

    @task
    def release(decision: dict, arrival: dict) -> str:
        return f"approved by {decision['answered_by']}, to be loaded: {arrival['text']}"

    release(approval.output, arrival.output)


ask_by_message()
