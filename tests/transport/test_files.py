"""Names from strangers, checks on what came, and what the log tells meanwhile."""

import hashlib
import logging
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_messaging.exceptions import CorruptDownload, InvalidInput, MessageTooLarge
from airflow_messaging.messages import Attachment
from airflow_messaging.transport import files
from airflow_messaging.transport.files import CheckedFile, safe_filename, upload_from_path
from airflow_messaging.transport.progress import Progress

CONTENT = b"The quick brown fox\x00\xff" * 1000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.pdf", "report.pdf"),
        ("Żółw 1 (kopia).tar.gz", "Żółw 1 (kopia).tar.gz"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/etc/shadow", "shadow"),
        ("C:\\boot.ini", "boot.ini"),
        ("C:boot.ini", "C_boot.ini"),
        ("a\x00b.txt", "a_b.txt"),
        ("a\r\nb.txt", "a__b.txt"),
        (".bashrc", "bashrc"),
        ("..", "id"),
        (".", "id"),
        ("", "id"),
        ("   ", "id"),
        ("evil/", "id"),
        ("name. . .", "name"),
        ("con", "id_con"),
        ("NUL.txt", "id_NUL.txt"),
        ("com1.log", "id_com1.log"),
        ("console.log", "console.log"),
        ("invoice\u202efdp.exe", "invoice_fdp.exe"),
        ("a\u2066b\ufeff", "a_b_"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("e\u0301.txt", "\xe9.txt"),
    ],
)
def test_names_from_strangers_are_made_safe(name: str, expected: str) -> None:
    assert safe_filename(name, "id") == expected


def test_a_long_name_keeps_its_ending() -> None:
    name = safe_filename("ż" * 500 + ".pdf", "id")
    assert name.endswith("ż.pdf")
    assert 140 < len(name.encode()) <= 150
    assert len(safe_filename("a." + "x" * 500, "id").encode()) <= 150


@given(st.text(max_size=300), st.text(max_size=200))
@example("\ud800", "\ud800")
@example("." * 160 + "a", "..")
@example("", "_")
@example("a." + "x" * 18 + " y", "_")
@example("a" * 129 + "." + "." * 40, "x")
@example("x" * 149 + " .txt" + " " * 30, "y")
@example("con." + "x" * 200, "/")
@example("a" * 150 + "/..", "nul")
def test_every_name_stays_in_its_directory(name: str, fallback: str) -> None:
    safe = safe_filename(name, fallback)
    directory = Path("/data/in")
    assert safe not in ("", ".", "..")
    assert (directory / safe).parent == directory
    assert (directory / safe).name == safe
    assert len(safe.encode()) <= 150
    assert not any(ord(char) < 32 or char in '/\\<>:"|?*\x7f\u202e' for char in safe)
    assert safe == safe.strip(" ")
    assert not safe.endswith(".")
    assert not files._RESERVED.match(safe)


def checked(path: Path, *, max_bytes: int = 10**9, **announced: object) -> None:
    attachment = Attachment(id="1", filename="x", **announced)  # type: ignore[arg-type]
    with CheckedFile(path, attachment, max_bytes=max_bytes, service="liquidfiles") as file:
        for start in range(0, len(CONTENT), 1000):
            file.write(CONTENT[start : start + 1000])
        file.commit()


def crc32(content: bytes) -> str:
    return f"{zlib.crc32(content):x}"


