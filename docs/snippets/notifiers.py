"""Tell people of failures, of missed deadlines, and of questions that wait for them."""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference, dag, task

# [START callbacks]
from airflow_messaging.notifications.messages import send_message_notification

tell = send_message_notification(conn_id="sendhub_default", to=["1111", "+16505551234"])
tell_all_is_well = send_message_notification(
    conn_id="liquidfiles_default",
    to="robin@peer.example",
    subject="{{ dag.dag_id }}",
    text="The run {{ run_id }} has succeeded.",
    options={"send_email": True},
)


@dag(schedule=None, default_args={"on_failure_callback": tell}, on_success_callback=tell_all_is_well)
def with_callbacks():
    @task
    def load(): ...

    load()


# [END callbacks]


@dag(
    schedule="@daily",
    # [START deadline]
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=2),
        callback=AsyncCallback(send_message_notification, kwargs={"conn_id": "sendhub_default", "to": "1111"}),
    ),
    # [END deadline]
)
def with_a_deadline():
    @task
    def load(): ...

    load()


@dag(schedule=None)
def with_a_question():
    # [START question]
    ApprovalOperator(task_id="approve", subject="Deploy release {{ params.release }}?", notifiers=[tell])
    # [END question]


with_callbacks()
with_a_deadline()
with_a_question()
