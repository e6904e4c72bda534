"""The five hooks: which one a connection gets, what they do, and how they are used on an event loop and closed."""

import asyncio
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_messaging.exceptions import InvalidInput, MessagingError
from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.hooks.registry import async_hook_for, hook_class, hook_for
from airflow_messaging.sandbox import RunningSandbox

from .conftest import ASCII_SECRET, hook_of


def test_the_connections_type_picks_the_hook(conn_type: str, connections: dict[str, Any]) -> None:
    hook = hook_for(f"{conn_type}_default")
    row = CONNECTION_TYPES[conn_type]
    assert f"{type(hook).__module__}.{type(hook).__qualname__}" == row.hook
    assert (hook.conn_type, hook.hook_name, hook.default_conn_name) == (row.type, row.title, f"{conn_type}_default")
    assert type(asyncio.run(async_hook_for(f"{conn_type}_default"))) is type(hook)


def test_other_types_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", f"postgres://me:{quote(ASCII_SECRET, safe='')}@localhost/db")
    for look_up in (lambda: hook_for("elsewhere"), lambda: asyncio.run(async_hook_for("elsewhere"))):
        with pytest.raises(InvalidInput, match="postgres") as caught:
            look_up()
        assert "Canary" not in str(caught.value)
    with pytest.raises(InvalidInput):
        hook_class(None)


def test_a_connection_of_another_type_is_refused(connections: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="connection type: got 'sendhub', expected mdi"):
        hook_class("mdi")("sendhub_default").get_conn()


def test_use_that_would_block_an_event_loop_is_refused(conn_type: str, connections: dict[str, Any]) -> None:
    hook = hook_of(conn_type)

    async def misuse() -> None:
        for use in (hook.get_conn, lambda: hook.settings, lambda: hook.poll(), hook.test_connection):
            outcome: Any
            try:
                outcome = use()
            except MessagingError as error:
                assert "async with" in str(error)
            else:
                assert outcome[0] is False
                assert "async with" in outcome[1]

    asyncio.run(misuse())


def test_a_blocking_call_inside_async_with_is_refused(connections: dict[str, Any], sandbox: RunningSandbox) -> None:
    async def misuse() -> None:
        async with hook_of("sendhub") as hook:
            with pytest.raises(MessagingError, match="arun"):
                hook.run(hook.service.check())

    asyncio.run(misuse())
    assert sandbox.journal() == []


def test_async_use_needs_async_with(connections: dict[str, Any]) -> None:
    async def misuse() -> None:
        hook = hook_of("sendhub")
        with pytest.raises(MessagingError, match="async with"):
            await hook.arun(None)  # type: ignore[arg-type]

    asyncio.run(misuse())


def test_async_with_looks_up_once_and_closes(
    conn_type: str, connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.compat import connection as compat

    lookups: list[str] = []
    real = compat.get_async_connection

    async def counted(conn_id: str, *rest: Any) -> Any:
        lookups.append(conn_id)
        return await real(conn_id, *rest)

    monkeypatch.setattr(compat, "get_async_connection", counted)

    async def use() -> None:
        async with hook_of(conn_type) as hook:
            for _ in range(3):
                await hook.arun(hook.service.check())
            session = hook._async_transport._session
            assert not session.closed
        assert session.closed
        assert hook._async_transport is None
        with pytest.raises(MessagingError):
            await hook.arun(hook.service.check())
        hook = await async_hook_for(f"{conn_type}_default")
        async with hook:
            await hook.arun(hook.service.check())

    asyncio.run(use())
    assert lookups == [f"{conn_type}_default"] * 2


def test_async_with_does_not_block_the_loop(conn_type: str, connections: dict[str, Any]) -> None:
    """Threads that the loop started may be at work; the loop itself is not."""
    seen: list[str] = []

    async def use() -> None:
        hook = hook_of(conn_type)
        make_service = hook.make_service
        hook.make_service = lambda settings: (  # type: ignore[method-assign]
            seen.append(threading.current_thread().name),
            make_service(settings),
        )[1]
        async with hook:
            pass

    asyncio.run(use())
    assert seen
    assert "MainThread" not in seen


def test_with_closes(conn_type: str, connections: dict[str, Any]) -> None:
    with hook_of(conn_type) as hook:
        hook.run(hook.service.check())
        first = hook.transport
    hook.close()
    hook.run(hook.service.check())
    assert hook.transport is not first
    hook.close()


def test_verbs(connections: dict[str, Any], sandbox: RunningSandbox, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("content")
    with hook_for("go_integrate_default") as hook:
        receipt = hook.send(sandbox.credentials["go_integrate"]["peer_route"], attachments=[str(file)])
        assert len(receipt.id) == 36
        [sent] = sandbox.messages("go_integrate")["sent"]
        assert (sent["filename"], sent["message_id"]) == ("a.txt", receipt.id)
        with pytest.raises(InvalidInput):
            hook.send("x", attachments=[" "])
        with pytest.raises(InvalidInput):
            hook.send("x", attachments=[str(tmp_path / "missing")])
    with hook_for("serwersms_default") as hook:
        receipt = hook.send(sandbox.credentials["serwersms"]["phone"], "text")
        assert hook.status(receipt.id)
        sandbox.inbound("serwersms", text="x")
        [message] = hook.poll().messages
        assert hook.message(message.id) == message
        assert hook.mark_read([message]) == []
        assert hook.poll().messages == []
        assert hook.download_attachments(message, str(tmp_path), max_bytes=1) == []


def test_all_documented_arguments_of_mdi_messages_are_taken(connections: dict[str, Any]) -> None:
    with hook_for("mdi_default") as hook:
        narrowing = {
            "status": 0,
            "timedout": True,
            "unitids": [17],
            "date_from": "2024-10-28T00:00:00Z",
            "date_to": "2024-10-29T00:00:00Z",
            "userids": [1],
            "direction": "unittouser",
            "messageids": [1],
            "replyto": [1],
            "channelids": [11],
            "id_min": 1,
            "id_max": 2,
        }
        for name in narrowing:
            assert name in (hook.messages.__doc__ or "")  # type: ignore[attr-defined]
        assert "``ret``" not in hook.messages.__doc__  # type: ignore[attr-defined]
        assert hook.messages(**narrowing) == []  # type: ignore[attr-defined]
