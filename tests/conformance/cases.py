"""What each service can do, and one driver for all of them.

A sixth service is tested by one more row in ``CASES``.
"""

import asyncio
import dataclasses
import time
from datetime import UTC, datetime
from typing import Any

from airflow_messaging.hooks.base import MessagingHook
from airflow_messaging.hooks.registry import async_hook_for, hook_for
from airflow_messaging.messages import Draft, Receipt, as_recipients, upload_from_bytes
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Batch, Cursor, poll, start

LONGEST_WAIT_S = 5.0
CANARY_TEXT = "Canary text: zażółć gęślą jaźń"
START = datetime(2020, 1, 1, tzinfo=UTC)


@dataclasses.dataclass(frozen=True)
class Case:
    """What one service can do, and whom to write to.

    :param to: The credential that names the sandbox's peer.
    :param received_files: Whether messages arrive with attachments.
    :param unsupported: Arguments of ``send`` that it cannot express.
    """

    service: str
    to: str
    unsupported: tuple[dict[str, Any], ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    received_files: bool = False
    has_status: bool = True
    reads: bool = False
    sent_id_is_received_id: bool = False


FILE = upload_from_bytes("a.txt", b"a")
TWO = ["one", "two"]
CASES = [
    Case(
        "go_integrate",
        to="peer_route",
        unsupported=(
            {"subject": "s"},
            {"in_reply_to": "1"},
            {"attachments": (FILE,)},
            {"text": None},
            {"to": TWO},
        ),
        received_files=True,
        has_status=False,
    ),
    Case("liquidfiles", to="recipient", unsupported=({"in_reply_to": "1"},), received_files=True, has_status=False),
    Case(
        "mdi",
        to="unitid",
        options={"channelid": 11},
        unsupported=({"subject": "s"}, {"attachments": (FILE,)}, {"to": TWO}),
    ),
    Case(
        "serwersms",
        to="phone",
        unsupported=({"subject": "s"}, {"attachments": (FILE,)}, {"in_reply_to": "1"}, {"to": TWO}),
        received_files=True,
        reads=True,
    ),
    Case(
        "sendhub",
        to="contact",
        unsupported=({"subject": "s"}, {"attachments": (FILE, FILE)}, {"in_reply_to": "1"}),
        received_files=True,
        reads=True,
    ),
]


class Driver:
    """One hook, used as a worker or as the triggerer uses it."""

    def __init__(self, case: Case, sandbox: RunningSandbox, *, on_loop: bool) -> None:
        self.case = case
        self.sandbox = sandbox
        self._loop = asyncio.Runner() if on_loop else None
        conn_id = f"{case.service}_default"
        self.hook: MessagingHook[Any]
        if self._loop is None:
            self.hook = hook_for(conn_id)
        else:

            async def enter() -> MessagingHook[Any]:
                hook = await async_hook_for(conn_id)
                return await hook.__aenter__()

            self.hook = self._loop.run(enter())

    def close(self) -> None:
        if self._loop is None:
            self.hook.close()
        else:
            self._loop.run(self.hook.__aexit__(None, None, None))
            self._loop.close()

    def run(self, work: Any) -> Any:
        return self.hook.run(work) if self._loop is None else self._loop.run(self.hook.arun(work))

    @property
    def peer(self) -> str:
        return str(self.sandbox.credentials[self.case.service][self.case.to])

    def send(self, **changed: Any) -> Receipt:
        arguments: dict[str, Any] = {
            "to": self.peer,
            "text": CANARY_TEXT,
            "message_id": "order-0001",
            "options": self.case.options,
            **changed,
        }
        draft = Draft(**{**arguments, "to": as_recipients(arguments["to"])})
        receipt: Receipt = self.run(self.hook.service.send(draft))
        return receipt

    def begin(self, after: Any, run_started: datetime = START) -> Cursor:
        cursor: Cursor = self.run(start(self.hook.service, after, run_started=run_started))
        return cursor

    def poll(self, cursor: Cursor, limit: int | None = None) -> Batch:
        batch: Batch = self.run(poll(self.hook.service, cursor, limit=limit))
        return batch

    def wait(self, cursor: Cursor) -> Batch:
        end = time.monotonic() + LONGEST_WAIT_S
        while time.monotonic() < end:
            batch = self.poll(cursor)
            if batch.messages:
                return batch
            time.sleep(0.05)
        raise AssertionError("nothing came")

    def inbound(self, text: str = "hello", **fields: Any) -> str:
        return self.sandbox.inbound(self.case.service, text=text, **fields)

    def journal(self) -> list[dict[str, Any]]:
        return self.sandbox.journal(self.case.service)
