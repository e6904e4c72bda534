"""What a watcher keeps in Airflow's Variables: how far it has come, and that the inbox is its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any, NamedTuple

from airflow_messaging import readers
from airflow_messaging.exceptions import MessagingError
from airflow_messaging.threads import in_thread

CLAIM_SETTLES_S = 2.0
"""Two watchers that claim an inbox at the same moment look again after so long: the later claim stands."""


class Places(NamedTuple):
    """The names of the Variables of a watcher.

    :param cursor: How far it has come.
    :param marked: What is marked read and not stored by Airflow yet.
    :param tail: Whether a burst is going on.
    """

    cursor: str
    marked: str
    tail: str


class Holder(NamedTuple):
    """The watcher that an inbox belongs to, or a reader's place in it.

    :param reader: The reader's name.
    :param conn_id: The connection.
    :param asset: The asset whose events it makes, where that is known.
    """

    reader: str
    conn_id: str
    asset: str | None


def places(conn_id: str, reader: str) -> Places:
    """Return the names of a watcher's Variables; no other watcher and no sensor has one of them.

    :param conn_id: The connection.
    :param reader: The reader's name.
    :raises InvalidInput: If the reader's name cannot be one.
    """
    own = readers.place_of(conn_id, reader)
    kinds = ("watch", "watch_marked", "watch_tail")
    return Places(*(f"airflow_messaging.{kind}.{own}" for kind in kinds))


def account_of(service: str, base_url: str, login: str) -> str:
    """Return what tells an account from others; not its name, which events would show.

    :param service: Connection type of the service.
    :param base_url: Root of its API.
    :param login: The account's name.
    """
    return hashlib.sha256(json.dumps([service, base_url, login]).encode()).hexdigest()[:16]


async def claim_inbox(service: str, account: str, claimant: Holder) -> None:
    """Make sure that no other watcher empties the same inbox: each would get only a part of its messages.

    :param service: Connection type of the service.
    :param account: What :func:`account_of` returned: two connections may lead to one inbox.
    :param claimant: The watcher that wants to have it.
    :raises MessagingError: If it is another's.
    """
    name = f"airflow_messaging.watcher.{service}.{account}"
    holder = await _holder(name, claimant, "The watcher that marks this account's messages read")
    if holder != claimant:
        raise MessagingError(
            f"the inbox of '{claimant.conn_id}' is watched by reader '{holder.reader}' (connection "
            f"'{holder.conn_id}', asset '{holder.asset}'), and what one watcher marks read comes to no "
            f"other: watch it once, or delete the variable {name} if that watcher is gone"
        )


async def claim_place(claimant: Holder) -> None:
    """Make sure that no other asset's watcher moves the same cursor: what one has had, the other would skip.

    :param claimant: The watcher that wants to have it.
    :raises MessagingError: If it is another's.
    """
    name = f"airflow_messaging.watcher.{readers.place_of(claimant.conn_id, claimant.reader)}"
    holder = await _holder(name, claimant, "The watcher that this reader's place belongs to")
    if holder != claimant:
        raise MessagingError(
            f"the place of reader '{claimant.reader}' in the inbox of '{claimant.conn_id}' belongs to the watcher of "
            f"asset '{holder.asset}': give each asset a reader of its own, or delete the variable {name} if that "
            "watcher is gone"
        )


async def _holder(name: str, claimant: Holder, description: str) -> Holder:
    stored = await load(name)
    if stored is None:
        await save(name, claimant._asdict(), description)
        await asyncio.sleep(CLAIM_SETTLES_S)
        stored = await load(name)
    kept = dict(stored or {})
    return Holder(kept.get("reader", ""), kept.get("conn_id", ""), kept.get("asset"))


async def load(name: str) -> Any:
    """Return a Variable's JSON, as :func:`airflow_messaging.readers.load_variable` does."""
    return await in_thread(readers.load_variable, name)


async def save(name: str, value: Any, description: str) -> None:
    """Store a Variable's JSON."""
    await in_thread(readers.save_variable, name, value, description)
