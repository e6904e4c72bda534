"""One wait per service for the message that contains the word which the run was given."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_messaging.sensors.messages import NextMessageSensor

SERVICES = ("go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub")

with DAG("waits", schedule=None, catchup=False, params={"word": "none"}):
    for service in SERVICES:
        NextMessageSensor(
            task_id=service,
            conn_id=f"{service}_default",
            contains="{{ params.word }}",
            poke_interval=1,
            timeout=1800,
        )
