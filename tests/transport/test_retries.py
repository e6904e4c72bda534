"""When a call is tried again, by either transport: nothing that may have been delivered is sent twice."""

import dataclasses
import io
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
import urllib3

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    DeliveryUnknown,
    ProtocolError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from airflow_messaging.messages import upload_from_bytes
from airflow_messaging.sandbox import RunningSandbox

from .conftest import MakeRunner
from .runners import Probe, Runner, go_integrate, mdi
from .servers import Answer, Server, free_port, serving

NOW = datetime(2024, 10, 28, 20, 18, 3, tzinfo=UTC)
ATTEMPTS = 4
LARGE = 24 * 1024 * 1024
"""More bytes than the buffers between two processes hold."""


def test_no_connection_is_tried_again_even_for_a_send(make: MakeRunner) -> None:
    for call in ("get", "post"):
        runner = make(probe := Probe(f"http://127.0.0.1:{free_port()}"))
        with pytest.raises(ConnectFailed) as caught:
            runner.run(getattr(probe, call)())
        assert len(runner.slept) == ATTEMPTS - 1
        assert str(caught.value).startswith(f"probe {call}: ")
        assert "127.0.0.1" not in str(caught.value)


def test_an_unknown_host_is_tried_again(make: MakeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    runner = make(probe := Probe("http://no.such.host.test"))
    with pytest.raises(ConnectFailed):
        runner.run(probe.post())
    assert len(runner.slept) == ATTEMPTS - 1


def test_a_connection_that_is_not_accepted_times_out(make: MakeRunner) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        runner = make(probe := Probe(f"http://127.0.0.1:{address[1]}"), connect_timeout=0.2, attempts=2)
        with pytest.raises(ConnectFailed):
            runner.run(probe.post())
        assert len(runner.slept) == 1
        for one in waiting:
            one.close()


@pytest.mark.parametrize("loss", [Answer(reset=True), Answer(hang_up=True), Answer(garbage=b"SSH-2.0-x\r\n\r\n")])
def test_a_lost_answer_to_a_read_is_asked_for_again(loss: Answer, server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [loss, loss, Answer(body=b"there")]
    assert runner.run(probe.get()) == b"there"
    assert (len(server.seen), len(runner.slept)) == (3, 2)
    server.answers = [loss]
    with pytest.raises(ConnectionLost):
        runner.run(probe.get())
    assert len(server.seen) == 3 + ATTEMPTS


@pytest.mark.parametrize(
    "loss",
    [
        Answer(reset=True),
        Answer(hang_up=True),
        Answer(garbage=b"SSH-2.0-x\r\n\r\n"),
        Answer(body=b"half", announce=8),
        Answer(delay_s=0.4),
    ],
)
def test_a_lost_answer_to_a_send_is_not_asked_for_again(
    loss: Answer, server: Server, make: MakeRunner, probe: Probe
) -> None:
    runner = make(probe, read_timeout=0.15)
    server.answers = [loss]
    with pytest.raises(DeliveryUnknown) as caught:
        runner.run(probe.post())
    assert caught.value.message_id == "id-7"
    assert "id-7" in str(caught.value)
    assert (len(server.seen), runner.slept) == (1, [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset_send_stands_once_in_the_journal(when: str, sandbox: RunningSandbox, make: MakeRunner) -> None:
    service = go_integrate(sandbox)
    runner = make(service)
    sandbox.faults([{"service": "go_integrate", "reset": True, "when": when}])
    send = service.send_message(
        data=upload_from_bytes("a.txt", b"a"),
        message_to=sandbox.credentials["go_integrate"]["peer_route"],
        message_id="order-66",
    )
    with pytest.raises(DeliveryUnknown, match="order-66"):
        runner.run(send)
    assert [record["path"] for record in sandbox.journal()] == ["/go-integrate/1/send-message"]
    assert len(sandbox.messages("go_integrate")["sent"]) == (1 if when == "after" else 0)
    with pytest.raises(ConnectionLost):
        runner.run(service.list_messages())
    assert len(sandbox.journal()) == 1 + ATTEMPTS


def test_a_file_that_was_cut_off_on_its_way_is_sent_again(sandbox: RunningSandbox, make: MakeRunner) -> None:
    """Most of it was never read, so nobody can have got the message."""
    service = go_integrate(sandbox)
    runner = make(service)
    sandbox.faults([{"service": "go_integrate", "reset": True, "when": "during", "times": 2}])
    send = service.send_message(
        data=upload_from_bytes("large.bin", bytes(LARGE)),
        message_to=sandbox.credentials["go_integrate"]["peer_route"],
        message_id="order-66",
    )
    runner.run(send)
    assert len(runner.slept) == 2
    assert [message["message_id"] for message in sandbox.messages("go_integrate")["sent"]] == ["order-66"]
    sandbox.faults([{"service": "go_integrate", "reset": True, "when": "during"}])
    with pytest.raises(ConnectionLost):
        runner.run(send)
    assert len(sandbox.messages("go_integrate")["sent"]) == 1


def test_a_file_whose_storage_fails_was_not_sent(sandbox: RunningSandbox, make: MakeRunner) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise RuntimeError("SlowDown")
            return super().read(size)

    upload = dataclasses.replace(upload_from_bytes("large.bin", bytes(LARGE)), open=lambda: Failing(bytes(LARGE)))
    service = go_integrate(sandbox)
    peer = sandbox.credentials["go_integrate"]["peer_route"]
    runner = make(service)
    with pytest.raises(ConnectionLost):
        runner.run(service.send_message(data=upload, message_to=peer, message_id="order-66"))
    assert len(runner.slept) == ATTEMPTS - 1
    assert sandbox.messages("go_integrate")["sent"] == []


def test_a_read_timeout_is_a_lost_answer(server: Server, make: MakeRunner, probe: Probe) -> None:
    server.answers = [Answer(delay_s=0.4), Answer(body=b"late")]
    assert make(probe, read_timeout=0.15).run(probe.get()) == b"late"
    assert len(server.seen) == 2


def test_a_held_request_may_take_longer_than_others(server: Server, make: MakeRunner, probe: Probe) -> None:
    server.answers = [Answer(delay_s=0.4, body=b"held")]
    call = probe.get()
    call = dataclasses.replace(call, request=dataclasses.replace(call.request, hold=5.0))
    assert make(probe, read_timeout=0.15).run(call) == b"held"
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", 7.0),
        ("0", None),
        (format_datetime(NOW + timedelta(seconds=9), usegmt=True), 9.0),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), None),
        ("soon", None),
        ("-5", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_rate_limit_is_waited_out(
    method: str, value: str | None, pause: float | None, server: Server, make: MakeRunner
) -> None:
    """A refused request was not carried out, so a send, too, may be repeated."""
    runner = make(probe := Probe(server.url))
    # A date counts by the service's clock: ours may be wrong.
    server.date = format_datetime(NOW, usegmt=True)
    headers = (("Retry-After", value),) if value is not None else ()
    server.answers = [Answer(429, headers), Answer(body=b"done")]
    assert runner.run(getattr(probe, method)()) == b"done"
    assert len(server.seen) == 2
    if pause is None:
        # Backoff with jitter, of which nobody but chance makes nothing.
        assert 0 < runner.slept[0] <= 10
    else:
        assert runner.slept == pytest.approx([pause], abs=0.1)


@pytest.mark.parametrize("value", ["31", "9" * 300, format_datetime(NOW + timedelta(days=1), usegmt=True)])
@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_beyond_the_bound_is_an_error_at_once(
    status: int, value: str, server: Server, make: MakeRunner
) -> None:
    runner = make(probe := Probe(server.url))
    server.date = format_datetime(NOW, usegmt=True)
    server.answers = [Answer(status, (("Retry-After", value),))]
    with pytest.raises(RateLimited) as caught:
        runner.run(probe.get())
    assert caught.value.retry_after
    assert caught.value.retry_after > 30
    assert (len(server.seen), runner.slept) == (1, [])


def test_a_rate_limit_ends_after_the_last_attempt(server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [Answer(429, (("Retry-After", "1"),))]
    with pytest.raises(RateLimited):
        runner.run(probe.post())
    assert (len(server.seen), runner.slept) == (ATTEMPTS, [1.0] * (ATTEMPTS - 1))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_tried_again_only_where_that_is_harmless(
    status: int, server: Server, runner: Runner, probe: Probe
) -> None:
    server.answers = [Answer(status), Answer(body=b"up")]
    assert runner.run(probe.get()) == b"up"
    server.answers = [Answer(status), Answer(body=b"up")]
    assert runner.run(probe.post(repeatable=True)) == b"up"
    server.seen.clear()
    server.answers = [Answer(status), Answer(body=b"up")]
    with pytest.raises(ServiceUnavailable):
        runner.run(probe.post())
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [420, 429, 503])
def test_who_asks_for_a_pause_is_a_rate_limit(status: int, server: Server, make: MakeRunner) -> None:
    runner = make(probe := Probe(server.url), attempts=2)
    server.answers = [Answer(status, (("Retry-After", "2"),))]
    with pytest.raises(RateLimited) as caught:
        runner.run(probe.get())
    assert (caught.value.status, caught.value.retry_after) == (status, 2.0)
    assert (len(server.seen), runner.slept) == (2, [2.0])


def test_an_overloaded_service_may_have_sent(server: Server, runner: Runner, probe: Probe) -> None:
    """Unlike 429, 503 does not say that nothing was done, so a send is not repeated."""
    server.answers = [Answer(503, (("Retry-After", "2"),)), Answer(body=b"done")]
    with pytest.raises(ServiceUnavailable):
        runner.run(probe.post())
    assert (len(server.seen), runner.slept) == (1, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_final(status: int, server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [Answer(status)]
    with pytest.raises(ServiceError) as caught:
        runner.run(probe.get())
    assert caught.value.status == status
    assert len(server.seen) == 1


def test_errors_carry_nothing_of_the_library(make: MakeRunner) -> None:
    """Its error knows the whole URL, and Airflow prints contexts and causes."""
    runner = make(probe := Probe(f"http://127.0.0.1:{free_port()}"), attempts=1)
    with pytest.raises(ConnectFailed) as caught:
        runner.run(probe.get())
    error: BaseException | None = caught.value
    while error is not None:
        assert not isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError)
        assert not type(error).__module__.startswith("aiohttp")
        error = error.__cause__ or error.__context__


def test_a_server_that_is_back_is_reached_on_a_new_connection(make: MakeRunner) -> None:
    """A kept connection that the server closed meanwhile is no reason for DeliveryUnknown."""
    with serving(Answer(headers=(("Connection", "close"),), body=b"1"), Answer(body=b"2")) as server:
        runner = make(probe := Probe(server.url))
        assert runner.run(probe.post()) == b"1"
        assert runner.run(probe.post()) == b"2"
        assert runner.slept == []


@pytest.mark.parametrize(
    ("fault", "error", "logins"),
    [
        ({"status": 503}, ServiceUnavailable, (1, ATTEMPTS)),
        ({"status": 429, "headers": {"Retry-After": "2"}}, RateLimited, (ATTEMPTS, ATTEMPTS)),
        ({"reset": True}, ConnectionLost, (ATTEMPTS, ATTEMPTS)),
        ({"status": 401}, AuthenticationFailed, (1, 1)),
        ({"status": 200, "body": "<html>"}, ProtocolError, (1, 1)),
    ],
)
def test_a_login_that_fails_is_told_as_such(
    fault: dict[str, object], error: type[Exception], logins: tuple[int, int], sandbox: RunningSandbox, make: MakeRunner
) -> None:
    """The call itself was not sent: nothing about it is unknown."""
    sandbox.faults([{"service": "mdi", "path": "/session", **fault}])
    for call, expected in zip(("create_message", "messages"), logins, strict=True):
        service = mdi(sandbox)
        arguments = {"unitid": 17, "channelid": 11, "content": "x"} if call == "create_message" else {}
        with pytest.raises(error):
            make(service).run(getattr(service, call)(**arguments))
        assert [record["path"] for record in sandbox.journal()] == ["/mdi/api/v2/session.json"] * expected
        # The journal only: the faults stay.
        sandbox._call("DELETE", "journal")


def test_a_login_that_works_at_last_carries_the_call(sandbox: RunningSandbox, make: MakeRunner) -> None:
    service = mdi(sandbox)
    sandbox.faults([{"service": "mdi", "path": "/session", "status": 503, "times": 2}])
    assert make(service).run(service.messages()) == []
