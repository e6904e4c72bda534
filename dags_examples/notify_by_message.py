"""Tell people by SMS what became of a task and of the whole run.

The load fails on its first try, on purpose, so that there is something to tell: that it will be tried again. When the
run has succeeded, its callback says so. Had the load failed for good, people would get the task, the try, the class of
the error and the link to the log.
"""

from datetime import datetime, timedelta

from airflow.sdk import Param, dag, get_current_context, task

from airflow_messaging.notifications.messages import send_message_notification

CONN_ID = "sendhub_default"

# [START notify]
tell = send_message_notification(conn_id=CONN_ID, to="{{ params.contact }}")
# [END notify]


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    tags=["messaging", "sendhub"],
    doc_md=__doc__,
    params={"contact": Param("1111", description="Contact or number to tell")},
    on_success_callback=send_message_notification(conn_id=CONN_ID, to="1111", text="{{ dag.dag_id }}: all is loaded."),
)
def notify_by_message():
    # [START task]
    @task(retries=1, retry_delay=timedelta(0), on_retry_callback=tell, on_failure_callback=tell)
    def load():
        if get_current_context()["ti"].try_number == 1:
            raise ConnectionError("the warehouse does not answer")

    # [END task]
    load()


notify_by_message()
