"""The five hooks: what they log, hide, close and refuse, and what Airflow learns of them."""

import asyncio
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import airflow
import jsonschema
import pytest

from airflow_messaging.exceptions import InvalidInput, MessagingError
from airflow_messaging.get_provider_info import CONNECTION_TYPES, DISTRIBUTION, extra_fields, get_provider_info
from airflow_messaging.hooks import base
from airflow_messaging.hooks.base import MessagingHook
from airflow_messaging.hooks.registry import async_hook_for, hook_class, hook_for
from airflow_messaging.sandbox import RunningSandbox

TYPES = tuple(CONNECTION_TYPES)
SECRET = 'Canary+s3cret/with=all & "signs" żó'
ASCII_SECRET = "Canary+s3cret/with=all&signs"


@pytest.fixture(params=TYPES)
def conn_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def hook_of(conn_type: str) -> MessagingHook[Any]:
    return hook_class(conn_type)()


def change(connections: dict[str, Any], conn_type: str, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    connection = {**connections[f"{conn_type}_default"], **fields}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", json.dumps(connection))


# -- test_connection ---


def test_a_good_connection_is_told_as_such(conn_type: str, connections: dict[str, Any]) -> None:
    ok, text = hook_of(conn_type).test_connection()
    assert ok, text
    assert CONNECTION_TYPES[conn_type].title in text


def test_a_wrong_secret_is_told_without_it(
    conn_type: str, connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(connections, conn_type, monkeypatch, password=ASCII_SECRET)
    ok, text = hook_of(conn_type).test_connection()
    assert not ok
    for form in (ASCII_SECRET, quote(ASCII_SECRET, safe=""), "Canary"):
        assert form not in text


def test_a_wrong_field_is_told_without_a_request(
    conn_type: str, connections: dict[str, Any], sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(connections, conn_type, monkeypatch, host="http://far.example.com", password=ASCII_SECRET)
    ok, text = hook_of(conn_type).test_connection()
    assert (ok, text.startswith("host: got ")) == (False, True)
    assert sandbox.journal() == []


def test_a_service_that_hangs_is_not_waited_for(
    conn_type: str, connections: dict[str, Any], sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base._TEST_TIMEOUT_S <= 5
    monkeypatch.setattr(base, "_TEST_TIMEOUT_S", 0.6)
    sandbox.faults([{"service": conn_type, "delay_s": 2}])
    begun = time.monotonic()
    ok, text = hook_of(conn_type).test_connection()
    assert time.monotonic() - begun < 0.6
    assert not ok
    assert conn_type in text


def test_a_service_that_is_down_is_tried_once(
    conn_type: str, connections: dict[str, Any], sandbox: RunningSandbox
) -> None:
    sandbox.faults([{"service": conn_type, "status": 503, "body": "<html>down</html>"}])
    ok, text = hook_of(conn_type).test_connection()
    assert (ok, "503" in text) == (False, True)
    assert len(sandbox.journal()) == 1


# -- the registry ---


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


# -- secrets ---


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    from airflow.sdk import log

    found: set[str] = set()
    monkeypatch.setattr(base, "mask_secret", lambda secret, *_: found.add(secret))

    async def amask_secret(secret: object, *_: object) -> None:
        # Airflow itself hands over whole extras.
        if isinstance(secret, str):
            found.add(secret)

    monkeypatch.setattr(log, "amask_secret", amask_secret, raising=False)
    return found


def expected_forms(conn_type: str, secret: str) -> set[str]:
    import base64

    forms = {secret, quote(secret, safe="")}
    if conn_type == "liquidfiles":
        forms.add(base64.b64encode(f"{secret}:x".encode()).decode())
    return forms


@pytest.mark.parametrize("way", ["sync", "async"])
def test_every_form_of_the_secret_is_masked(
    way: str, conn_type: str, connections: dict[str, Any], masked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ASCII_SECRET if conn_type == "liquidfiles" else SECRET
    change(connections, conn_type, monkeypatch, password=secret)
    hook = hook_of(conn_type)
    if way == "sync":
        hook.get_conn()
    else:

        async def enter() -> None:
            async with hook:
                pass

        asyncio.run(enter())
    assert masked >= expected_forms(conn_type, secret)
    assert masked >= {form for form in hook.service.derived_secrets() if form}
    if conn_type in ("serwersms", "sendhub", "mdi"):
        from urllib.parse import quote_plus

        assert quote_plus(secret) in masked
    if conn_type == "serwersms":
        assert json.dumps(secret)[1:-1] in masked
    assert "" not in masked


def test_secrets_that_come_up_are_masked_in_workers(
    connections: dict[str, Any], sandbox: RunningSandbox, masked: set[str]
) -> None:
    for conn_type, more in (("go_integrate", 1), ("mdi", 1)):
        hook = hook_of(conn_type)
        hook.get_conn()
        before = set(masked)
        hook.run(hook.service.check())
        assert len(masked - before) >= more
        hook.close()


def test_the_hook_does_not_show_its_secret(conn_type: str, connections: dict[str, Any]) -> None:
    hook = hook_of(conn_type)
    password = connections[f"{conn_type}_default"]["password"]
    for shown in (repr(hook), str(hook), repr(hook.get_conn()), repr(hook.settings), str(hook.settings)):
        assert password not in shown


# -- on an event loop ---


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


# -- what Airflow learns ---


def test_the_forms_come_from_one_table(conn_type: str) -> None:
    row = CONNECTION_TYPES[conn_type]
    hook = hook_class(conn_type)
    behaviour = hook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
    assert behaviour["relabeling"]["password"] == row.password
    assert ("login" in behaviour["hidden_fields"]) == (row.login is None)
    widgets = hook.get_connection_form_widgets()
    assert set(widgets) in ({item.name for item in extra_fields(row)}, set())


def schema_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(airflow.__file__).parent / name).read_text())
    return found


def test_the_metadata_fits_airflows_schemas() -> None:
    info = get_provider_info()
    jsonschema.validate(info, schema_of("provider_info.schema.json"))
    strict = schema_of("provider.yaml.schema.json")
    assert json.loads(json.dumps(info)) == info
    for key in ("connection-types", "hooks", "operators", "sensors", "triggers", "integrations"):
        if key in strict["properties"] and key in info and key != "integrations":
            part = {**strict["properties"][key], "definitions": strict.get("definitions", {})}
            jsonschema.validate(info[key], part)


def test_the_entry_point_leads_to_the_metadata() -> None:
    [point] = [
        point
        for point in importlib.metadata.entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_messaging.")
    ]
    assert (point.name, point.value) == ("provider_info", "airflow_messaging.get_provider_info:get_provider_info")
    assert point.load() is get_provider_info
    assert point.dist
    assert point.dist.metadata["Name"] == DISTRIBUTION == get_provider_info()["package-name"]
    assert not DISTRIBUTION.startswith("apache-airflow")


def test_all_class_paths_lead_somewhere() -> None:
    info = get_provider_info()
    for row in info["connection-types"]:
        module, _, name = row["hook-class-name"].rpartition(".")
        hook = getattr(importlib.import_module(module), name)
        assert hook.conn_type == row["connection-type"]
        assert "__" not in row["connection-type"]
    for key in ("hooks", "operators", "sensors", "triggers"):
        for entry in info.get(key, []):
            for module in entry["python-modules"]:
                importlib.import_module(module)
    for key in ("notifications", "queues"):
        for path in info.get(key, []):
            module, _, name = path.rpartition(".")
            assert callable(getattr(importlib.import_module(module), name))


_CLI = """
import contextlib, io, json, sys
from airflow.__main__ import main

def cli(*arguments):
    out = io.StringIO()
    sys.argv = ["airflow", *arguments]
    code = 0
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return [code, out.getvalue()]

found = {"hooks": cli("providers", "hooks", "--output", "json")}
for conn_id in sys.argv[1:]:
    found[conn_id] = cli("connections", "test", conn_id)
print("\\nRESULT " + json.dumps(found))
"""


def test_airflows_own_commands_know_the_hooks(connections: dict[str, Any], tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    conn_ids = [f"{name}_default" for name in TYPES]
    finished = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = sys.argv\n" + _CLI.replace("sys.argv[1:]:", f"{conn_ids!r}:")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    lines = [line for line in finished.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, finished.stderr[-3000:]
    found = json.loads(lines[0].removeprefix("RESULT "))
    listed = {row["connection_type"]: row for row in json.loads(found["hooks"][1][found["hooks"][1].index("[") :])}
    for name in TYPES:
        row = CONNECTION_TYPES[name]
        assert listed[name]["hook_name"] == row.title
        assert listed[name]["class"] == row.hook
        assert listed[name]["package_name"] == DISTRIBUTION
        code, text = found[f"{name}_default"]
        assert (code or 0) == 0, text
        assert "Connection success" in text
        assert connections[f"{name}_default"]["password"] not in finished.stdout + finished.stderr
