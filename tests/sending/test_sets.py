"""Sets come in another order in each process; the message, its digest and its batches do not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.messages import Draft, as_recipients, in_order
from airflow_messaging.operators.once import digest_of
from airflow_messaging.sandbox import RunningSandbox

from .sends import FileStore

_HERE = Path(__file__).parents[1]
_PEOPLE = [f"person{number}@peer.example" for number in range(6)]
_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sending.sends import FileStore, context_of
from airflow_messaging.operators.liquidfiles import LiquidFilesSendMessageOperator
from airflow_messaging.operators.sendhub import SendHubSendMessageOperator
store, kind, *people = sys.argv[2:]
if kind == "liquidfiles":
    task = LiquidFilesSendMessageOperator(task_id="t", recipients=set(people[:3]), cc={*people[3:]}, message="x")
else:
    task = SendHubSendMessageOperator(task_id="t", contacts=set(people), text="x", split_recipients=True)
task.execute(context_of(FileStore(Path(store))))
"""


def one_try(seed: int, store: Path, kind: str, people: list[str]) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _CHILD, str(_HERE), str(store), kind, *people],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize(
    ("kind", "people", "messages"),
    [("liquidfiles", _PEOPLE, 1), ("sendhub", [f"+1415555{number:04}" for number in range(30)], 2)],
)
def test_another_try_in_another_process_does_not_send_again(
    sandbox: RunningSandbox, store: FileStore, kind: str, people: list[str], messages: int
) -> None:
    for seed in (1, 2, 3):
        one_try(seed, store.path, kind, people)
    assert len(sandbox.messages(kind)["sent"]) == messages


def test_sets_are_put_into_order_and_lists_are_left_alone() -> None:
    texts = {f"text {number}" for number in range(50)}
    assert in_order(texts) == in_order(frozenset(texts)) == sorted(texts)
    assert in_order(["b", "a"]) == ["b", "a"]
    assert in_order({"b": 1, "a": 2}) == ["b", "a"]
    assert as_recipients({"b", "c", "a"}) == ("a", "b", "c")


def digests(options: str) -> set[str]:
    """Return the digests of a draft with these options in three processes."""
    script = (
        "from airflow_messaging.messages import Draft\n"
        "from airflow_messaging.operators.once import digest_of\n"
        f"print(digest_of(Draft(to=('a',), message_id='b', options={options}), 'c'))"
    )
    return {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.split()[-1]
        for seed in (1, 2, 3)
    }


@pytest.mark.parametrize(
    "options",
    [
        "{'cc': {'x', 'y', 'z', 'w'}}",
        "{'cc': [{'x': frozenset({'y', 'z', 'w', 'v'})}]}",
        "{'cc': {frozenset({'x', 'y', 'z'}), frozenset({'v', 'w', 'u'}), 1, None}}",
    ],
)
def test_the_digest_is_the_same_in_all_processes(options: str) -> None:
    assert len(digests(options)) == 1


def test_the_digest_tells_sets_apart() -> None:
    def digest(value: Any) -> str:
        return digest_of(Draft(to=("a",), message_id="b", options={"cc": value}), "c")

    assert len({digest({"x", "y"}), digest({"x"}), digest(set()), digest({"x, y"}), digest(None)}) == 5
    assert digest({"x", "y"}) == digest(frozenset({"y", "x"}))
