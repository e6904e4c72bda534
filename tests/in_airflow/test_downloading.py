"""The operator that downloads attachments, against the sandbox: what it stores, and what it leaves behind."""

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_messaging.exceptions import CorruptDownload, InvalidInput, MessageTooLarge
from airflow_messaging.operators.messages import DownloadAttachmentsOperator
from airflow_messaging.sandbox import RunningSandbox

from .harness import run, waiting

pytestmark = pytest.mark.usefixtures("connections", "variables")

WITH_FILES = ("go_integrate", "liquidfiles", "serwersms")


class TestDownloading:
    def download(self, service: str, messages: Any, path: Any, **arguments: Any) -> list[dict[str, Any]]:
        conn_id = f"{service}_default"
        files: list[dict[str, Any]] = run(
            DownloadAttachmentsOperator, conn_id=conn_id, messages=messages, path=path, **arguments
        )
        return files

    def everything(self, folder: Path) -> list[Path]:
        return [path for path in folder.rglob("*") if path.is_file()]

    @pytest.mark.parametrize("service", WITH_FILES)
    @pytest.mark.parametrize("kind", ["path", "url", "object"])
    def test_the_bytes_arrive(self, sandbox: RunningSandbox, tmp_path: Path, service: str, kind: str) -> None:
        content = bytes(range(256)) * 1000
        sandbox.inbound(service, attachments=[{"filename": "a.bin", "content": content}])
        url = f"file://{tmp_path}"
        path: Any = {"path": str(tmp_path), "url": url, "object": ObjectStoragePath(url)}[kind]
        messages = waiting(service)
        (file,) = self.download(service, messages, path)
        assert (file["filename"], file["size"], file["message_id"]) == ("a.bin", len(content), messages[0]["id"])
        assert ObjectStoragePath(file["path"]).read_bytes() == content
        assert len(self.everything(tmp_path)) == 1

    def test_messages_without_files(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        sandbox.inbound("mdi", text="x")
        assert self.download("mdi", waiting("mdi"), str(tmp_path)) == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "name", ["../../evil.txt", "/etc/passwd", "..\\evil", "CON", "a\u202etxt.exe", "x" * 400 + ".txt", ".hidden"]
    )
    @pytest.mark.parametrize("service", ["liquidfiles", "serwersms"])
    def test_names_stay_in_their_directory(
        self, sandbox: RunningSandbox, tmp_path: Path, service: str, name: str
    ) -> None:
        message_id = sandbox.inbound(service, attachments=[{"filename": name, "content": b"x"}])
        (file,) = self.download(service, waiting(service), str(tmp_path))
        (stored,) = self.everything(tmp_path)
        assert stored.parent == tmp_path / message_id
        assert stored.name == file["filename"]
        assert len(stored.name.encode()) <= 150

    def test_two_of_one_name(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        attachments = [{"filename": name, "content": name.encode()} for name in ("a.txt", "A.TXT", "b/a.txt")]
        attachments[0]["content"] = b"first"
        sandbox.inbound("liquidfiles", attachments=attachments)
        files = self.download("liquidfiles", waiting("liquidfiles"), str(tmp_path))
        assert len({file["filename"].lower() for file in files}) == 3
        assert [Path(file["path"].removeprefix("file://")).read_bytes() for file in files] == [
            b"first",
            b"A.TXT",
            b"b/a.txt",
        ]

    def test_a_retry_replaces_what_was_there(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        sandbox.inbound("liquidfiles", attachments=[{"filename": "a.txt", "content": b"right"}])
        messages = waiting("liquidfiles")
        (file,) = self.download("liquidfiles", messages, str(tmp_path))
        (stored,) = self.everything(tmp_path)
        stored.write_bytes(b"half a f")
        assert self.download("liquidfiles", messages, str(tmp_path)) == [file]
        assert stored.read_bytes() == b"right"
        assert self.everything(tmp_path) == [stored]

    def test_each_download_asks_for_a_fresh_one_time_url(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        sandbox.inbound("liquidfiles", attachments=[{"filename": "a.txt", "content": b"x"}])
        messages = waiting("liquidfiles")
        assert "url" not in messages[0]["raw"]["attachments"][0]
        for _ in range(2):
            self.download("liquidfiles", messages, str(tmp_path))
        paths = [entry["path"] for entry in sandbox.journal("liquidfiles")]
        assert len([path for path in paths if path.endswith(f"/message/{messages[0]['id']}")]) == 2

    @pytest.mark.parametrize(
        ("service", "path"), [("go_integrate", "get-message"), ("liquidfiles", "/liquidfiles/message/*/*/*/*")]
    )
    @pytest.mark.parametrize("keep", [0, 1000])
    def test_one_that_breaks_off_is_fetched_again(
        self, sandbox: RunningSandbox, tmp_path: Path, service: str, path: str, keep: int
    ) -> None:
        content = b"0123456789" * 1000
        sandbox.inbound(service, attachments=[{"filename": "a.txt", "content": content}])
        messages = waiting(service)
        sandbox.faults([{"service": service, "path": path, "truncate_at": keep, "times": 2}])
        (file,) = self.download(service, messages, str(tmp_path))
        assert file["size"] == len(content)
        (stored,) = self.everything(tmp_path)
        assert stored.read_bytes() == content
        assert len([entry for entry in sandbox.journal(service) if entry["fault"]]) == 2

    def test_a_one_time_url_that_is_used_up_meanwhile(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        sandbox.inbound("liquidfiles", attachments=[{"filename": "a.txt", "content": b"right"}])
        (message,) = waiting("liquidfiles")
        gone = {"service": "liquidfiles", "path": "/liquidfiles/message/*/*/*/*", "status": 404, "times": 1}
        sandbox.faults([gone])
        (file,) = self.download("liquidfiles", message, str(tmp_path))
        assert file["size"] == 5
        asked = [entry["path"].rsplit("/", 1)[0] for entry in sandbox.journal("liquidfiles")]
        # Two views of the message, and another URL each time.
        assert asked.count("/liquidfiles/message") == 2

    def test_one_that_never_arrives_leaves_nothing(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        sandbox.inbound("go_integrate", attachments=[{"filename": "a.txt", "content": b"x" * 5000}])
        messages = waiting("go_integrate")
        sandbox.faults([{"service": "go_integrate", "path": "get-message", "truncate_at": 100}])
        with pytest.raises(Exception, match="get-message"):
            self.download("go_integrate", messages, str(tmp_path))
        assert self.everything(tmp_path) == []

    def test_one_that_is_not_what_was_announced(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        sandbox.inbound("liquidfiles", attachments=[{"filename": "a.txt", "content": b"right"}])
        (message,) = waiting("liquidfiles")
        message["attachments"][0]["checksum"] = "0" * 64
        with pytest.raises(CorruptDownload, match="SHA256"):
            self.download("liquidfiles", message, str(tmp_path))
        assert self.everything(tmp_path) == []

    def test_too_large(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        sandbox.inbound("go_integrate", attachments=[{"filename": "a.txt", "content": b"x" * 5000}])
        with pytest.raises(MessageTooLarge):
            self.download("go_integrate", waiting("go_integrate"), str(tmp_path), max_bytes=4999)
        assert self.everything(tmp_path) == []

    @pytest.mark.parametrize("path", ["", " "])
    def test_no_directory(self, sandbox: RunningSandbox, path: str) -> None:
        sandbox.inbound("go_integrate", text="x")
        with pytest.raises(InvalidInput, match="path"):
            self.download("go_integrate", waiting("go_integrate"), path)
