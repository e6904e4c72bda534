"""One DAG per service that each message in its inbox is to reach. The scheduler alone does its task: no worker."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_messaging.assets import inbox_asset

SERVICES = ("go_integrate", "mdi", "serwersms", "sendhub")

for service in SERVICES:
    name = f"inbox_{service}"
    with DAG(name, schedule=[inbox_asset(name, conn_id=f"{service}_default", poke_interval=1)], catchup=False):
        EmptyOperator(task_id="reached")
