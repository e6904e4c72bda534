"""A sandbox inside the current process, for tests and demonstrations."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_messaging.sandbox.app import Sandbox, start
from airflow_messaging.sandbox.connections import connections
from airflow_messaging.sandbox.world import World

_TIMEOUT_S = 30


class ControlError(Exception):
    """A control route has refused; the text is its answer."""


@dataclass(frozen=True)
class RunningSandbox:
    """Handle of a sandbox, also of one in another process: it only speaks HTTP."""

    url: str

    @cached_property
    def credentials(self) -> dict[str, dict[str, Any]]:
        """The seeded credentials by connection type."""
        found: dict[str, dict[str, Any]] = self._call("GET", "credentials")
        return found

    @property
    def connections(self) -> dict[str, dict[str, Any]]:
        """The Airflow connections which reach this sandbox, by id."""
        return connections(self.url)

    def reset(self) -> None:
        """Go back to the seeded state."""
        self._call("POST", "reset")

    def inbound(self, service: str, **fields: Any) -> str:
        """Let a message arrive and return its id; an attachment may have `content` bytes instead of base64."""
        if "attachments" in fields:
            fields["attachments"] = [_encoded(attachment) for attachment in fields["attachments"]]
        return str(self._call("POST", f"inbound/{quote(service)}", fields)["id"])

    def messages(self, service: str) -> dict[str, list[dict[str, Any]]]:
        """Return what was `sent` and what is `waiting`."""
        found: dict[str, list[dict[str, Any]]] = self._call("GET", f"messages?service={quote(service)}")[service]
        return found

    def journal(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return the requests received, oldest first."""
        found: list[dict[str, Any]] = self._call("GET", "journal" + (f"?service={quote(service)}" if service else ""))
        return found

    def faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Put these faults in force instead of all others."""
        self._call("PUT", "faults", list(faults))

    def clear_faults(self) -> None:
        """Let everything work again."""
        self._call("DELETE", "faults")

    def clock(self, offset_s: float, *, frozen: bool = False) -> None:
        """Move the sandbox's clock away from the machine's; frozen, it stands still."""
        self._call("PUT", "clock", {"offset_s": offset_s, "frozen": frozen})

    def expire_sessions(self) -> int:
        """End all login sessions and return how many there were."""
        return int(self._call("PUT", "sessions", {"expire": True})["expired"])

    def _call(self, method: str, path: str, document: Any = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/{path}", data, method=method)  # noqa: S310
        # Environments with a proxy would otherwise send loopback requests there.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(f"{error.code} {error.read().decode('utf-8', 'replace')}") from None


def _encoded(attachment: Mapping[str, Any]) -> dict[str, Any]:
    encoded = dict(attachment)
    if "content" in encoded:
        encoded["content_base64"] = base64.b64encode(encoded.pop("content")).decode()
    return encoded


@contextmanager
def running(
    port: int = 0, echo: bool = True, *, host: str = "127.0.0.1", hold_s: float = 50.0, echo_delay_s: float = 1.0
) -> Iterator[RunningSandbox]:
    """Run a sandbox on a thread of its own; port 0 means any that is free.

    `hold_s` is how long wait-next-message is held, `echo_delay_s` how long the seeded peers take to answer.
    """
    outcome: dict[str, Any] = {}
    started = threading.Event()

    async def run(spool_dir: Path) -> None:
        stop = asyncio.Event()
        try:
            sandbox = Sandbox(World(spool_dir, echo=echo, hold_s=hold_s, echo_delay_s=echo_delay_s))
            runner, url = await start(sandbox.application(), host, port)
            outcome.update(url=url, loop=asyncio.get_running_loop(), stop=stop)
        except BaseException as error:
            outcome["error"] = error
            return
        finally:
            started.set()
        await stop.wait()
        await runner.cleanup()

    with tempfile.TemporaryDirectory(prefix="airflow-messaging-") as spool_dir:
        thread = threading.Thread(target=lambda: asyncio.run(run(Path(spool_dir))), name="sandbox", daemon=True)
        thread.start()
        started.wait()
        if "error" in outcome:
            raise outcome["error"]
        try:
            yield RunningSandbox(outcome["url"])
        finally:
            outcome["loop"].call_soon_threadsafe(outcome["stop"].set)
            thread.join()
