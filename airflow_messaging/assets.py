"""Event-driven DAGs: an asset that stands for an inbox, and the messages that a DAG run was triggered by."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetWatcher

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

FAIL = "fail"
LEAVE_OUT = "leave_out"

MOST_REMEMBERED = 1000
"""Messages that a DAG remembers to have had. Those that come twice follow each other within minutes."""


def inbox_asset(name: str, *, conn_id: str, reader: str | None = None, **options: Any) -> Asset:
    """Return an asset that stands for a connection's inbox: each message that comes is an asset event.

    ::

        orders = inbox_asset("orders", conn_id="sendhub_default")

        @dag(schedule=[orders])
        def order(): ...

    **Delivery**: that of :class:`~airflow_messaging.triggers.inbox.InboxTrigger`.

    :param name: Name of the asset.
    :param conn_id: A connection of any of the five types.
    :param reader: Name under which the watcher keeps its place. Default: the asset's name.
    :param options: Further arguments of ``InboxTrigger``.
    :return: The asset, with its watcher.
    :raises InvalidInput: If an argument cannot be used.
    """
    from airflow_messaging.triggers.inbox import InboxTrigger

    trigger = InboxTrigger(conn_id=conn_id, reader=name if reader is None else reader, asset=name, **options)
    return Asset(name, watchers=[AssetWatcher(name=f"{name} inbox", trigger=trigger)])


def messages_from(context: Context, *, on_gone: str = FAIL) -> list[dict[str, Any]]:
    """Return the messages that this DAG run was triggered by, oldest event first.

    What did not travel in the events is read from the spool or fetched from the service.

    **Delivery**: a message that comes twice is given to one run of the DAG only, the first that asks; to that run it is
    given again when a task is retried or cleared. Runs that ask at the very same moment may both get it. The list is
    empty where the run was only there to make sure that nothing is left behind.

    :param context: The task's context.
    :param on_gone: What to do with a message that did not travel and is not there any more: ``"fail"`` (default), so
        that somebody sees to it, or ``"leave_out"``, with an error in the log, so that the others can be dealt with.
    :return: The JSON of the messages.
    :raises MessageGone: If a message is not there any more.
    :raises InvalidInput: If a message is not in the spool any more, or ``on_gone`` is something else.
    """
    from airflow_messaging import readers
    from airflow_messaging.services.base import require

    require(on_gone in (FAIL, LEAVE_OUT), "on_gone", on_gone, f"'{FAIL}' or '{LEAVE_OUT}'")
    packed = {key: item for payload in _payloads(context) for key, item in _with_identities(payload)}
    if not packed:
        return []
    run = context["dag_run"]
    name = f"airflow_messaging.handled.{run.dag_id}"
    handled: dict[str, str] = readers.load_variable(name) or {}
    mine = {key: item for key, item in packed.items() if handled.get(key, run.run_id) == run.run_id}
    if any(key not in handled for key in mine):
        remembered = {**handled, **dict.fromkeys(mine, run.run_id)}
        newest = dict(list(remembered.items())[-MOST_REMEMBERED:])
        readers.save_variable(name, newest, f"Which run of {run.dag_id} had which message")
    return list(_unpacked_of(mine.values(), on_gone))


def _payloads(context: Context) -> Iterator[Mapping[str, Any]]:
    triggering: Mapping[Any, Any] = context["triggering_asset_events"]
    events = [event for events in triggering.values() for event in events]
    for event in sorted(events, key=lambda event: event.timestamp):
        payload = (event.extra or {}).get("payload")
        if isinstance(payload, Mapping) and {"service", "conn_id", "account", "messages"} <= payload.keys():
            yield payload


def _with_identities(payload: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    for item in payload["messages"]:
        identity = "\n".join([payload["service"], payload["account"], item["id"]])
        yield hashlib.sha256(identity.encode()).hexdigest()[:24], (payload["conn_id"], item)


def _unpacked_of(messages: Iterable[tuple[str, dict[str, Any]]], on_gone: str) -> Iterator[dict[str, Any]]:
    from airflow_messaging.exceptions import MessageGone, MessagingError

    for conn_id, item in messages:
        try:
            yield _unpacked(conn_id, item)
        except MessagingError as error:
            # A storage that only does not answer now has not lost anything.
            is_gone = isinstance(error, MessageGone) or isinstance(error.__context__, FileNotFoundError)
            if on_gone == FAIL or not is_gone:
                raise
            log.error("Message %s is left out: %s", item["id"], error)


def _unpacked(conn_id: str, item: dict[str, Any]) -> dict[str, Any]:
    from airflow_messaging.hooks.registry import hook_for
    from airflow_messaging.triggers.carrying import is_whole, unpack

    if is_whole(item):
        return item
    with hook_for(conn_id) as hook:
        return unpack([item], hook)[0]
