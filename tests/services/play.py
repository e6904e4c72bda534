"""Drives the pure core without any transport: answers go in as data, requests come out as data."""

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from airflow_messaging.exceptions import InvalidInput, MessagingError, ProtocolError
from airflow_messaging.services.base import Call, Exclusive, Flow, Service
from airflow_messaging.services.http import JsonBody, Request, Response

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = datetime(2024, 10, 28, 20, 18, 3, tzinfo=UTC)


class SetClock:
    """A clock that shows what the test says."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


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


def run_flow(
    flow: Flow[Any], answers: Iterable[Any] | Callable[[Call[Any]], Any], calls: list[Any] | None = None
) -> Any:
    """Run a flow with the results of its calls; a result that is an error is raised inside the flow.

    `answers` must be used up. `calls` collects the calls.
    """
    left = None if callable(answers) else list(answers)
    result: Any = None
    while True:
        try:
            call = flow.throw(result) if isinstance(result, MessagingError) else flow.send(result)
        except StopIteration as end:
            assert not left, f"{len(left)} answers are left"
            return end.value
        if calls is not None:
            calls.append(call)
        if left is None:
            try:
                result = answers(call)  # type: ignore[operator]
            except MessagingError as error:
                result = error
        else:
            assert left, f"no answer is left for {call.endpoint}"
            result = left.pop(0)


def over_the_wire(service: Service, responses: Iterable[Response]) -> Callable[[Call[Any]], Any]:
    """Answers for `run_flow` that each call has to parse from a response."""
    left = iter(responses)
    return lambda call: service.result(call, next(left))


def run_auth(service: Service, request: Request, responses: Iterable[Response | None]) -> list[Request | Exclusive]:
    """What an auth flow sends, given the answers to it. The service observes each answer, as the transports do."""
    flow = service.auth_flow(request)
    sent = [next(flow)]
    for response in responses:
        if response is not None:
            service.observe(response)
        try:
            sent.append(flow.send(response))
        except StopIteration:
            break
    return sent


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


def hostile_json(*fields: str) -> st.SearchStrategy[Any]:
    """JSON of any shape, with the vendor's own field names in it so that it gets deep into the parsers."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.sampled_from(
            ["0:00:30", "9" * 400, "2024-10-28 20:18:03", "0001-01-01T00:00:00+23:59", "unsent", "message-in"]
        )
    )
    names = st.sampled_from(fields) | st.text(max_size=4)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6), max_leaves=12
    )


def hostile_responses(*fields: str) -> st.SearchStrategy[Response]:
    bodies = hostile_json(*fields).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
    cut = st.tuples(bodies, st.integers(0, 60)).map(lambda pair: pair[0][: pair[1]])
    names = ["Content-Type", "Content-Length", "Retry-After", "Date", "error", "request-id", "Message-Link"]
    values = st.text(max_size=12) | st.sampled_from(
        ["²", "9" * 400, "-1", "code=1; message=x", "Thu, 99 Foo 20 25:61:61 +9"]
    )
    headers = st.lists(st.tuples(st.sampled_from([*names, "Message-File-Name"]), values), max_size=3).map(tuple)
    status = st.sampled_from([200, 200, 200, 200, 204, 302, 400, 404, 420, 429, 503])
    return st.builds(Response, status=status, headers=headers, body=bodies | cut, complete=st.booleans())


def survives(service: Service, call: Call[Any], response: Response) -> None:
    """Whatever came, only typed errors escape."""
    try:
        service.result(call, response)
    except MessagingError as error:
        assert str(error)
