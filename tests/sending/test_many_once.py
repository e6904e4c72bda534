"""A list of messages, sent by one task: on another try only what has not been sent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.exceptions import AuthenticationFailed, DeliveryUnknown, InvalidInput, PartiallySent
from airflow_messaging.operators import ledger, once
from airflow_messaging.operators.base import message_id_for
from airflow_messaging.operators.messages import SendMessagesOperator
from airflow_messaging.sandbox import RunningSandbox

from .sends import LOOK_PATHS, OPTIONS, SEND_PATHS, SERVICES, TO, WITH_LOOK, FileStore, context_of

pytestmark = pytest.mark.usefixtures("connections")

WORKER = Path(__file__).with_name("many_worker.py")


class Pushed(list[Any]):
    """What a task pushes to XCom, last of all."""

    def __call__(self, key: str, value: Any) -> None:
        self.append(json.loads(json.dumps(value)))


def messages_for(service: str, *texts: str) -> list[dict[str, Any]]:
    return [{"to": TO[service], "text": text, "options": OPTIONS.get(service)} for text in texts]


def numbered(service: str, count: int) -> list[dict[str, Any]]:
    return messages_for(service, *(f"Number {number}" for number in range(count)))


def send(service: str, messages: Any, store: Any = None, pushed: Any = None, **arguments: Any) -> list[dict[str, Any]]:
    """Do what one try of a task does."""
    task = SendMessagesOperator(task_id="a_task", conn_id=f"{service}_default", messages=messages, **arguments)
    found: list[dict[str, Any]] = task.execute(context_of(store, xcom_push=Pushed() if pushed is None else pushed))
    return json.loads(json.dumps(found))


def sent(sandbox: RunningSandbox, service: str) -> dict[str, str]:
    """The texts that were sent, by the ids that receipts have."""
    return {m.get("message_id", m["id"]): m["text"] for m in sandbox.messages(service)["sent"]}


def asked(sandbox: RunningSandbox, service: str) -> int:
    path = SEND_PATHS[service].strip("*")
    return sum(path in entry["path"] and entry["method"] == "POST" for entry in sandbox.journal(service))


def fault(service: str, **what: Any) -> dict[str, Any]:
    return {"service": service, "path": SEND_PATHS[service], **what}


class FailsAtFirst(FileStore):
    """A store whose first write fails."""

    failed = False

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if not self.failed:
            self.failed = True
            raise RuntimeError("the API server does not answer")
        super().set(key, value)


def rows(store: FileStore) -> dict[str, Any]:
    return {key: row for page in store.all().values() for key, row in page.items()}


@pytest.mark.parametrize("service", SERVICES)
class TestEachService:
    def test_another_try_sends_nothing_and_says_the_same(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        results = send(service, numbered(service, 30), store)
        texts = sent(sandbox, service)
        assert [texts[result["id"]] for result in results] == [f"Number {number}" for number in range(30)]
        assert send(service, numbered(service, 30), store) == results
        assert asked(sandbox, service) == len(texts) == 30

    def test_another_try_sends_what_was_refused(self, sandbox: RunningSandbox, store: FileStore, service: str) -> None:
        sandbox.faults([fault(service, status=400, times=2)])
        pushed = Pushed()
        with pytest.raises(PartiallySent, match="2 of 5 messages were not accepted") as caught:
            send(service, numbered(service, 5), store, pushed, concurrency=1)
        assert [result["accepted"] for result in caught.value.results] == [False, False, True, True, True]
        assert pushed == [caught.value.results]
        assert not isinstance(caught.value, AirflowFailException)
        results = send(service, numbered(service, 5), store)
        texts = sent(sandbox, service)
        assert [texts[result["id"]] for result in results] == [f"Number {number}" for number in range(5)]
        assert len(texts) == 5

    def test_refused_credentials_leave_nothing_in_doubt(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        sandbox.faults([fault(service, status=401)])
        with pytest.raises(AuthenticationFailed):
            send(service, numbered(service, 30), store, concurrency=2)
        assert rows(store) == {}
        sandbox.clear_faults()
        send(service, numbered(service, 30), store)
        assert len(sent(sandbox, service)) == 30

    def test_messages_are_known_by_what_is_in_them(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        one, two, three, four = messages_for(service, "One", "Two", "Three", "Four")
        first = send(service, [one, two, three], store)
        again = send(service, [four, three, one, one], store)
        assert [again[1]["id"], again[2]["id"]] == [first[2]["id"], first[0]["id"]]
        assert sorted(sent(sandbox, service).values()) == ["Four", "One", "One", "Three", "Two"]
        assert len({result["id"] for result in first + again}) == 5

    def test_bad_input_is_refused_before_anything_is_done(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        for wrong in ({"messages": [*numbered(service, 2), {"text": "x"}]}, {"concurrency": 0}, {"on_unknown": "?"}):
            with pytest.raises(InvalidInput):
                send(service, **({"messages": numbered(service, 2), "store": store} | wrong))
        assert sandbox.journal(service) == []
        assert store.all() == {}


@pytest.mark.parametrize("service", WITH_LOOK)
class TestWhereOneCanLook:
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_lost_answers_are_looked_for(
        self, sandbox: RunningSandbox, store: FileStore, service: str, when: str
    ) -> None:
        sandbox.faults([fault(service, reset=True, when=when, times=3)])
        results = send(service, numbered(service, 12), store, concurrency=4)
        texts = sent(sandbox, service)
        assert [texts[result["id"]] for result in results] == [f"Number {number}" for number in range(12)]
        assert len(texts) == 12

    def test_a_killed_worker(
        self, sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str
    ) -> None:
        monkeypatch.setattr(once, "SETTLE_S", 2.0)
        store = FileStore(tmp_path / "killed.json")
        count = 60
        sandbox.faults([fault(service, delay_s=0.05, when="after")])
        worker = subprocess.Popen(
            [sys.executable, str(WORKER), service, str(count), str(store.path)],
            env=dict(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 60
            while len(sent(sandbox, service)) < count // 3 and worker.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            worker.kill()
        assert worker.wait() == -signal.SIGKILL
        sandbox.clear_faults()
        before = len(sent(sandbox, service))
        assert 0 < before < count
        results = send(service, numbered(service, count), store)
        texts = sent(sandbox, service)
        assert [texts[result["id"]] for result in results] == [f"Number {number}" for number in range(count)]
        assert len(texts) == count


# Elsewhere a fault of the look-up would be one of the sends, too.
@pytest.mark.parametrize("service", [name for name in WITH_LOOK if SEND_PATHS[name] != LOOK_PATHS[name]])
def test_while_the_look_fails_another_try_may_succeed(sandbox: RunningSandbox, store: FileStore, service: str) -> None:
    lost = fault(service, reset=True, when="after", times=3)
    sandbox.faults([lost, {"service": service, "path": LOOK_PATHS[service], "status": 500}])
    with pytest.raises(PartiallySent) as caught:
        send(service, numbered(service, 8), store, concurrency=3)
    lookups = len([e for e in sandbox.journal(service) if e["method"] == "GET"])
    # The first failed look-up stands for all.
    assert lookups <= 8
    assert [r["error_code"] for r in caught.value.results if not r["accepted"]] == ["DeliveryUnknown"] * 3
    sandbox.clear_faults()
    results = send(service, numbered(service, 8), store)
    texts = sent(sandbox, service)
    assert [texts[result["id"]] for result in results] == [f"Number {number}" for number in range(8)]
    assert asked(sandbox, service) == 8


@pytest.mark.parametrize("service", [service for service in WITH_LOOK if service != "serwersms"])
class TestTwins:
    """Two messages of one list that say the same; all services but one look for content."""

    def test_the_one_that_is_there_is_not_taken_for_the_other(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        sandbox.faults([fault(service, times=1), fault(service, reset=True, times=1)])
        twins = messages_for(service, "Same", "Same")
        for _ in range(2):
            with pytest.raises(PartiallySent) as caught:
                send(service, twins, store, concurrency=1)
            assert [result["accepted"] for result in caught.value.results] == [True, False]
            assert isinstance(caught.value.__cause__, DeliveryUnknown)
        assert len(sent(sandbox, service)) == 1

    def test_the_one_that_nobody_else_is_known_as_is_found(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        sandbox.faults([fault(service, reset=True, when="after", times=1)])
        results = send(service, messages_for(service, "Same", "Same"), store, concurrency=1)
        assert {result["id"] for result in results} == set(sent(sandbox, service))
        assert len(sent(sandbox, service)) == 2


@pytest.mark.usefixtures("no_look")
@pytest.mark.parametrize("service", SERVICES)
class TestWhereNobodyCanLook:
    def test_it_stays_unknown(self, sandbox: RunningSandbox, store: FileStore, service: str) -> None:
        sandbox.faults([fault(service, reset=True, when="after", times=1)])
        for _ in range(2):
            with pytest.raises(PartiallySent) as caught:
                send(service, numbered(service, 5), store, concurrency=1)
            assert [r["accepted"] for r in caught.value.results] == [False, True, True, True, True]
            assert isinstance(caught.value.__cause__, DeliveryUnknown)
        assert asked(sandbox, service) == len(sent(sandbox, service)) == 5

    def test_resend_sends_again_on_the_next_try(self, sandbox: RunningSandbox, store: FileStore, service: str) -> None:
        sandbox.faults([fault(service, reset=True, when="before", times=1)])
        with pytest.raises(PartiallySent):
            send(service, numbered(service, 3), store, concurrency=1, on_unknown="resend")
        assert asked(sandbox, service) == 3
        send(service, numbered(service, 3), store, concurrency=1, on_unknown="resend")
        assert asked(sandbox, service) == 4
        assert len(sent(sandbox, service)) == 3


def test_below_airflow_33_some_are_no_reason_to_try_again(sandbox: RunningSandbox) -> None:
    sandbox.faults([fault("mdi", status=400, times=1)])
    pushed = Pushed()
    with pytest.raises(AirflowFailException, match="1 of 3 messages were not accepted"):
        send("mdi", numbered("mdi", 3), None, pushed, concurrency=1)
    assert [result["accepted"] for result in pushed[0]] == [False, True, True]


def test_ids_of_the_user_are_kept_and_others_are_the_tasks(sandbox: RunningSandbox, store: FileStore) -> None:
    one, two = numbered("serwersms", 2)
    send("serwersms", [one | {"message_id": "order-17"}, two], store)
    ids = [message["unique_id"] for message in sandbox.messages("serwersms")["sent"]]
    assert "order-17" in ids
    assert message_id_for(context_of()) not in ids
    assert len(ids) == 2


class TestTheRecord:
    def test_it_is_small_and_tells_nothing(self, sandbox: RunningSandbox, store: FileStore) -> None:
        written: list[int] = []
        keep = store.set

        class Counting(FileStore):
            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                written.append(len(json.dumps(value)))
                keep(key, value)

        messages = numbered("sendhub", 450)
        send("sendhub", messages, Counting(store.path), concurrency=50)
        assert len(written) <= 30
        assert max(written) < 65536 / 1.5
        assert len(store.all()) == -(-450 // ledger.PAGE_SIZE)
        plain = json.dumps(store.all())
        assert "Number" not in plain
        assert '"1111"' not in plain
        assert len(rows(store)) == 450

    def test_all_are_noted_before_they_are_sent(self, sandbox: RunningSandbox, store: FileStore) -> None:
        noted: list[tuple[int, int]] = []

        class Watched(FileStore):
            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                super().set(key, value)
                noted.append((len(rows(self)), asked(sandbox, "mdi")))

        send("mdi", numbered("mdi", 40), Watched(store.path), concurrency=2)
        assert noted[0] == (2, 0)
        assert all(known >= asked_for for known, asked_for in noted)

    def test_a_store_that_fails_stops_it_before_it_sends(self, sandbox: RunningSandbox) -> None:
        class Broken:
            def get(self, key: str, default: Any = None) -> Any:
                return default

            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                raise RuntimeError("no store today")

        with pytest.raises(RuntimeError, match="no store today"):
            send("mdi", numbered("mdi", 4), Broken())
        assert asked(sandbox, "mdi") == 0


def test_what_could_not_be_noted_was_not_sent(sandbox: RunningSandbox, tmp_path: Path) -> None:
    store = FailsAtFirst(tmp_path / "store.json")
    with pytest.raises(RuntimeError):
        send("go_integrate", numbered("go_integrate", 30), store)
    assert asked(sandbox, "go_integrate") == 0
    send("go_integrate", numbered("go_integrate", 30), store)
    assert len(sent(sandbox, "go_integrate")) == 30
