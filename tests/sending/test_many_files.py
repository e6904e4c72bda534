"""Many messages with files: in memory are those that are on their way, and a file is digested once."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.hooks import drafts
from airflow_messaging.hooks.many import drafts_of
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.messages import upload_from_bytes
from airflow_messaging.sandbox import RunningSandbox

MEBIBYTE = 1024 * 1024
COUNT = 120
CONCURRENCY = 4
MOST_ADDED = 64 * MEBIBYTE

_SCRIPT = """
import asyncio, json, os, resource, sys

kind, path, count, concurrency, conn, tests = sys.argv[1:]
os.environ["AIRFLOW_CONN_SENDHUB_DEFAULT"] = conn
sys.path.insert(0, tests)
from sending.sends import context_of
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.operators.messages import SendMessagesOperator

messages = [{"to": "1111", "text": f"Number {i}", "attachments": [path]} for i in range(int(count))]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def warm(hook):
    return hook.service.send_message(contacts=["1111"], text="warm")

async def on_a_loop():
    async with hook_for("sendhub_default") as hook:
        await hook.arun(warm(hook))
        before = peak()
        outcomes = await hook.asend_many(messages, concurrency=int(concurrency))
        assert all(outcome.accepted for outcome in outcomes)
    return before

if kind == "loop":
    before = asyncio.run(on_a_loop())
else:
    with hook_for("sendhub_default") as hook:
        hook.run(warm(hook))
        before = peak()
        if kind == "hook":
            assert all(outcome.accepted for outcome in hook.send_many(messages, concurrency=int(concurrency)))
    if kind == "operator":
        task = SendMessagesOperator(
            task_id="t", conn_id="sendhub_default", messages=messages, concurrency=int(concurrency)
        )
        task.execute(context_of())
print("added", peak() - before)
"""


@pytest.fixture(scope="module")
def another_process() -> Iterator[RunningSandbox]:
    """The sandbox's own memory must not count."""
    command = [sys.executable, "-m", "airflow_messaging.sandbox", "--port", "0", "--no-echo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        found = re.search(r"http://\S+", child.stdout.readline())
        assert found
        try:
            yield RunningSandbox(found[0])
        finally:
            child.terminate()


@pytest.mark.parametrize("kind", ["hook", "loop", "operator"])
def test_only_the_files_on_their_way_are_in_memory(kind: str, another_process: RunningSandbox, tmp_path: Path) -> None:
    sandbox = another_process
    sandbox.reset()
    path = tmp_path / "picture.bin"
    path.write_bytes(bytes(range(256)) * (MEBIBYTE // 256))
    conn = json.dumps(sandbox.connections["sendhub_default"])
    tests = str(Path(__file__).parents[1])
    finished = subprocess.run(
        [sys.executable, "-c", _SCRIPT, kind, str(path), str(COUNT), str(CONCURRENCY), conn, tests],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert len(sandbox.messages("sendhub")["sent"]) == COUNT + 1
    assert int(finished.stdout.split()[-1]) < MOST_ADDED


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read for their digests."""
    names: list[str] = []
    real = drafts.upload_from_path

    def counting(path: Any, **kwargs: Any) -> Any:
        names.append(path.name)
        return real(path, **kwargs)

    monkeypatch.setattr(drafts, "upload_from_path", counting)
    return names


def test_a_file_that_goes_to_many_is_digested_once(tmp_path: Path, digested: list[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    given: list[Any] = [str(one), [str(one), str(two)], [one], [one], None, ()]
    found = drafts_of({"to": "a", "attachments": files} for files in given)
    assert [[file.filename for file in draft.attachments] for draft in found] == [
        ["one"],
        ["one", "two"],
        ["one"],
        ["one"],
        [],
        [],
    ]
    # A path as a text and as an object need not be the same: the latter may have a connection of its own.
    assert sorted(digested) == ["one", "one", "two"]


def test_uploads_are_left_as_they_are() -> None:
    uploads = [upload_from_bytes("name", b"1"), upload_from_bytes("name", b"1")]
    found = drafts_of({"to": "a", "attachments": [upload]} for upload in uploads)
    assert [draft.attachments[0] is upload for draft, upload in zip(found, uploads, strict=True)] == [True, True]


@pytest.mark.usefixtures("connections")
def test_a_file_that_is_gone_when_its_turn_comes_is_an_error_of_its_message(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    path = tmp_path / "picture.bin"
    path.write_bytes(b"1")
    messages = [{"to": "1111", "text": f"Number {number}"} for number in range(3)]
    messages[1]["attachments"] = str(path)

    class Removing:
        async def begin(self, position: int) -> None:
            path.unlink(missing_ok=True)

        def end(self, position: int, outcome: Any) -> None:
            pass

    from airflow_messaging.hooks.many import send_all

    with hook_for("sendhub_default") as hook:
        outcomes = send_all(hook, drafts_of(messages), concurrency=1, journal=Removing())
    assert [outcome.accepted for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, InvalidInput)
