"""Unique words go through circles and failures of all five services; none turns up in a log or an error."""

import asyncio
import base64
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.hooks.registry import async_hook_for, hook_for
from airflow_messaging.messages import Draft, upload_from_bytes
from airflow_messaging.notifications.messages import MessageNotifier
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor, poll
from airflow_messaging.transport.options import TransportOptions

TEXT = "Kanarienvogel singt um 7"
SUBJECT = "Betreff-Kanarienvogel"
SENDERS = {
    "go_integrate": None,
    "liquidfiles": "canary.sender@example.org",
    "mdi": "17",
    "serwersms": "+48600777888",
    "sendhub": "+16505557788",
}
RECIPIENTS = {
    "go_integrate": "peer_route",
    "liquidfiles": "recipient",
    "mdi": "unitid",
    "serwersms": "phone",
    "sendhub": "number",
}
WRONG = "Canary-wr0ng+Secret/9="
FAULTS: dict[str, dict[str, Any] | None] = {
    "nothing": None,
    "reset": {"reset": True},
    "reset after": {"reset": True, "when": "after"},
    "garbage": {"status": 200, "body": "<html>{text}</html>"},
    "rate limit": {"status": 429, "headers": {"Retry-After": "999"}},
    "truncated": {"truncate_at": 3},
    "redirect": {"status": 302, "headers": {"Location": "http://far.example.com/login?next=x"}},
    "words of the service": {
        "status": 400,
        "body": '{{"error": "unknown number {number}", "message": "unknown number {number}"}}',
    },
}


@pytest.fixture(params=list(CONNECTION_TYPES))
def conn_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """All that was logged at DEBUG by anybody, with the records' own fields."""
    levels = {name: logging.getLogger(name).level for name in ("urllib3", "aiohttp", "asyncio", "airflow_messaging")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)

    def logged() -> str:
        # The sandbox shares this process; what it logs is not ours.
        ours = [record for record in caplog.records if not record.name.startswith(("aiohttp.server", "aiohttp.access"))]
        # Notifiers log as Airflow does, past the standard library.
        notifiers = [line for line in capsys.readouterr().out.splitlines() if "MessageNotifier" in line]
        lines = (f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text}" for record in ours)
        return "\n".join([*lines, *notifiers])

    yield logged
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def forms(secret: str) -> set[str]:
    """The ways in which a text may be written on the wire."""
    raw = secret.encode()
    encoded = base64.b64encode(raw).decode()
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        encoded,
        encoded.rstrip("="),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(f"{secret}:x".encode()).decode(),
        raw.hex(),
    }


def exercise(
    conn_type: str, sandbox: RunningSandbox, *, on_loop: bool, errors: list[BaseException], shown: list[str]
) -> None:
    """Whatever a DAG does, in one circle; every error is kept, every result shown as a log would."""
    to = str(sandbox.credentials[conn_type][RECIPIENTS[conn_type]])
    options = {"channelid": 11} if conn_type == "mdi" else {}
    subject = SUBJECT if conn_type == "liquidfiles" else None
    files = (upload_from_bytes("Kanarienvogel.txt", TEXT.encode()),) if conn_type == "liquidfiles" else ()

    def works(hook: Any) -> Iterator[Any]:
        service = hook.service
        yield service.check()
        yield service.send(
            Draft(to=(to,), text=TEXT, subject=subject, attachments=files, message_id="id-1", options=options)
        )
        # What the service refuses, the client refuses or neither knows.
        yield service.send(Draft(to=("+48111222333",), text=TEXT, in_reply_to="9", message_id="id-2"))
        yield service.send(Draft(to=("+48111222333", TEXT), text=TEXT, subject=TEXT, message_id="id-3"))
        yield service.message("424242")
        yield poll(service, Cursor())
        yield service.status("424242")

    notifier = MessageNotifier(conn_id=f"{conn_type}_default", to=[to, "+48111222333"], text=TEXT, options=options)

    async def on_the_loop() -> None:
        hook = await async_hook_for(f"{conn_type}_default")
        async with hook:
            hook._async_transport.options = TransportOptions(attempts=1, read_timeout=2, max_wait=0)
            for work in works(hook):
                try:
                    shown.append(repr(await hook.arun(work)))
                except MessagingError as error:
                    errors.append(error)
        try:
            await notifier
        except MessagingError as error:
            errors.append(error)

    def in_a_worker() -> None:
        with hook_for(f"{conn_type}_default") as hook:
            hook.transport.options = TransportOptions(attempts=1, read_timeout=2, max_wait=0)
            for work in works(hook):
                try:
                    shown.append(repr(hook.run(work)))
                except MessagingError as error:
                    errors.append(error)
            shown.append(str(hook.test_connection()))
        try:
            notifier({})
        except MessagingError as error:
            errors.append(error)

    if on_loop:
        asyncio.run(on_the_loop())
    else:
        in_a_worker()


def as_a_log_shows_it(error: BaseException) -> str:
    """With all that it was raised from, whether or not a traceback would show that."""
    parts = [*traceback.format_exception(error), str(error), repr(error), repr(error.args), repr(vars(error))]
    for behind in (error.__cause__, error.__context__):
        if behind is not None:
            parts.append(as_a_log_shows_it(behind))
    return "\n".join(parts)


@pytest.mark.parametrize("on_loop", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("fault", ["wrong password", *FAULTS])
def test_no_canary_escapes(
    fault: str,
    on_loop: bool,
    conn_type: str,
    sandbox: RunningSandbox,
    connections: dict[str, dict[str, Any]],
    everything: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = dict(connections[f"{conn_type}_default"])
    if fault == "wrong password":
        connection["password"] = WRONG
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", json.dumps(connection))
    sandbox.inbound(conn_type, text=TEXT, sender=SENDERS[conn_type], subject=SUBJECT)
    if (planted := FAULTS.get(fault)) is not None:
        number = SENDERS["sendhub"]
        if "body" in planted:
            planted = {**planted, "body": planted["body"].format(text=TEXT, number=number)}
        sandbox.faults([{"service": conn_type, **planted}])
    errors: list[BaseException] = []
    shown: list[str] = []
    exercise(conn_type, sandbox, on_loop=on_loop, errors=errors, shown=shown)
    assert errors
    logged = everything()
    assert "MessageNotifier" in logged
    seen = "\n".join([logged, *shown, *(as_a_log_shows_it(error) for error in errors)])
    hidden = {TEXT, quote(TEXT), quote_plus(TEXT), json.dumps(TEXT)[1:-1], SUBJECT}
    hidden |= forms(connection["password"])
    phones = [SENDERS["serwersms"], SENDERS["sendhub"], "+48111222333", sandbox.credentials["sendhub"]["number"]]
    for phone in phones:
        hidden |= {str(phone), str(phone).lstrip("+"), quote(str(phone), safe="")}
    hidden |= {"canary.sender@example.org"}
    for canary in sorted(hidden):
        where = seen.find(canary)
        assert where < 0, f"{canary!r} in {seen[max(0, where - 300) : where + 100]!r}"
