"""A DAG run's own messages: from its events, once, and whole again."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_messaging.assets import MOST_REMEMBERED, inbox_asset, messages_from
from airflow_messaging.exceptions import InvalidInput, MessageGone, MessagingError, ServiceUnavailable
from airflow_messaging.get_provider_info import CONNECTION_TYPES, get_provider_info
from airflow_messaging.sandbox import RunningSandbox

BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def payload(*ids: str, account: str = "a1", **changes: Any) -> dict[str, Any]:
    messages = [{"service": "sendhub", "id": id_, "text": f"order {id_}"} for id_ in ids]
    whole = {"service": "sendhub", "conn_id": "sendhub_default", "account": account, "messages": messages}
    return {**whole, "repeats": [], **changes}


def context(run_id: str, *payloads: Any, dag_id: str = "book", newest_first: bool = False) -> Any:
    events = [
        SimpleNamespace(timestamp=BEGAN + timedelta(seconds=n), extra={"from_trigger": True, "payload": content})
        for n, content in enumerate(payloads)
    ]
    if newest_first:
        events.reverse()
    run = SimpleNamespace(dag_id=dag_id, run_id=run_id)
    return {"dag_run": run, "triggering_asset_events": {"orders": events} if events else {}}


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [message["id"] for message in messages]


@pytest.mark.usefixtures("variables")
class TestMessagesFrom:
    def test_all_events_oldest_first(self) -> None:
        events = payload("1", "2"), payload("3")
        assert ids(messages_from(context("r1", *events, newest_first=True))) == ["1", "2", "3"]

    def test_twice_in_one_run_is_once(self) -> None:
        assert ids(messages_from(context("r1", payload("1", "2"), payload("2", "3")))) == ["1", "2", "3"]

    def test_a_second_run_does_not_get_what_the_first_has(self) -> None:
        assert ids(messages_from(context("r1", payload("1", "2")))) == ["1", "2"]
        assert ids(messages_from(context("r2", payload("2", "3")))) == ["3"]

    def test_a_task_that_is_tried_again_gets_the_same(self) -> None:
        for _ in range(2):
            assert ids(messages_from(context("r1", payload("1", "2")))) == ["1", "2"]

    def test_each_dag_has_its_own_memory(self) -> None:
        for dag_id in ("book", "count"):
            assert ids(messages_from(context("r1", payload("1"), dag_id=dag_id))) == ["1"]

    def test_the_same_id_in_another_account_is_another_message(self) -> None:
        assert ids(messages_from(context("r1", payload("1"), payload("1", account="a2")))) == ["1", "1"]

    def test_an_event_that_only_takes_a_tail_along_brings_nothing(self, variables: dict[str, str]) -> None:
        assert messages_from(context("r1", payload(repeats=["1", "2"]))) == []
        assert variables == {}

    @pytest.mark.parametrize("foreign", [None, "text", {}, {"messages": []}])
    def test_foreign_events_are_left_alone(self, foreign: Any) -> None:
        assert ids(messages_from(context("r1", foreign, payload("1")))) == ["1"]

    def test_a_run_that_somebody_started_by_hand_has_none(self) -> None:
        assert messages_from(context("r1")) == []

    def test_the_memory_is_bounded(self, variables: dict[str, str]) -> None:
        for run in range(4):
            messages_from(context(f"r{run}", payload(*(f"{run}-{n}" for n in range(400)))))
        assert len(json.loads(variables["airflow_messaging.handled.book"])) == MOST_REMEMBERED

    def test_what_did_not_travel_is_fetched(self, sandbox: RunningSandbox, connections: Any) -> None:
        message_id = sandbox.inbound("sendhub", text="a long one")
        reference = {"service": "sendhub", "id": message_id, "received_at": None, "fetch": True}
        (message,) = messages_from(context("r1", payload(messages=[reference])))
        assert message["text"] == "a long one"

    def test_what_is_gone_is_an_error_that_says_so(self, sandbox: RunningSandbox, connections: Any) -> None:
        reference = {"service": "sendhub", "id": "999999", "received_at": None, "fetch": True}
        with pytest.raises(MessageGone):
            messages_from(context("r1", payload(messages=[reference])))

    @pytest.mark.parametrize("gone", [{"fetch": True}, {"spooled": "file:///not/there/message.json"}])
    def test_the_others_can_be_had_without_it(
        self, gone: dict[str, Any], sandbox: RunningSandbox, connections: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        events = payload("1"), payload(messages=[{"service": "sendhub", "id": "999999", "received_at": None, **gone}])
        assert ids(messages_from(context("r1", *events), on_gone="leave_out")) == ["1"]
        assert "Message 999999 is left out" in caplog.text
        with pytest.raises(MessagingError):
            messages_from(context("r1", *events))

    def test_a_service_that_does_not_answer_leaves_nothing_out(self, sandbox: RunningSandbox, connections: Any) -> None:
        reference = {"service": "sendhub", "id": "999999", "received_at": None, "fetch": True}
        sandbox.faults([{"service": "sendhub", "status": 502}])
        with pytest.raises(ServiceUnavailable):
            messages_from(context("r1", payload(messages=[reference])), on_gone="leave_out")

    def test_what_else_is_to_be_done_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="on_gone"):
            messages_from(context("r1", payload("1")), on_gone="ignore")


@pytest.mark.newest
class TestInboxAsset:
    def test_asset_and_watcher(self) -> None:
        asset = inbox_asset("orders", conn_id="sendhub_default", sender="+16505551234", gather=5)
        (watcher,) = asset.watchers
        path, arguments = watcher.trigger.serialize()
        assert path == "airflow_messaging.triggers.inbox.InboxTrigger"
        assert arguments["reader"] == "orders"
        assert {"conn_id": "sendhub_default", "sender": "+16505551234", "gather": 5}.items() <= arguments.items()

    def test_a_name_that_no_variable_may_have(self) -> None:
        with pytest.raises(InvalidInput, match="reader"):
            inbox_asset("my orders", conn_id="sendhub_default")
        assert inbox_asset("my orders", conn_id="sendhub_default", reader="orders").name == "my orders"

    def test_unknown_arguments_are_refused(self) -> None:
        with pytest.raises(TypeError):
            inbox_asset("orders", conn_id="sendhub_default", senders="typo")


class TestQueues:
    @pytest.mark.parametrize("scheme", CONNECTION_TYPES)
    @pytest.mark.newest
    def test_each_connection_type_is_a_scheme(self, scheme: str) -> None:
        from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger

        from airflow_messaging.triggers.inbox import InboxTrigger

        wrapped = MessageQueueTrigger(scheme=scheme, conn_id=f"{scheme}_default", reader="orders")
        assert wrapped.serialize() == InboxTrigger(conn_id=f"{scheme}_default", reader="orders").serialize()

    def test_airflow_is_told_of_all(self) -> None:
        assert get_provider_info()["queues"] == [row.queue for row in CONNECTION_TYPES.values()]

    def test_before_3_3_the_strong_promise_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow_messaging.triggers import inbox

        monkeypatch.setattr(inbox, "find_spec", lambda _name: None)
        with pytest.raises(InvalidInput, match=r"Airflow 3\.3"):
            inbox.InboxTrigger(conn_id="sendhub_default", reader="orders")
        inbox.InboxTrigger(conn_id="sendhub_default", reader="orders", ack=False)
