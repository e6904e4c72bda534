"""A file that cannot be read when it is its turn: nothing was sent, and nothing is in doubt."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.exceptions import ConnectionLost, InvalidInput
from airflow_messaging.hooks import drafts
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.transport.files import upload_from_path

from .sends import FileStore, send, sends_asked

pytestmark = pytest.mark.usefixtures("connections")

LARGE = 3 * 1024 * 1024


class SlowDown(Exception):
    """What the client library of a storage raises: no OSError."""


class BreaksOff:
    """A file whose storage fails in the middle."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._reads = 0

    def read(self, size: int) -> bytes:
        self._reads += 1
        if self._reads > 1:
            raise SlowDown
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize("where", ["gone", "opening", "reading"])
@pytest.mark.parametrize("service", ["go_integrate", "liquidfiles"])
def test_the_next_try_sends_it(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, where: str
) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(LARGE))

    def opened() -> Any:
        if where == "gone":
            raise FileNotFoundError(path)
        if where == "opening":
            raise SlowDown
        return BreaksOff(path.open("rb"))

    def unreadable(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(upload_from_path(*arguments, **options), open=opened)

    store = FileStore(tmp_path / "store.json")
    with monkeypatch.context() as patched:
        patched.setattr(drafts, "upload_from_path", unreadable)
        with pytest.raises(ConnectionLost):
            send(service, None, store, attachments=[str(path)])
    assert store.all() == {}
    send(service, None, store, attachments=[str(path)])
    assert len(sandbox.messages(service)["sent"]) == 1


@pytest.mark.parametrize("service", ["go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub"])
@pytest.mark.parametrize(("field", "given"), [("text", 5), ("options", 5), ("text", ["a"])])
def test_what_a_template_has_made_no_text_is_refused(
    sandbox: RunningSandbox, tmp_path: Path, service: str, field: str, given: Any
) -> None:
    store = FileStore(tmp_path / "store.json")
    arguments = {"text": "x", field: given}
    with pytest.raises(InvalidInput, match=f"^{field}: got a value of type"):
        send(service, arguments.pop("text"), store, **arguments)
    assert store.all() == {}
    assert sends_asked(sandbox, service) == 0
