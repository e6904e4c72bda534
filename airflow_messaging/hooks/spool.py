"""The spool: where messages wait, with their files, that are too much for what a trigger hands over."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator

from airflow_messaging.exceptions import InvalidInput, MessagingError
from airflow_messaging.messages import JsonDict, Message
from airflow_messaging.transport.files import safe_filename, write_whole

RECORD = "message.json"


class SpooledMessage:
    """One message's directory below the spool, ``<spool>/<service>/<connection>/<message>``.

    Storage may block: everything here belongs in a thread where there is an event loop. ``message.json`` is written
    last, so that it never speaks of files that are not there.

    :param spool: The directory above all, as a path or URL; a connection for it goes before an ``@``.
    :param conn_id: The connection that the message came from: two accounts may use the same ids.
    :param message: The message.
    """

    def __init__(self, spool: str, conn_id: str, message: Message) -> None:
        from airflow.sdk import ObjectStoragePath

        self._spool = spool
        self._message = message
        with self.storage_errors():
            root = ObjectStoragePath(spool)
            # A connection that does not exist shows only here, and is passed over in silence elsewhere.
            _ = root.fs
            self.directory = root / message.service / _own_name(conn_id) / _own_name(message.id)
            self._record = self.directory / RECORD

    @property
    def path(self) -> str:
        """Where the message's JSON is."""
        return str(self._record)

    def kept(self) -> JsonDict | None:
        """Return the message's JSON if it was spooled before, whole: the service may not give it out again."""
        with self.storage_errors():
            if not self._record.exists():
                return None
            text = self._record.read_bytes()
        try:
            kept: JsonDict = json.loads(text)
            # Ids may begin anew, for example in a gateway that was set up again.
            return kept if "files" in kept and Message.from_dict(kept) == self._message else None
        except (ValueError, TypeError, MessagingError):
            return None

    def keep(self, files: list[JsonDict]) -> JsonDict:
        """Write the message's JSON.

        :param files: Its attachments, where they have been downloaded to.
        :return: The JSON.
        """
        record = with_files(self._message, files)
        with self.storage_errors():
            self.directory.mkdir(parents=True, exist_ok=True)
            # Escapes would take several times as long, and nothing else of Python runs meanwhile.
            text = json.dumps(record, ensure_ascii=False)
            write_whole(self._record, text.encode("utf-8", "surrogatepass"))
        return record

    @contextlib.contextmanager
    def storage_errors(self) -> Iterator[None]:
        """Turn the storage's own errors into a typed one; each storage has errors of its own."""
        with _storage_errors("spool", self._spool, "a directory that can be written"):
            yield


def with_files(message: Message, files: list[JsonDict]) -> JsonDict:
    """Return a message's JSON that says where its files are.

    :param message: The message.
    :param files: What the download returned.
    """
    listed = [{name: file[name] for name in ("attachment_id", "filename", "path", "size")} for file in files]
    return {**message.to_dict(), "files": listed}


def read_spooled(path: str) -> JsonDict:
    """Return the JSON of a spooled message.

    :param path: Where it is.
    :raises InvalidInput: If it is not there, or damaged.
    """
    from airflow.sdk import ObjectStoragePath

    with _storage_errors("spool", path, "a message that was spooled and is still there"):
        record: JsonDict = json.loads(ObjectStoragePath(path).read_bytes())
        return record


@contextlib.contextmanager
def _storage_errors(field: str, got: str, expected: str) -> Iterator[None]:
    try:
        yield
    except MessagingError:
        raise
    except Exception as error:
        raise InvalidInput(field, got, f"{expected} ({type(error).__name__})") from None


def _own_name(name: str) -> str:
    """Return a safe name that no other name shares."""
    safe = safe_filename(name, "message")
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
