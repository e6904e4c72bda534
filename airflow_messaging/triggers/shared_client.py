"""One client for all waits of this process on a connection; a connection that is changed meanwhile is taken up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, TypeVar

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.triggers.failures import as_messaging_error

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY_S = 300.0
"""So often the connection is looked up again while it is in use."""

FRESH_S = 30.0
"""Whoever comes so long after the last look may know of a change: their own first look was on a worker."""


class AccountChanged(MessagingError):
    """The connection leads to another account now."""


class LookUpFailed(MessagingError):
    """The connection cannot be looked up; Airflow says that it is not defined also when it cannot look."""


class SharedClient:
    """The one open hook of a connection.

    :param conn_id: The connection.
    """

    __slots__ = (
        "_account",
        "_changed",
        "_conn_id",
        "_doubted",
        "_hook",
        "_look_failed",
        "_looked_at",
        "_next",
        "_uses",
        "error",
        "outdated",
    )

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._hook: Any = None
        self._account: tuple[Any, ...] | None = None
        self._changed: asyncio.Event | None = None
        self._doubted = False
        self._look_failed = False
        self._looked_at = 0.0
        self._next: Any = None
        self._uses = 0
        self.error: MessagingError | None = None
        self.outdated = False

    async def open(self) -> Any:
        """Look the connection up and open its hook.

        :raises AccountChanged: If it leads to another account than before.
        :raises LookUpFailed: If Airflow cannot say where it leads.
        """
        try:
            hook, self._next = self._next or await self._look_up(), None
        except MessagingError:
            raise
        except Exception as error:
            raise LookUpFailed(str(as_messaging_error(error))) from None
        account = _account(hook)
        if self._account not in (None, account):
            await hook.__aexit__()
            raise AccountChanged(f"the connection '{self._conn_id}' leads to another account now")
        self._account = account
        self._hook = hook
        self._doubted = self.outdated = False
        self._tell()
        return hook

    async def unused(self) -> None:
        """Give the hook to nobody any more, and wait until the last one is done with it."""
        self._hook = None
        while self._uses:
            await self._change()

    async def close(self, hook: Any) -> None:
        """Close the hook."""
        self._hook = None
        await hook.__aexit__()

    async def use(self, action: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with the hook, once it is open and nobody doubts that it is the right one."""
        while self.error is None and (self._hook is None or self._doubted or self.outdated):
            await self._change()
        if self.error is not None:
            raise self.error
        self._uses += 1
        try:
            return await action(self._hook)
        finally:
            self._uses -= 1
            self._tell()

    def end(self, error: MessagingError) -> None:
        """Let every use fail from now on."""
        self.error = error
        self._tell()

    def doubt(self) -> bool:
        """Say whether the next look must not wait, because the last one is old and somebody has just come."""
        if self._hook is None or self._doubted or self._age() < FRESH_S:
            return False
        self._doubted = True
        return True

    @property
    def is_doubted(self) -> bool:
        """Whether the next look must not wait."""
        return self._doubted

    def next_look_in(self) -> float:
        """Return the seconds until the next look."""
        return 0.0 if self._doubted else max(0.0, LOOK_EVERY_S - self._age())

    async def look(self) -> None:
        """Look the connection up if it is time to, and note in ``outdated`` whether it has been changed."""
        if self.outdated or self.next_look_in() > 0:
            return
        try:
            found = await self._look_up()
            if _all_of(found) != _all_of(self._hook):
                self._next = found
                self.outdated = True
            self._look_failed = False
        except Exception as error:
            if not self._look_failed:
                log.warning(
                    "%s cannot be looked up now, all goes on as before: %s", self._conn_id, as_messaging_error(error)
                )
            self._look_failed = True
        self._doubted = False
        self._tell()

    async def _look_up(self) -> Any:
        self._looked_at = asyncio.get_running_loop().time()
        # The first import of the HTTP libraries takes a while: it must not hold up the event loop.
        registry = await asyncio.to_thread(import_module, "airflow_messaging.hooks.registry")
        hook = await registry.async_hook_for(self._conn_id)
        return await hook.__aenter__()

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._looked_at

    async def _change(self) -> None:
        self._changed = self._changed or asyncio.Event()
        await self._changed.wait()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _account(hook: Any) -> tuple[Any, ...]:
    settings = hook.settings
    return hook.service.name, settings.base_url, settings.login, settings.extra.get("client")


def _all_of(hook: Any) -> tuple[Any, ...]:
    return hook.service.name, hook.settings
