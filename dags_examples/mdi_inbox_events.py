"""MDI g8teway, driven by messages.

Nobody starts this DAG: messages from vehicle units do. The watcher runs in the triggerer, and what comes together makes
one run. A message is acknowledged once Airflow has stored it, so nothing is lost whatever is killed. Needs Airflow 3.3.
"""

from datetime import datetime
from typing import Any

from airflow.sdk import dag, get_current_context, task

from airflow_messaging.assets import inbox_asset, messages_from

# [START asset]
from_units = inbox_asset("mdi_inbox", conn_id="mdi_default", poke_interval=2)
# [END asset]


@dag(
    schedule=[from_units],
    start_date=datetime(2026, 1, 1),
    tags=["messaging", "mdi"],
    doc_md=__doc__,
)
def mdi_inbox_events():
    # [START task]
    @task
    def sort_by_unit() -> dict[str, list[str]]:
        by_unit: dict[str, list[str]] = {}
        message: dict[str, Any]
        for message in messages_from(get_current_context()):
            by_unit.setdefault(message["sender"], []).append(message["id"])
        return by_unit

    # [END task]
    sort_by_unit()


mdi_inbox_events()
