"""What a trigger hands over arrives whole in the task: inline, by way of the spool, or fetched again."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseHook, ObjectStoragePath

from airflow_messaging.exceptions import InvalidInput, MessageGone, from_dict
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.hooks.spool import SpooledMessage
from airflow_messaging.messages import Attachment, Message
from airflow_messaging.operators.messages import MarkMessagesReadOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.sensors.messages import NextMessageSensor
from airflow_messaging.services.receiving import Cursor
from airflow_messaging.triggers import shared
from airflow_messaging.triggers.carrying import INLINE_LIMIT, pack, unpack

from .harness import MODES, as_json, defer, fire, later, new_context, outcome, resume

pytestmark = pytest.mark.usefixtures("connections", "short_backoff", "variables")

WITH_FILES = ("go_integrate", "liquidfiles", "serwersms")
CONTENT = bytes(range(256)) * 500
A_FILE = {"filename": "order.bin", "content": CONTENT}
LONG = "x" * (INLINE_LIMIT - 100)


def sensor(service: str, **arguments: Any) -> NextMessageSensor:
    given = {"task_id": "a_task", "conn_id": f"{service}_default", "poke_interval": 0.2, "timeout": 20}
    return NextMessageSensor(**{**given, **arguments})


def wait_for(sandbox: RunningSandbox, service: str, spool: Path | None, **fields: Any) -> tuple[Any, Any, str]:
    """Defer, let a message arrive and run the trigger; return what was deferred, the event, and the message's id."""
    deferred = defer(sensor(service, spool=spool and str(spool)))
    message_id = sandbox.inbound(service, **fields)
    return deferred, asyncio.run(fire(deferred.trigger)), message_id


