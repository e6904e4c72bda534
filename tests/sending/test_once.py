"""One try after another: what is sent, looked for, answered from the record, or refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ConnectionLost,
    DeliveryUnknown,
    InvalidInput,
    MessagingError,
    RateLimited,
    ServiceUnavailable,
    may_have_had_effect,
)
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.messages import Draft, Receipt, Status
from airflow_messaging.operators import once
from airflow_messaging.operators.base import message_id_for
from airflow_messaging.operators.once import Record
from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.transport import pacing

from .sends import (
    LOOK_PATHS,
    NUMBER,
    SEND_PATHS,
    SERVICES,
    WITH_LOOK,
    FileStore,
    context_of,
    operator_of,
    send,
    sends_asked,
)

pytestmark = pytest.mark.usefixtures("connections")


def sent(sandbox: RunningSandbox, service: str) -> list[str]:
    return [message["text"] for message in sandbox.messages(service)["sent"]]


def fault(service: str, **what: Any) -> dict[str, Any]:
    return {"service": service, "path": SEND_PATHS[service], "times": 1, **what}


FAULTS: dict[str, dict[str, Any]] = {
    "cut before it is accepted": {"reset": True},
    "cut during the body": {"reset": True, "when": "during"},
    "cut after it is accepted": {"reset": True, "when": "after"},
    "no answer": {"truncate_at": 0, "body": "", "when": "after"},
    "half an answer": {"truncate_at": 5, "body": '{"id": "1234"}', "when": "after"},
}


class TestWithinOneTry:
    @pytest.mark.parametrize("what", FAULTS)
    @pytest.mark.parametrize("service", WITH_LOOK)
    def test_a_lost_answer(self, sandbox: RunningSandbox, store: FileStore, service: str, what: str) -> None:
        sandbox.faults([fault(service, **FAULTS[what])])
        receipt = send(service, "Once", store)
        assert sent(sandbox, service) == ["Once"]
        assert [message["id"] for message in sandbox.messages(service)["sent"]] == [receipt["id"]]
        [record] = store.all().values()
        assert record["receipt"]["id"] == receipt["id"]

    @pytest.mark.parametrize("service", WITH_LOOK)
    @pytest.mark.parametrize("status", [500, 200])
    def test_a_bad_answer_to_a_message_that_was_accepted(
        self, sandbox: RunningSandbox, store: FileStore, service: str, status: int
    ) -> None:
        sandbox.faults([fault(service, status=status, body="<h1>Oops</h1>", when="after")])
        receipt = send(service, "Once", store)
        assert [message["id"] for message in sandbox.messages(service)["sent"]] == [receipt["id"]]

    @pytest.mark.parametrize("service", WITH_LOOK)
    def test_a_server_error_for_a_message_that_was_not(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        sandbox.faults([fault(service, status=500)])
        with pytest.raises(ServiceUnavailable):
            send(service, "Once", store)
        assert sent(sandbox, service) == []
        send(service, "Once", store)
        assert sent(sandbox, service) == ["Once"]

    @pytest.mark.parametrize("service", WITH_LOOK)
    @pytest.mark.parametrize("offset_s", [-3600, 3600])
    def test_an_older_message_is_not_taken_for_it_by_another_clock(
        self, sandbox: RunningSandbox, store: FileStore, service: str, offset_s: float
    ) -> None:
        sandbox.clock(offset_s - 60)
        older = send(service, "The same", run_id="an earlier run")
        sandbox.clock(offset_s)
        sandbox.faults([fault(service, reset=True)])
        receipt = send(service, "The same", store)
        assert receipt["id"] != older["id"]
        assert sent(sandbox, service) == ["The same"] * 2

    def test_below_airflow_33_it_looks_too(self, sandbox: RunningSandbox) -> None:
        sandbox.faults([fault("mdi", reset=True, when="after")])
        send("mdi", "Once")
        assert sent(sandbox, "mdi") == ["Once"]

    def test_when_every_attempt_is_cut(self, sandbox: RunningSandbox, store: FileStore) -> None:
        sandbox.faults([{**fault("sendhub", reset=True), "times": None}])
        with pytest.raises(ConnectionLost, match="not sent"):
            send("sendhub", "Once", store)
        assert sends_asked(sandbox, "sendhub") == 4
        sandbox.clear_faults()
        send("sendhub", "Once", store)
        assert sent(sandbox, "sendhub") == ["Once"]


class TestTheNextTry:
    @pytest.mark.parametrize("service", SERVICES)
    def test_what_was_sent_is_answered_from_the_record(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        first = send(service, "Once", store)
        asked = len(sandbox.journal())
        assert send(service, "Once", store) == {**first, "raw": {}}
        assert len(sandbox.journal()) == asked

    @pytest.mark.parametrize("service", SERVICES)
    def test_the_record_tells_nothing(self, sandbox: RunningSandbox, store: FileStore, service: str) -> None:
        secrets = [value for value in sandbox.connections[f"{service}_default"].values() if isinstance(value, str)]
        send(service, "Private words", store)
        kept = store.path.read_text()
        private = ["Private", NUMBER, NUMBER[1:], "robin@", "9d2e@b7f05c38", *secrets[2:]]
        assert [word for word in private if word in kept] == []
        [record] = store.all().values()
        assert set(record) == {"message_id", "digest", "began", "receipt"}

    def test_what_was_refused_is_forgotten(self, sandbox: RunningSandbox, store: FileStore) -> None:
        sandbox.faults([fault("sendhub", status=400)])
        with pytest.raises(MessagingError):
            send("sendhub", "Once", store)
        assert store.all() == {}
        send("sendhub", "Once", store)
        assert sent(sandbox, "sendhub") == ["Once"]

    def test_the_id_is_written_before_the_message_is_sent(self, sandbox: RunningSandbox, store: FileStore) -> None:
        seen: list[dict[str, Any]] = []

        def watched(draft: Draft) -> Receipt:
            seen.extend(store.all().values())
            return Receipt(service="mdi", id="1", status=Status.SENT)

        with hook_for("mdi_default") as hook:
            once.send_once(hook, operator_of("mdi", "x").draft(hook, "an-id"), watched, context_of(store))
        assert [(record["message_id"], "receipt" in record) for record in seen] == [("an-id", False)]
        assert datetime.fromisoformat(seen[0]["began"]) <= datetime.now(UTC)

    def test_an_answer_that_cannot_be_kept_is_still_the_answer(
        self, sandbox: RunningSandbox, store: FileStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Full(FileStore):
            def set(self, key: str, value: Any, *, retention: Any = None) -> None:
                if "receipt" in value:
                    raise OSError("full")
                super().set(key, value)

        full = Full(store.path)
        send("mdi", "Once", full)
        assert "could not be kept" in caplog.text
        send("mdi", "Once", full)
        assert sent(sandbox, "mdi") == ["Once"]

    @pytest.mark.parametrize("service", WITH_LOOK)
    def test_a_look_that_fails_is_repeated_by_the_next_try(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        lost = fault(service, reset=True, when="after")
        sandbox.faults([lost, {"service": service, "path": LOOK_PATHS[service], "status": 500}])
        for _ in range(2):
            with pytest.raises(DeliveryUnknown, match=f"message id {message_id_for(context_of())}") as caught:
                send(service, "Once", store)
            assert not isinstance(caught.value, AirflowFailException)
        sandbox.clear_faults()
        receipt = send(service, "Once", store)
        assert [message["id"] for message in sandbox.messages(service)["sent"]] == [receipt["id"]]


@pytest.mark.usefixtures("no_look")
class TestWhereNobodyCanLook:
    @pytest.mark.parametrize("service", SERVICES)
    def test_it_fails_on_every_try(self, sandbox: RunningSandbox, store: FileStore, service: str) -> None:
        sandbox.faults([fault(service, reset=True, when="after")])
        for _ in range(3):
            with pytest.raises(DeliveryUnknown, match=message_id_for(context_of())) as caught:
                send(service, "Once", store)
            assert isinstance(caught.value, AirflowFailException)
            assert "Once" not in str(caught.value)
        assert sent(sandbox, service) == ["Once"]
        assert sends_asked(sandbox, service) == 1

    def test_below_airflow_33_there_is_no_second_try(self, sandbox: RunningSandbox) -> None:
        sandbox.faults([fault("mdi", reset=True, when="after")])
        with pytest.raises(AirflowFailException):
            send("mdi", "Once")

    @pytest.mark.parametrize("service", SERVICES)
    def test_resend_sends_again_on_the_next_try(self, sandbox: RunningSandbox, store: FileStore, service: str) -> None:
        sandbox.faults([fault(service, reset=True)])
        with pytest.raises(DeliveryUnknown) as caught:
            send(service, "Twice, perhaps", store, on_unknown="resend")
        assert not isinstance(caught.value, AirflowFailException)
        send(service, "Twice, perhaps", store, on_unknown="resend")
        assert sends_asked(sandbox, service) == 2
        assert sent(sandbox, service) == ["Twice, perhaps"]
        send(service, "Twice, perhaps", store, on_unknown="resend")
        assert sends_asked(sandbox, service) == 2

    def test_a_refusal_does_not_undo_the_doubt(
        self, sandbox: RunningSandbox, store: FileStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        sandbox.faults([fault("go_integrate", reset=True), fault("go_integrate", status=401)])
        for error in (DeliveryUnknown, AuthenticationFailed):
            with pytest.raises(error):
                send("go_integrate", "Once", store, on_unknown="resend")
        assert "may have sent it" in caplog.text
        [record] = store.all().values()
        assert "began" in record
        send("go_integrate", "Once", store, on_unknown="resend")
        assert sent(sandbox, "go_integrate") == ["Once"]

    def test_anything_else_is_refused(self, sandbox: RunningSandbox, store: FileStore) -> None:
        with pytest.raises(InvalidInput, match="on_unknown: got 'maybe', expected 'fail' or 'resend'"):
            send("mdi", "x", store, on_unknown="maybe")
        assert sandbox.journal() == []
        assert store.all() == {}


class TestAMessageThatHasChanged:
    def test_is_a_message_of_its_own(
        self, sandbox: RunningSandbox, store: FileStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        receipts = [send("serwersms", text, store) for text in ("One", "Other", "One", "Other")]
        assert sent(sandbox, "serwersms") == ["One", "Other"]
        assert [receipt["id"] for receipt in receipts[2:]] == [receipt["id"] for receipt in receipts[:2]]
        ids = [message["unique_id"] for message in sandbox.messages("serwersms")["sent"]]
        assert ids[0] == message_id_for(context_of())
        assert ids[1] != ids[0]
        assert "not the one that an earlier try has sent" in caplog.text
        assert {record["message_id"] for record in store.all().values()} == set(ids)

    def test_keeps_the_id_that_the_user_gave_it(self, sandbox: RunningSandbox, store: FileStore) -> None:
        for text in ("One", "Other"):
            task = SerwerSmsSendMessageOperator(task_id="a_task", phone=NUMBER, text=text, unique_id="order-17")
            task.execute(context_of(store))
        found = [(message["unique_id"], message["text"]) for message in sandbox.messages("serwersms")["sent"]]
        assert found == [("order-17", "One"), ("order-17", "Other")]

    def test_takes_its_first_place_when_the_first_was_refused(self, sandbox: RunningSandbox, store: FileStore) -> None:
        sandbox.faults([fault("serwersms", status=400)])
        with pytest.raises(MessagingError):
            send("serwersms", "Wrong", store)
        send("serwersms", "Right", store)
        [message] = sandbox.messages("serwersms")["sent"]
        assert message["unique_id"] == message_id_for(context_of())

    def test_mapped_tasks_have_records_and_ids_of_their_own(self, sandbox: RunningSandbox, store: FileStore) -> None:
        for map_index in (0, 1):
            operator_of("serwersms", "Same").execute(context_of(store, map_index=map_index))
        assert len(store.all()) == 2
        assert len({message["unique_id"] for message in sandbox.messages("serwersms")["sent"]}) == 2


def test_the_record_survives_json() -> None:
    now = datetime.now(UTC)
    receipt = Receipt(service="mdi", id="1", status=Status.SENT, sent_at=now)
    for record in (
        Record(message_id="a", digest="b"),
        Record(message_id="a", digest="b", began=now, ended=now, receipt=receipt),
    ):
        assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_connection_lost_is_harmless_and_unknown_errors_are_not() -> None:
    assert not may_have_had_effect(ConnectionLost("mdi", "session", "reset"))
    assert may_have_had_effect(MessagingError("anything"))


def test_what_the_service_says_counts_though_the_record_cannot_be_removed(
    sandbox: RunningSandbox, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_key: str) -> None:
        raise RuntimeError("the API server does not answer")

    monkeypatch.setattr(store, "delete", fails)
    sandbox.faults([fault("mdi", status=429, headers={"Retry-After": "600"})])
    with pytest.raises(RateLimited) as caught:
        send("mdi", "hello", store)
    assert caught.value.retry_after == pytest.approx(600, abs=2)
    # The pause over, the service can be asked whether it was sent after all.
    monkeypatch.setattr(pacing, "_lanes", {})
    send("mdi", "hello", store)
    assert sent(sandbox, "mdi") == ["hello"]
