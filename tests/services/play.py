"""Drives flows and auth flows over canned answers, as the transports do over real ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from airflow_messaging.exceptions import InvalidInput, MessagingError, ProtocolError
from airflow_messaging.services.base import AuthFlow, Call, Exclusive, Flow, Service
from airflow_messaging.services.http import JsonBody, Request, Response

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = datetime(2024, 10, 28, 20, 18, 3, tzinfo=UTC)


class SetClock:
    """A clock that shows what the test says."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


# -- answers --------------------------------------------------------------------------------------------------------


def sample(name: str) -> str:
    """One of the documents' own samples, without the line break that ends the file.

    SendHub's page indents with no-break spaces, which JSON does not know: they are the page's, not the service's.
    """
    return (SAMPLES / name).read_text(encoding="utf-8").removesuffix("\n").replace("\u00a0", " ")


def answer(body: Any = b"", status: int = 200, **headers: str) -> Response:
    """An answer; anything but bytes and text is written as JSON."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return Response(status=status, headers=tuple((k.replace("_", "-"), v) for k, v in headers.items()), body=raw)


def head(text: str, body: bytes = b"") -> Response:
    """An answer from a response head that lost its line breaks, as the documents' samples did."""
    status = int(text.split()[1])
    parts = re.split(r" (?=[A-Za-z-]+: )", text)
    return Response(status=status, headers=tuple(tuple(part.split(": ", 1)) for part in parts[1:]), body=body)


# -- flows ----------------------------------------------------------------------------------------------------------


class Played(NamedTuple):
    """What a flow returned, and the calls that it made."""

    result: Any
    calls: list[Call[Any]]


def run_flow(
    flow: Flow[Any], answers: Iterable[Any] | Callable[[Call[Any]], Any] = (), service: Service | None = None
) -> Played:
    """Feed a flow: a ``Response`` is read by ``service``, an error is raised in the flow, all else is a result.

    ``answers`` come in order and must be used up; a function is asked for the answer to each call.
    """
    left = [] if callable(answers) else list(answers)
    calls: list[Call[Any]] = []
    try:
        call = next(flow)
        while True:
            calls.append(call)
            assert left or callable(answers), f"no answer is left for {call.request}"
            result = answers(call) if callable(answers) else left.pop(0)
            if isinstance(result, Response):
                assert service is not None, "only a service can read a response"
                try:
                    result = service.result(call, result)
                except MessagingError as error:
                    result = error
            call = flow.throw(result) if isinstance(result, Exception) else flow.send(result)
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

    def deliver(self, response: Response | None) -> None:
        """Answer the request that was sent last; None where no answer came."""
        assert not self.waits_for_lock
        if response is not None:
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


def run_auth(service: Service, request: Request, responses: Iterable[Response | None]) -> list[Request]:
    """Run an auth flow to its end and return what it sent. The responses must be used up."""
    exchange = Exchange(service, request)
    left = list(responses)
    while not exchange.over:
        if exchange.waits_for_lock:
            exchange.enter_lock()
        else:
            assert left, f"no answer is left for {exchange.sent[-1]}"
            exchange.deliver(left.pop(0))
    assert not left, f"{len(left)} answers were not asked for"
    return exchange.sent


# -- what is asserted again and again -------------------------------------------------------------------------------


def body_of(call: Call[Any]) -> Any:
    assert isinstance(call.request.body, JsonBody)
    return call.request.body.value


def refused(field: str, make: Callable[[], Any], *secret: str) -> InvalidInput:
    """`make` refuses `field`, and the error shows none of the secret texts."""
    with pytest.raises(InvalidInput) as caught:
        make()
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: got ")
    for text in secret:
        assert text not in str(caught.value)
    return caught.value


def unreadable(service: Service, call: Call[Any], response: Response) -> str:
    with pytest.raises(ProtocolError) as caught:
        service.result(call, response)
    return str(caught.value)


# -- what strangers may answer --------------------------------------------------------------------------------------


def hostile_json(*fields: str) -> st.SearchStrategy[Any]:
    """JSON of any shape, with the vendor's own field names in it so that it gets deep into the parsers."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=8)
        | st.sampled_from(
            ["0:00:30", "9" * 400, "2024-10-28 20:18:03", "0001-01-01T00:00:00+23:59", "unsent", "message-in"]
        )
    )
    names = st.sampled_from(fields)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6), max_leaves=20
    )


def hostile_responses(*fields: str) -> st.SearchStrategy[Response]:
    """Good and bad statuses, odd headers, and bodies that are garbage, hostile JSON, or cut off in the middle."""
    whole = hostile_json(*fields).map(lambda value: json.dumps(value).encode())
    cut = st.tuples(whole | st.binary(max_size=60), st.integers(0, 60)).map(lambda pair: pair[0][: pair[1]])
    names = ["Content-Type", "Content-Length", "Retry-After", "Date", "error", "request-id", "Message-Link"]
    values = st.text(max_size=12) | st.sampled_from(
        ["²", "9" * 400, "-1", "code=1; message=x", "Thu, 99 Foo 20 25:61:61 +9"]
    )
    headers = st.lists(st.tuples(st.sampled_from([*names, "Message-File-Name"]), values), max_size=3).map(tuple)
    status = st.just(200) | st.sampled_from([200, 201, 204, 302, 400, 401, 404, 420, 422, 429, 500, 503])
    return st.builds(Response, status=status, headers=headers, body=whole | cut, complete=st.booleans())


def survives(service: Service, call: Call[Any], response: Response) -> None:
    """Whatever came, only typed errors escape."""
    try:
        service.result(call, response)
    except MessagingError as error:
        assert str(error)
