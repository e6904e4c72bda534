"""Named readers: how far a DAG has come in an inbox, kept between its runs in an Airflow Variable.

Where Airflow has a Fernet key, a variable is encrypted at rest. It is readable from every worker, and visible to people
who look for it.
"""

from __future__ import annotations

import logging
import re
from datetime import datetime, timedelta
from typing import Any

from airflow_messaging.exceptions import InvalidInput, MessagingError
from airflow_messaging.services.receiving import Cursor

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_PROBE = "airflow_messaging.probe"

LONG_HELD_UP = timedelta(days=1)
MANY_REMEMBERED = 1000


def variable_name(conn_id: str, reader: str) -> str:
    """Return the name of the variable that holds the cursor of a sensor's reader.

    :param conn_id: The connection whose inbox is read.
    :param reader: The reader's name: letters, digits, ``_``, ``.`` and ``-``.
    :raises InvalidInput: If the name has other characters.
    """
    return f"airflow_messaging.reader.{place_of(conn_id, reader)}"


def place_of(conn_id: str, reader: str) -> str:
    """Return what no other reader of any connection has in the names of its variables.

    :param conn_id: The connection whose inbox is read.
    :param reader: The reader's name: letters, digits, ``_``, ``.`` and ``-``.
    :raises InvalidInput: If the name has other characters.
    """
    if not isinstance(reader, str) or not _NAME.fullmatch(reader):
        raise InvalidInput("reader", reader, "up to 100 letters, digits, '_', '.' or '-'")
    # A connection's name may have a colon, a reader's may not: the last one always separates them. What follows a '#'
    # would get lost in the address under which Airflow's workers ask for a variable.
    return f"{conn_id.replace('#', '%23')}:{reader}"


def load(conn_id: str, reader: str) -> Cursor | None:
    """Return a reader's cursor, or None if it has none yet.

    :raises MessagingError: If Airflow's variables cannot be read now.
    """
    stored = load_variable(variable_name(conn_id, reader))
    return None if stored is None else Cursor.from_dict(stored)


def load_variable(name: str) -> Any:
    """Return a variable's JSON, or None if it surely does not exist.

    :raises MessagingError: If Airflow's variables cannot be read now.
    """
    from airflow.sdk import Variable

    stored: Any = Variable.get(name, default=None, deserialize_json=True)
    if stored is not None:
        return stored
    # Airflow says "not found" also when its API server does not answer. Believing that would set a reader back.
    if Variable.get(_PROBE, default=None) is None:
        Variable.set(_PROBE, "1", description="Tells a variable that does not exist from one that cannot be read")
        if Variable.get(_PROBE, default=None) is None:
            raise MessagingError("Airflow's variables cannot be read now")
    return Variable.get(name, default=None, deserialize_json=True)


def save(conn_id: str, reader: str, cursor: Cursor) -> None:
    """Store a reader's cursor."""
    description = f"How far the reader '{reader}' of the connection '{conn_id}' has come"
    save_variable(variable_name(conn_id, reader), cursor.to_dict(), description)


def warn_if_held_up(reader: str, cursor: Cursor, now: datetime) -> None:
    """Warn of a message that keeps a reader from moving on, so that it asks for more, and remembers more, each day.

    :param reader: The reader's name.
    :param cursor: Where it stands.
    :param now: The present.
    """
    start = cursor.window_start
    if start is not None and now - start > LONG_HELD_UP and len(cursor.seen) > MANY_REMEMBERED:
        log.warning(
            "the reader '%s' is held up by a message from about %s that was never marked read: each time it asks for "
            "all that has come since, and it remembers %d messages",
            reader,
            start.isoformat(),
            len(cursor.seen),
        )


def save_variable(name: str, value: Any, description: str) -> None:
    """Store a variable's JSON."""
    from airflow.sdk import Variable

    Variable.set(name, value, description=description, serialize_json=True)
