"""The send operators against the sandbox: what they send, under which id, and what they refuse to send."""

import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_messaging.exceptions import InvalidInput, UnsupportedFeature
from airflow_messaging.operators.base import message_id_for
from airflow_messaging.operators.go_integrate import GoIntegrateSendMessageOperator
from airflow_messaging.operators.liquidfiles import LiquidFilesSendMessageOperator
from airflow_messaging.operators.mdi import MdiSendMessageOperator
from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.operators.sendhub import SendHubSendMessageOperator
from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator
from airflow_messaging.sandbox import RunningSandbox

from .harness import new_context, run

pytestmark = pytest.mark.usefixtures("connections", "variables")


@pytest.fixture
def order(tmp_path: Path) -> Path:
    file = tmp_path / "order.csv"
    file.write_text("bolt M8,400\n")
    return file


class TestSending:
    def test_go_integrate(self, sandbox: RunningSandbox, order: Path) -> None:
        to = sandbox.credentials["go_integrate"]["peer_route"]
        receipt = run(GoIntegrateSendMessageOperator, data=str(order), message_to=to, message_expires_after="3600")
        assert receipt["id"] == message_id_for(new_context())
        (sent,) = sandbox.messages("go_integrate")["sent"]
        assert sent["to"] == to

    def test_liquidfiles(self, sandbox: RunningSandbox, order: Path) -> None:
        receipt = run(
            LiquidFilesSendMessageOperator,
            recipients="robin@peer.example",
            subject="Order",
            message="See attachment",
            attachments=str(order),
        )
        (sent,) = sandbox.messages("liquidfiles")["sent"]
        assert (sent["id"], sent["attachments"]) == (receipt["id"], ["order.csv"])

    def test_mdi(self, sandbox: RunningSandbox) -> None:
        receipt = run(MdiSendMessageOperator, unitid="17", channelid=11, content="Gate B", timeout="null")
        (sent,) = sandbox.messages("mdi")["sent"]
        assert (sent["id"], sent["text"]) == (receipt["id"], "Gate B")

    def test_serwersms(self, sandbox: RunningSandbox) -> None:
        receipt = run(SerwerSmsSendMessageOperator, phone=["+48500600700", "+48500600701"], text="Cześć")
        sent = sandbox.messages("serwersms")["sent"]
        assert {message["unique_id"] for message in sent} == {message_id_for(new_context())}
        assert receipt["id"] == sent[0]["id"]
        assert len(receipt["raw"]["items"]) == 2

    def test_sendhub(self, sandbox: RunningSandbox) -> None:
        receipt = run(
            SendHubSendMessageOperator, contacts=["{{ 1111 }}"], text="Hello", scheduled_at="2030-02-17T20:29:40-0800"
        )
        assert receipt["status"] == "scheduled"
        assert receipt["scheduled_at"] == "2030-02-18T04:29:40+00:00"

    @pytest.mark.parametrize(
        ("service", "to", "options"),
        [
            ("go_integrate", "9d2e@b7f05c38", {"message_expires_after": 60}),
            ("liquidfiles", ["robin@peer.example"], {"send_email": False}),
            ("mdi", "17", {"channelid": "{{ 11 }}"}),
            ("serwersms", "+48500600700", {}),
            ("sendhub", ["1111"], None),
        ],
    )
    def test_any_of_the_five(self, sandbox: RunningSandbox, service: str, to: Any, options: Any) -> None:
        conn_id = f"{service}_default"
        receipt = run(SendMessageOperator, conn_id=conn_id, to=to, text="Hello {{ run_id }}", options=options)
        assert receipt["service"] == service
        assert len(sandbox.messages(service)["sent"]) == 1
        assert receipt["sent_at"].endswith("+00:00")

    def test_files_as_object_storage_paths(self, sandbox: RunningSandbox, order: Path) -> None:
        path = ObjectStoragePath(f"file://{order}")
        run(SendMessageOperator, conn_id="liquidfiles_default", to="robin@peer.example", attachments=[path])
        run(GoIntegrateSendMessageOperator, data=path, message_to="9d2e@b7f05c38")
        assert sandbox.messages("liquidfiles")["sent"][0]["attachments"] == ["order.csv"]

    def test_what_a_service_cannot_express_is_refused(self, sandbox: RunningSandbox, order: Path) -> None:
        for service, changes in {
            "go_integrate": {"subject": "x"},
            "liquidfiles": {"in_reply_to": "1"},
            "mdi": {"attachments": [str(order)]},
            "serwersms": {"subject": "x"},
            "sendhub": {"attachments": [str(order), str(order)]},
        }.items():
            with pytest.raises(UnsupportedFeature, match=service):
                run(SendMessageOperator, conn_id=f"{service}_default", to="1", text="x", **changes)
        assert sandbox.journal() == []


