"""One aiohttp session for all accounts of an event loop: its connections are kept apart by host, and it has no cookies.

A session of its own for each account would cost three times the memory of the account's long poll.
"""

from __future__ import annotations

import asyncio
import dataclasses
import weakref

import aiohttp

from airflow_messaging.transport.options import shared_tls_context


@dataclasses.dataclass(slots=True)
class _Lent:
    session: aiohttp.ClientSession
    users: int = 0


_lent: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, _Lent]] = weakref.WeakKeyDictionary()


async def borrow(ca_file: str | None) -> aiohttp.ClientSession:
    """Return the session for these CA certificates; :func:`give_back` must follow.

    :param ca_file: File or directory of the certificates to trust. Default: the system's.
    :raises InvalidInput: If they cannot be read.
    """
    context = await asyncio.to_thread(shared_tls_context, ca_file)
    sessions = _lent.setdefault(asyncio.get_running_loop(), {})
    if ca_file not in sessions:
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
        )
        # Else aiohttp sends reads twice by itself, at once; whether and when to repeat is decided in one place.
        session._retry_connection = False
        sessions[ca_file] = _Lent(session)
    sessions[ca_file].users += 1
    return sessions[ca_file].session


async def give_back(ca_file: str | None) -> None:
    """Say that one user needs the session no more; the last one closes it."""
    sessions = _lent[asyncio.get_running_loop()]
    sessions[ca_file].users -= 1
    if not sessions[ca_file].users:
        await sessions.pop(ca_file).session.close()