@pytest.mark.parametrize(
    "announced",
    [
        {},
        {"size": len(CONTENT)},
        {"checksum": hashlib.sha256(CONTENT).hexdigest()},
        {"checksum": hashlib.sha256(CONTENT).hexdigest().upper()},
        {"checksum": hashlib.sha1(CONTENT).hexdigest()},
        {"checksum": hashlib.md5(CONTENT).hexdigest()},
        {"crc32": crc32(CONTENT)},
        {"crc32": crc32(CONTENT).zfill(8).upper()},
        {"checksum": "unknown kind"},
        {"checksum": ""},
    ],
)
def test_what_is_right_gets_its_name(announced: dict[str, object], tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    checked(target, **announced)
    assert target.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [target]


def test_a_checksum_may_lack_its_leading_zeros(tmp_path: Path) -> None:
    content = next(c for n in range(10_000) if len(crc32(c := str(n).encode())) == 6)
    for written in (crc32(content), crc32(content).zfill(8)):
        attachment = Attachment(id="1", filename="x", crc32=written)
        with CheckedFile(tmp_path / written, attachment, max_bytes=100, service="liquidfiles") as file:
            file.write(content)
            file.commit()
        assert (tmp_path / written).read_bytes() == content


@pytest.mark.parametrize(
    "announced",
    [
        {"size": len(CONTENT) + 1},
        {"size": len(CONTENT) - 1},
        {"size": 0},
        {"checksum": "0" * 64},
        {"checksum": "0" * 40},
        {"checksum": "0" * 32},
        {"crc32": "1"},
        {"crc32": "00000001"},
        {"crc32": "no hex"},
    ],
)
@pytest.mark.parametrize("existing", [None, b"yesterday's"])
def test_what_is_wrong_leaves_nothing_behind(
    announced: dict[str, object], existing: bytes | None, tmp_path: Path
) -> None:
    target = tmp_path / "x.bin"
    if existing is not None:
        target.write_bytes(existing)
    with pytest.raises(CorruptDownload):
        checked(target, **announced)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([existing] if existing is not None else [])


def test_what_is_too_large_is_cut_off_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"old")
    with pytest.raises(MessageTooLarge):
        checked(tmp_path / "x.bin", max_bytes=len(CONTENT) - 1)
    assert (tmp_path / "x.bin").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    checked(tmp_path / "x.bin", max_bytes=len(CONTENT))


def test_what_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    attachment = Attachment(id="1", filename="x")

    def break_off() -> None:
        with CheckedFile(tmp_path / "x", attachment, max_bytes=10, service="liquidfiles") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    with CheckedFile(tmp_path / "x", attachment, max_bytes=10, service="liquidfiles") as file:
        file.write(b"unkept")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(InvalidInput) as caught:
            upload_from_path(path)
        assert caught.value.field == "attachments"


def test_an_upload_knows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "żółw.txt"
    path.write_bytes(CONTENT)
    upload = upload_from_path(path)
    assert (upload.filename, upload.size, upload.content_type) == ("żółw.txt", len(CONTENT), "text/plain")
    assert upload.md5 == hashlib.md5(CONTENT).hexdigest()
    for _ in range(2):
        with upload.open() as file:
            assert file.read() == CONTENT
    other = upload_from_path(path, filename="a.unknown", content_type=None)
    assert (other.filename, other.content_type) == ("a.unknown", "application/octet-stream")


def test_progress_is_told_every_five_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seconds = [0.0]
    log = logging.getLogger("airflow_messaging.test")
    progress = Progress("send-message", 60_000_000, log, clock=lambda: seconds[0])
    for _ in range(60):
        seconds[0] += 0.5
        progress.moved(1_000_000)
    assert caplog.messages == [
        "send-message: 10.0 MB (17%), 2.0 MB/s",
        "send-message: 20.0 MB (33%), 2.0 MB/s",
        "send-message: 30.0 MB (50%), 2.0 MB/s",
        "send-message: 40.0 MB (67%), 2.0 MB/s",
        "send-message: 50.0 MB (83%), 2.0 MB/s",
        "send-message: 60.0 MB (100%), 2.0 MB/s",
    ]
    caplog.clear()
    unknown = Progress("download", None, log, clock=lambda: seconds[0])
    unknown.moved(1)
    seconds[0] += 100
    unknown.moved(5_000_000)
    assert caplog.messages == ["download: 5.0 MB, 0.1 MB/s"]