class TestMessageId:
    def test_the_same_on_every_try_and_another_for_each_task(self) -> None:
        contexts = [
            {},
            {"map_index": 0},
            {"map_index": 1},
            {"task_id": "b"},
            {"run_id": "b"},
            {"dag_id": "b"},
        ]
        ids = [message_id_for(new_context(**changes)) for changes in contexts]
        assert len(set(ids)) == len(ids)
        assert ids == [message_id_for(new_context(try_number=2, **changes)) for changes in contexts]

    def test_a_retry_sends_under_the_same_id(self, sandbox: RunningSandbox, order: Path) -> None:
        for try_number in (1, 2):
            # Go Integrate Me takes no signature twice, and signatures change by the second.
            time.sleep(1.1 * (try_number - 1))
            context = new_context(try_number=try_number)
            run(GoIntegrateSendMessageOperator, context, data=str(order), message_to="9d2e@b7f05c38")
            run(SerwerSmsSendMessageOperator, context, phone="+48500600700", text="x")
        sends = [entry for entry in sandbox.journal("go_integrate") if entry["path"].endswith("send-message")]
        headers = [{name.lower(): value for name, value in entry["headers"].items()} for entry in sends]
        assert [found["message-id"] for found in headers] == [message_id_for(new_context())] * 2
        assert len({message["unique_id"] for message in sandbox.messages("serwersms")["sent"]}) == 1


BAD_INPUT: list[tuple[type[Any], dict[str, Any], str, str, str]] = [
    (SendHubSendMessageOperator, {"text": "x"}, "contacts", "no contacts", "at least one"),
    (SendHubSendMessageOperator, {"contacts": [*range(21)], "text": "x"}, "contacts", "21", "at most 20"),
    (SendHubSendMessageOperator, {"contacts": [1], "groups": [1, 2, 3, 4], "text": "x"}, "groups", "4", "at most 3"),
    (SendHubSendMessageOperator, {"contacts": [1], "text": "x" * 501}, "text", "501 characters", "at most 500"),
    (
        SendHubSendMessageOperator,
        {"contacts": [1], "text": "x", "scheduled_at": "2030-02-17 20:29"},
        "scheduled_at",
        "2030-02-17 20:29",
        "24",
    ),
    (
        SendHubSendMessageOperator,
        {"contacts": [1], "text": "x", "scheduled_at": "2030-02-17T20:29:40.0000"},
        "scheduled_at",
        "40.0000",
        "24",
    ),
    (
        MdiSendMessageOperator,
        {"unitid": 17, "channelid": 11, "content": "x", "timeout": 32768},
        "timeout",
        "32768",
        "32767",
    ),
    (MdiSendMessageOperator, {"unitid": "", "channelid": 11, "content": "x"}, "unitid", "''", "whole number"),
    (LiquidFilesSendMessageOperator, {"recipients": [], "message": "x"}, "recipients", "[]", "at least one"),
    (LiquidFilesSendMessageOperator, {"recipients": "", "message": "x"}, "recipients", "''", "texts"),
    (
        LiquidFilesSendMessageOperator,
        {"recipients": ["a@b.example"], "attachments": ["/nowhere/a.txt"]},
        "attachments",
        "/nowhere/a.txt",
        "readable",
    ),
    (SerwerSmsSendMessageOperator, {"phone": [], "text": "x"}, "phone", "0 numbers", "1 to"),
    (SerwerSmsSendMessageOperator, {"phone": "+48500600700", "text": ""}, "text", "no text", "not empty"),
    (SerwerSmsSendMessageOperator, {"phone": "+48500600700", "text": "x", "utf": "maybe"}, "utf", "maybe", "True"),
    (
        GoIntegrateSendMessageOperator,
        {"data": __file__, "message_to": "a@b\r\nX-Evil: 1"},
        "message_to",
        "X-Evil",
        "without line breaks",
    ),
    (
        GoIntegrateSendMessageOperator,
        {"data": "/nowhere/a.txt", "message_to": "a@b"},
        "data",
        "/nowhere/a.txt",
        "readable",
    ),
    (GoIntegrateSendMessageOperator, {"data": "", "message_to": "a@b"}, "data", "''", "path"),
    (
        GoIntegrateSendMessageOperator,
        {"data": __file__, "message_to": "a@b", "message_expires_after": 0},
        "message_expires_after",
        "0",
        "from 1",
    ),
    (SendMessageOperator, {"conn_id": "mdi_default", "to": [], "text": "x"}, "to", "nothing", "recipient"),
    (
        SendMessageOperator,
        {"conn_id": "sendhub_default", "to": "1111", "text": "x", "options": {"colour": "red"}},
        "options",
        "colour",
        "only",
    ),
]


@pytest.mark.parametrize(("operator", "arguments", "field", "value", "rule"), BAD_INPUT)
def test_bad_input_is_refused_before_anything_is_sent(
    sandbox: RunningSandbox, operator: type[Any], arguments: dict[str, Any], field: str, value: str, rule: str
) -> None:
    if operator is SendMessageOperator and arguments["conn_id"] == "mdi_default":
        arguments = {**arguments, "options": {"channelid": 11}}
    with pytest.raises(InvalidInput) as caught:
        run(operator, **arguments)
    assert caught.value.field == field
    got, expected = str(caught.value).removeprefix(f"{field}: ").split(", expected ")
    assert value in got
    assert rule in expected
    assert sandbox.journal() == []
