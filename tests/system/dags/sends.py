"""One message through each service."""

from datetime import datetime, timedelta

from airflow.sdk import dag

from airflow_messaging.operators.messages import SendMessageOperator

TO = {
    "go_integrate": "9d2e@b7f05c38",
    "liquidfiles": "robin@peer.example",
    "mdi": "17",
    "serwersms": "+48500600700",
    "sendhub": "1111",
}


@dag(schedule=None, start_date=datetime(2026, 1, 1), default_args={"retries": 1, "retry_delay": timedelta(seconds=1)})
def sends():
    for service, to in TO.items():
        SendMessageOperator(
            task_id=service,
            conn_id=f"{service}_default",
            to=to,
            text="This goes out once.",
            options={"channelid": 11} if service == "mdi" else None,
        )


sends()
