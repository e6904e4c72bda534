"""Polls an inbox with a cursor of one's own."""

import json
from pathlib import Path

from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.messages import Message
from airflow_messaging.services.receiving import Cursor


# [START poll]
def new_messages(conn_id: str, place: Path) -> list[Message]:
    """Return what has come since the last call, and remember it in the file `place`."""
    cursor = Cursor.from_dict(json.loads(place.read_text())) if place.exists() else Cursor()
    with hook_for(conn_id) as hook:
        batch = hook.poll(cursor, limit=100)
    # Deal with the messages here, before the next line: what fails in between comes again.
    place.write_text(json.dumps(batch.cursor.to_dict()))
    return batch.messages


# [END poll]