def files_below(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def contents(message: dict[str, Any]) -> list[bytes]:
    return [ObjectStoragePath(file["path"]).read_bytes() for file in message["files"]]


class TestSpool:
    @pytest.mark.parametrize("when", ["at once", "later"])
    @pytest.mark.parametrize("service", WITH_FILES)
    def test_files_are_there_in_all_modes(
        self, sandbox: RunningSandbox, tmp_path: Path, service: str, when: str
    ) -> None:
        outcomes = []
        for mode in MODES:
            sandbox.reset()
            spool = tmp_path / mode
            with later(0.3 if when == "later" else 0, sandbox.inbound, service, attachments=[A_FILE]):
                ended, message = outcome(
                    lambda mode=mode, spool=spool: sensor(service, spool=str(spool), **MODES[mode])
                )
            assert ended == "returned", message
            assert contents(message) == [CONTENT]
            (file,) = message["files"]
            assert (file["size"], file["attachment_id"]) == (len(CONTENT), message["attachments"][0]["id"])
            directory = Path(file["path"]).parent
            assert files_below(spool) == sorted(
                str((directory / name).relative_to(spool)) for name in (file["filename"], "message.json")
            )
            outcomes.append((sorted(message), sorted(file), len(message["attachments"])))
        assert outcomes[0] == outcomes[1] == outcomes[2]

    @pytest.mark.parametrize("mode", MODES)
    def test_every_message_has_its_files_even_if_they_are_none(
        self, sandbox: RunningSandbox, tmp_path: Path, mode: str
    ) -> None:
        sandbox.inbound("sendhub", text="small")
        ended, message = outcome(lambda: sensor("sendhub", spool=str(tmp_path), **MODES[mode]))
        assert (ended, message["text"], message["files"]) == ("returned", "small", [])
        assert files_below(tmp_path) == []

    def test_what_the_service_has_dropped_meanwhile(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        deferred, event, message_id = wait_for(
            sandbox, "go_integrate", tmp_path, attachments=[A_FILE], expires_after=60
        )
        sandbox.clock(600)
        assert sandbox.messages("go_integrate")["waiting"] == []
        message = resume(sensor("go_integrate", spool=str(tmp_path)), deferred, event, new_context())
        assert (message["id"], contents(message)) == (message_id, [CONTENT])

    def test_what_somebody_has_read_meanwhile(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        deferred, event, _ = wait_for(sandbox, "serwersms", tmp_path, text="see file", attachments=[A_FILE])
        hook = hook_for("serwersms_default")
        with hook:
            MarkMessagesReadOperator(
                task_id="mark", conn_id="serwersms_default", messages=unpack(event.payload["messages"], hook)
            ).execute(new_context())
        message = resume(sensor("serwersms", spool=str(tmp_path)), deferred, event, new_context())
        assert contents(message) == [CONTENT]

    def test_a_long_message_travels_as_a_place(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        deferred, event, message_id = wait_for(sandbox, "liquidfiles", tmp_path, text=LONG)
        (travelled,) = as_json(event.payload)["messages"]
        place = tmp_path / "liquidfiles" / "liquidfiles_default" / message_id / "message.json"
        assert travelled == {
            "service": "liquidfiles",
            "id": message_id,
            "received_at": json.loads(place.read_text())["received_at"],
            "spooled": str(place),
        }
        message = resume(sensor("liquidfiles"), deferred, event, new_context())
        assert (message["text"], message["files"]) == (LONG, [])

    def test_twice_is_once(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        deferred, event, _ = wait_for(sandbox, "liquidfiles", tmp_path, attachments=[A_FILE])
        written = {path: (tmp_path / path).stat().st_mtime_ns for path in files_below(tmp_path)}

        def downloads() -> int:
            return sum("order.bin" in request["path"] for request in sandbox.journal("liquidfiles"))

        before = downloads()
        again = asyncio.run(fire(deferred.trigger))
        assert before == downloads() == 1
        assert again.payload == event.payload
        assert {path: (tmp_path / path).stat().st_mtime_ns for path in files_below(tmp_path)} == written

    @pytest.mark.parametrize("service", WITH_FILES)
    def test_what_a_crash_left_behind_is_made_whole(
        self, sandbox: RunningSandbox, tmp_path: Path, service: str
    ) -> None:
        deferred, event, _ = wait_for(sandbox, service, tmp_path, attachments=[A_FILE])
        record = Path(event.payload["messages"][0]["spooled"])
        (file,) = json.loads(record.read_text())["files"]
        for damage in (record.unlink, lambda: record.write_text('{"service": "'), lambda: record.write_text("[]")):
            damage()
            Path(file["path"]).write_bytes(b"half")
            again = asyncio.run(fire(deferred.trigger))
            assert again.payload == event.payload
            assert contents(resume(sensor(service), deferred, again, new_context())) == [CONTENT]
        assert len(files_below(tmp_path)) == 2

    def test_an_id_that_comes_again_with_something_else(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        old, new = (Message(service="mdi", id="17", text=text) for text in ("old", "new"))
        for message in (old, new):
            assert SpooledMessage(str(tmp_path), "mdi_default", message).kept() is None
            SpooledMessage(str(tmp_path), "mdi_default", message).keep([])
            assert SpooledMessage(str(tmp_path), "mdi_default", message).kept() == {**message.to_dict(), "files": []}
        assert SpooledMessage(str(tmp_path), "mdi_default", old).kept() is None

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("mdi_default", "17"), ("mdi_2", "17")),
            (("mdi_default", "a/17"), ("mdi_default", "b/17")),
            (("mdi_default", "../17"), ("mdi_default", "17")),
            (("mdi_default", ""), ("mdi_default", "message")),
            (("mdi_default", "x" * 200 + "1"), ("mdi_default", "x" * 200 + "2")),
        ],
    )
    def test_no_two_messages_share_a_place(self, tmp_path: Path, one: tuple[str, str], other: tuple[str, str]) -> None:
        places = [
            SpooledMessage(str(tmp_path), conn_id, Message(service="mdi", id=message_id)).path
            for conn_id, message_id in (one, other)
        ]
        assert places[0] != places[1]
        for place in places:
            assert Path(place).resolve().is_relative_to(tmp_path / "mdi")

    @pytest.mark.parametrize("message_id", ["a b", "ü#1", "a%20b", "a?b", "a\nb"])
    def test_strange_ids(self, tmp_path: Path, message_id: str) -> None:
        message = Message(service="mdi", id=message_id, text="x")
        place = SpooledMessage(f"file://{tmp_path}", "mdi_default", message)
        record = place.keep([])
        item = {"service": "mdi", "id": message_id, "received_at": None, "spooled": place.path}
        assert unpack([item], hook_for("mdi_default")) == [record]

    def test_a_file_cannot_take_the_messages_place(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        hostile = [{"filename": name, "content": name.encode()} for name in ("message.json", "../../MESSAGE.json")]
        for mode in MODES:
            sandbox.reset()
            sandbox.inbound("liquidfiles", attachments=hostile)
            spool = tmp_path / mode
            ended, message = outcome(
                lambda mode=mode, spool=spool: sensor("liquidfiles", spool=str(spool), **MODES[mode])
            )
            assert (ended, contents(message)) == ("returned", [item["filename"].encode() for item in hostile])
            assert len(files_below(spool)) == 3
        assert {path.parent.parent.parent.name for path in tmp_path.rglob("*.json")} == {"liquidfiles"}

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("when", ["at once", "later"])
    @pytest.mark.parametrize("spool", ["a file", "nonsense://x/y"])
    def test_a_spool_that_cannot_be_written_loses_nothing(
        self, sandbox: RunningSandbox, tmp_path: Path, mode: str, when: str, spool: str
    ) -> None:
        if spool == "a file":
            (tmp_path / "occupied").write_text("")
            spool = str(tmp_path / "occupied")
        with later(0.3 if when == "later" else 0, sandbox.inbound, "liquidfiles", attachments=[A_FILE]):
            assert outcome(lambda: sensor("liquidfiles", spool=spool, **MODES[mode])) == ("raised", "InvalidInput")
        ended, message = outcome(lambda: sensor("liquidfiles", spool=str(tmp_path / "free"), **MODES[mode]))
        assert (ended, contents(message)) == ("returned", [CONTENT])

    @pytest.mark.parametrize("spool", ["", " "])
    def test_an_empty_spool_is_none(self, sandbox: RunningSandbox, spool: Any) -> None:
        with pytest.raises(InvalidInput, match="spool"):
            sensor("mdi", spool=spool).execute(new_context())
        assert sandbox.journal("mdi") == []

    def test_the_error_names_the_spool(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        (tmp_path / "occupied").write_text("")
        _, event, _ = wait_for(sandbox, "liquidfiles", tmp_path / "occupied", attachments=[A_FILE])
        error = from_dict(as_json(event.payload)["error"])
        assert isinstance(error, InvalidInput)
        assert str(error).startswith(f"spool: got '{tmp_path}/occupied', expected a directory that can be written (")

    @pytest.mark.parametrize("fault", [{"status": 503}, {"reset": True}, {"truncate_at": 1000}])
    def test_a_download_that_fails_for_a_while(
        self, sandbox: RunningSandbox, tmp_path: Path, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        deferred = defer(sensor("liquidfiles", spool=str(tmp_path)))
        sandbox.inbound("liquidfiles", attachments=[A_FILE])
        sandbox.faults([{"service": "liquidfiles", "path": "order.bin", "times": 15, **fault}])
        event = asyncio.run(fire(deferred.trigger))
        message = resume(sensor("liquidfiles"), deferred, event, new_context())
        assert contents(message) == [CONTENT]
        assert len(files_below(tmp_path)) == 2
        said = [record for record in caplog.records if record.name == "airflow_messaging.triggers.carrying"]
        assert len(said) == 1

    def test_a_file_that_is_not_what_was_announced_ends_the_wait(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        deferred = defer(sensor("liquidfiles", spool=str(tmp_path)))
        sandbox.inbound("liquidfiles", attachments=[A_FILE])
        sandbox.faults([{"service": "liquidfiles", "path": "order.bin", "status": 200, "body": "y" * len(CONTENT)}])
        event = asyncio.run(fire(deferred.trigger))
        assert as_json(event.payload)["error"]["type"] == "CorruptDownload"
        assert files_below(tmp_path) == []

    def test_through_a_storage_with_a_connection_of_its_own(
        self, sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.sdk import io
        from fsspec.implementations.dirfs import DirFileSystem

        def open_storage(conn_id: str | None, _options: Any) -> Any:
            return DirFileSystem(BaseHook.get_connection(str(conn_id)).host, auto_mkdir=False)

        schemes = {**io.fs._register_filesystems(), "memory": open_storage}
        monkeypatch.setattr(io.fs, "_register_filesystems", lambda: schemes)
        monkeypatch.setenv("AIRFLOW_CONN_MY_SHELF", json.dumps({"conn_type": "generic", "host": str(tmp_path)}))
        spool = "memory://my_shelf@box/in"
        deferred = defer(sensor("liquidfiles", spool=spool))
        sandbox.inbound("liquidfiles", attachments=[A_FILE])
        event = asyncio.run(fire(deferred.trigger))
        (travelled,) = event.payload["messages"]
        assert travelled["spooled"].startswith("memory://my_shelf@/box/in/liquidfiles/liquidfiles_default/")
        message = resume(sensor("liquidfiles"), deferred, event, new_context())
        assert message["files"][0]["path"].startswith("memory://my_shelf@/box/in/liquidfiles/")
        assert contents(message) == [CONTENT]
        assert len(files_below(tmp_path / "box" / "in")) == 2

    @pytest.mark.undisturbed
    def test_the_event_loop_is_never_held_up(
        self, sandbox: RunningSandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Three times, because a busy machine holds things up, too."""
        text = "ä" * 1_000_000
        big = {"filename": "big.bin", "content": bytes(20_000_000)}
        deferred = defer(sensor("liquidfiles", spool=str(tmp_path / "warm")))
        message_id = sandbox.inbound("liquidfiles", text=text, attachments=[big])
        asyncio.run(fire(deferred.trigger))  # imports
        with hook_for("liquidfiles_default") as hook:
            message = hook.message(message_id)

        async def watched(spool: Path) -> list[float]:
            gaps: list[float] = []
            loop = asyncio.get_running_loop()

            async def watch() -> None:
                while True:
                    begun = loop.time()
                    await asyncio.sleep(0.002)
                    gaps.append(loop.time() - begun)

            waiter = shared.join("liquidfiles_default", Cursor(), poll_interval=60)
            try:
                await waiter.run(lambda service: service.check())
                watching = asyncio.create_task(watch())
                await pack([message], waiter, spool=str(spool))
                watching.cancel()
            finally:
                waiter.leave()
            return gaps

        longest = 1.0
        for number in range(3):
            longest = min(longest, max(asyncio.run(watched(tmp_path / str(number)))))
            assert len(files_below(tmp_path / str(number))) == 2
        assert longest < 0.05


class TestWithoutSpool:
    def test_a_long_message_is_fetched_by_the_task(self, sandbox: RunningSandbox) -> None:
        deferred, event, message_id = wait_for(sandbox, "liquidfiles", None, text=LONG)
        (travelled,) = as_json(event.payload)["messages"]
        assert travelled == {
            "service": "liquidfiles",
            "id": message_id,
            "received_at": travelled["received_at"],
            "fetch": True,
        }
        assert travelled["received_at"].endswith("+00:00")
        message = resume(sensor("liquidfiles"), deferred, event, new_context())
        assert message["text"] == LONG
        assert "files" not in message

    @pytest.mark.parametrize("service", ["go_integrate", "serwersms", "liquidfiles"])
    def test_a_message_that_is_gone(self, sandbox: RunningSandbox, service: str) -> None:
        deferred, event, message_id = wait_for(sandbox, service, None, text=LONG)
        sandbox.reset()
        with pytest.raises(MessageGone) as raised:
            resume(sensor(service), deferred, event, new_context())
        for named in (service, message_id, "expired", "read", "'spool'"):
            assert named in str(raised.value)

    def test_the_limit_is_for_each_message(self, sandbox: RunningSandbox) -> None:
        arguments = {"max_messages": 3, "inline_limit": 3000, "after": "earliest"}
        deferred = defer(sensor("liquidfiles", **arguments))
        for seconds, length in ((-9, 1000), (-6, 5000), (-3, 1000)):
            sandbox.clock(seconds)
            sandbox.inbound("liquidfiles", text="x" * length)
        sandbox.clock(0)
        event = asyncio.run(fire(deferred.trigger))
        assert ["fetch" in message for message in event.payload["messages"]] == [False, True, False]
        messages = resume(sensor("liquidfiles", **arguments), deferred, event, new_context())
        assert [len(message["text"]) for message in messages] == [1000, 5000, 1000]

    @pytest.mark.parametrize("limit", [-1, 1.5, "many", None])
    def test_limits_that_are_none(self, sandbox: RunningSandbox, limit: Any) -> None:
        with pytest.raises(InvalidInput, match="inline_limit"):
            sensor("mdi", inline_limit=limit).execute(new_context())
        assert sandbox.journal("mdi") == []


@pytest.mark.undisturbed
async def test_packing_many_small_messages_costs_little(caplog: pytest.LogCaptureFixture) -> None:
    messages = [Message(service="mdi", id=str(number), text="x" * 200) for number in range(2000)]
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 0.05
    loop.set_debug(True)
    slow: list[str] = []
    for _ in range(3):  # a busy machine holds things up, too
        caplog.clear()
        with caplog.at_level(logging.WARNING, "asyncio"):
            packed = await pack(messages, None)  # type: ignore[arg-type]
        assert packed == [message.to_dict() for message in messages]
        slow = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
        if not slow:
            return
    assert slow == []


async def test_files_alone_do_not_need_a_spool() -> None:
    message = Message(service="liquidfiles", id="1", attachments=(Attachment(id="2", filename="a"),))
    assert await pack([message], None) == [message.to_dict()]  # type: ignore[arg-type]
