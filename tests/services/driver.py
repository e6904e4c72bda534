"""Drives flows and auth flows over canned answers, as the transports do over real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.services.base import AuthFlow, Call, Exclusive, Flow, Service
from airflow_messaging.services.http import Request, Response

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = datetime(2024, 10, 24, 22, 51, 0, tzinfo=UTC)


def clock() -> datetime:
    return NOW


def sample(path: str) -> str:
    return (SAMPLES / path).read_text(encoding="utf-8")


def json_response(value: Any, status: int = 200) -> Response:
    headers = (("Content-Type", "application/json"),)
    return Response(status=status, headers=headers, body=json.dumps(value).encode())


def bodies(*names: str) -> st.SearchStrategy[bytes]:
    """Bodies of all sorts: bytes, and JSON whose objects use these field names."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    objects = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=4),
        max_leaves=12,
    )
    return st.binary(max_size=60) | objects.map(lambda value: json.dumps(value).encode())


class Played(NamedTuple):
    """What a flow returned, and the calls that it made."""

    result: Any
    calls: list[Call[Any]]


def run_flow(flow: Flow[Any], answers: Sequence[Any] = (), service: Service | None = None) -> Played:
    """Feed a flow: a ``Response`` is read by ``service``, an error is raised in the flow, all else is a result."""
    left = list(answers)
    calls: list[Call[Any]] = []
    try:
        call = next(flow)
        while True:
            calls.append(call)
            assert left, f"no answer is left for {call.request}"
            answer = left.pop(0)
            if isinstance(answer, Response) and service is not None:
                try:
                    answer = service.result(call, answer)
                except MessagingError as error:
                    answer = error
            call = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
    except StopIteration as end:
        assert not left, f"{len(left)} answers were not asked for"
        return Played(end.value, calls)


class Exchange:
    """An auth flow under way: one step per answer."""

    def __init__(self, service: Service, request: Request) -> None:
        self.service = service
        self.sent: list[Request] = []
        self.last: Response | None = None
        self.over = False
        self._flow: AuthFlow = service.auth_flow(request)
        self._step: Request | Exclusive = request
        self._take(lambda: next(self._flow))

    @property
    def waits_for_lock(self) -> bool:
        return isinstance(self._step, Exclusive)

    def enter_lock(self) -> None:
        """Get the lock: the exclusive request is sent unless it has become needless."""
        assert isinstance(self._step, Exclusive)
        exclusive, self._step = self._step, self._step.request
        if exclusive.needless():
            self._take(lambda: self._flow.send(None))
        else:
            self.sent.append(exclusive.request)

    def answer(self, response: Response) -> None:
        """Deliver an answer to the request that was sent last."""
        assert not self.waits_for_lock
        self.service.observe(response)
        self.last = response
        self._take(lambda: self._flow.send(response))

    def _take(self, advance: Callable[[], Request | Exclusive]) -> None:
        try:
            self._step = advance()
        except StopIteration:
            self.over = True
            return
        if isinstance(self._step, Request):
            self.sent.append(self._step)


def run_auth(service: Service, request: Request, responses: Sequence[Response]) -> list[Request]:
    """Run an auth flow to its end and return what it sent."""
    exchange = Exchange(service, request)
    left = list(responses)
    while not exchange.over:
        if exchange.waits_for_lock:
            exchange.enter_lock()
        else:
            exchange.answer(left.pop(0))
    assert not left, f"{len(left)} answers were not asked for"
    return exchange.sent
