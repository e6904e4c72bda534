"""From a connection id to its hook: the connection's type picks it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.hooks.base import MessagingHook


def hook_class(conn_type: str | None) -> type[MessagingHook[Any]]:
    """Return the hook class of a connection type.

    :raises InvalidInput: If it is not one of this provider's types.
    """
    if conn_type not in CONNECTION_TYPES:
        raise InvalidInput("connection type", conn_type, f"one of {', '.join(CONNECTION_TYPES)}")
    module, _, name = CONNECTION_TYPES[conn_type].hook.rpartition(".")
    found: type[MessagingHook[Any]] = getattr(import_module(module), name)
    return found


def hook_for(conn_id: str) -> MessagingHook[Any]:
    """Return the hook for a connection, in a worker.

    :param conn_id: A connection of any of this provider's types.
    :raises InvalidInput: If the connection has another type.
    """
    return with_connection(conn_id, BaseHook.get_connection(conn_id))


async def async_hook_for(conn_id: str) -> MessagingHook[Any]:
    """Return the hook for a connection, on an event loop; use it with ``async with``.

    :param conn_id: A connection of any of this provider's types.
    :raises InvalidInput: If the connection has another type.
    """
    from airflow.providers.common.compat.connection import get_async_connection

    return with_connection(conn_id, await get_async_connection(conn_id))


def with_connection(conn_id: str, connection: Any) -> MessagingHook[Any]:
    """Return the hook for a connection that has been looked up already.

    :param conn_id: Its id.
    :param connection: Airflow's connection.
    :raises InvalidInput: If it is not one of this provider's types.
    """
    hook = hook_class(connection.conn_type)(conn_id)
    hook.connection = connection
    return hook
