"""The operators against the sandbox: what they send, hand over, mark and store."""

import inspect
import json
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, ObjectStoragePath

from airflow_messaging.exceptions import CorruptDownload, InvalidInput, MessageTooLarge, NotFound, UnsupportedFeature
from airflow_messaging.operators.base import MessagingOperator, SendOperator, message_id_for
from airflow_messaging.operators.go_integrate import GoIntegrateSendMessageOperator
from airflow_messaging.operators.liquidfiles import LiquidFilesDeleteAttachmentsOperator, LiquidFilesSendMessageOperator
from airflow_messaging.operators.mdi import MdiSendMessageOperator
from airflow_messaging.operators.messages import (
    DownloadAttachmentsOperator,
    GetMessageOperator,
    ListMessagesOperator,
    MarkMessagesReadOperator,
    SendMessageOperator,
)
from airflow_messaging.operators.sendhub import SendHubSendMessageOperator
from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.sensors.messages import MessageStatusSensor, NextMessageSensor

from .harness import SERVICES, WITH_READ_FLAG, WITHOUT_READ_FLAG, as_json, new_context

pytestmark = pytest.mark.usefixtures("connections", "variables")

SEND_OPERATORS = (
    GoIntegrateSendMessageOperator,
    LiquidFilesSendMessageOperator,
    MdiSendMessageOperator,
    SerwerSmsSendMessageOperator,
    SendHubSendMessageOperator,
)
OPERATORS = (
    *SEND_OPERATORS,
    SendMessageOperator,
    ListMessagesOperator,
    GetMessageOperator,
    MarkMessagesReadOperator,
    DownloadAttachmentsOperator,
    LiquidFilesDeleteAttachmentsOperator,
)
SENSORS = (NextMessageSensor, MessageStatusSensor)


def run(operator: type[Any], context: Any = None, **arguments: Any) -> Any:
    """Run an operator as a worker does: templates first; what it returns goes through XCom."""
    context = context or new_context()
    with DAG("a_dag", schedule=None):
        task = operator(task_id="a_task", **arguments)
    task.render_template_fields(context)
    return as_json(task.execute(context))


def waiting(service: str, **arguments: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = run(ListMessagesOperator, conn_id=f"{service}_default", **arguments)
    return messages


@pytest.fixture
def order(tmp_path: Path) -> Path:
    file = tmp_path / "order.csv"
    file.write_text("bolt M8,400\n")
    return file


class TestArguments:
    @pytest.mark.parametrize("kind", [*OPERATORS, *SENSORS], ids=lambda kind: kind.__name__)
    def test_all_are_templated(self, kind: type[Any]) -> None:
        ours = kind.__mro__[: kind.__mro__.index(BaseSensorOperator if kind in SENSORS else BaseOperator)]
        own = {
            name
            for base in ours
            for name, parameter in inspect.signature(base.__init__).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        not_templated_by_airflow_either = {"deferrable", "poke_interval", "end_from_trigger"}
        assert "conn_id" in own
        assert set(kind.template_fields) >= own - not_templated_by_airflow_either
        assert len(set(kind.template_fields)) == len(kind.template_fields)

    @pytest.mark.parametrize("kind", SEND_OPERATORS, ids=lambda kind: kind.__name__)
    def test_each_send_operator_has_a_default_connection(self, kind: type[SendOperator]) -> None:
        required = {
            name: "1"
            for name, parameter in inspect.signature(kind.__init__).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        }
        assert kind(task_id="a_task", **required).conn_id == f"{kind.conn_type}_default"
        assert kind(task_id="a_task", conn_id="mine", **required).conn_id == "mine"

    def test_numbers_and_flags_may_come_from_templates(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        context = new_context() | {"params": {"one": 1, "yes": True, "no": False, "path": str(tmp_path)}}
        for _ in range(2):
            sandbox.inbound("serwersms", attachments=[{"filename": "x", "content": b"123"}])
        some = run(ListMessagesOperator, context, conn_id="serwersms_default", limit="{{ params.one }}")
        assert len(some) == 1
        with pytest.raises(MessageTooLarge):
            run(
                DownloadAttachmentsOperator,
                context,
                conn_id="serwersms_default",
                messages=some,
                path="{{ params.path }}",
                max_bytes="{{ params.one }}",
            )
        run(
            LiquidFilesSendMessageOperator,
            context,
            recipients=["{{ 'robin' }}@peer.example"],
            message="Hi",
            send_email="{{ params.no }}",
            expires_after="{{ params.one }}",
            authorization="{{ params.one }}",
        )
        run(
            SerwerSmsSendMessageOperator,
            context,
            phone="+48500600700",
            text="x",
            test="{{ params.yes }}",
            flash="{{ params.no }}",
        )
        assert sandbox.messages("serwersms")["sent"] == []  # only tested

    @pytest.mark.parametrize(("field", "value"), [("limit", "many"), ("limit", 0), ("limit", -1)])
    def test_bad_limits(self, sandbox: RunningSandbox, field: str, value: Any) -> None:
        with pytest.raises(InvalidInput, match=field):
            waiting("mdi", **{field: value})
        assert sandbox.journal() == []


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


class TestConnections:
    def test_the_wrong_type(self, sandbox: RunningSandbox) -> None:
        with pytest.raises(InvalidInput, match=r"connection type: got 'mdi', expected sendhub"):
            run(SendHubSendMessageOperator, conn_id="mdi_default", contacts=[1], text="x")
        assert sandbox.journal() == []

    @pytest.mark.parametrize("kind", [ListMessagesOperator, NextMessageSensor])
    def test_an_unknown_type(self, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, kind: type[Any]) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "postgres", "host": "localhost"}))
        with pytest.raises(InvalidInput, match=r"connection type: got 'postgres', expected one of go_integrate"):
            run(kind, conn_id="other")

    def test_none_at_all(self, sandbox: RunningSandbox) -> None:
        with pytest.raises(AirflowNotFoundException):
            run(ListMessagesOperator, conn_id="nowhere")

    def test_the_type_picks_the_hook(self, sandbox: RunningSandbox) -> None:
        for service in SERVICES:
            task = MessagingOperator(task_id="a_task", conn_id=f"{service}_default")
            with task.hook() as hook:
                assert hook.conn_type == service


class TestLooking:
    @pytest.mark.parametrize("service", SERVICES)
    def test_list_and_get(self, sandbox: RunningSandbox, service: str) -> None:
        first = sandbox.inbound(service, text="one")
        sandbox.clock(2)
        second = sandbox.inbound(service, text="two")
        listed = waiting(service)
        assert [message["id"] for message in listed] == [first, second]
        assert [message["id"] for message in waiting(service, limit=1)] == [first]
        assert [message["id"] for message in waiting(service, after=listed[0])] == [second]
        got = run(GetMessageOperator, conn_id=f"{service}_default", message_id=second + "{{ '' }}")
        assert (got["id"], got["text"]) == (second, "two")
        assert len(waiting(service)) == 2  # only a look

    def test_what_is_not_there(self, sandbox: RunningSandbox) -> None:
        for service in SERVICES:
            with pytest.raises(NotFound):
                run(GetMessageOperator, conn_id=f"{service}_default", message_id="999999999")

    def test_bytes_survive_xcom(self, sandbox: RunningSandbox) -> None:
        from airflow_messaging.messages import Message

        sandbox.inbound("go_integrate", attachments=[{"filename": "a.bin", "content": bytes(range(256))}])
        (message,) = waiting("go_integrate")
        assert message["content_encoding"] == "base64"
        assert Message.from_dict(message).content == bytes(range(256))

    def test_large_files_do_not_get_into_xcom(self, sandbox: RunningSandbox) -> None:
        for service in ("go_integrate", "liquidfiles", "serwersms"):
            sandbox.inbound(service, attachments=[{"filename": "a.bin", "content": b"x" * 200_000}])
            (message,) = waiting(service)
            assert len(json.dumps(message)) < 4000
            assert len(message["attachments"]) == 1


class TestMarkingRead:
    @pytest.mark.parametrize("service", WITH_READ_FLAG)
    @pytest.mark.parametrize("by", ["message", "id", "list"])
    def test_sets_the_flag(self, sandbox: RunningSandbox, service: str, by: str) -> None:
        sandbox.inbound(service, text="one")
        sandbox.clock(2)
        sandbox.inbound(service, text="two")
        first, second = waiting(service)
        given: Any = {"message": first, "id": first["id"], "list": [first, second["id"]]}[by]
        answer = run(MarkMessagesReadOperator, conn_id=f"{service}_default", messages=given)
        done = [first["id"], second["id"]] if by == "list" else [first["id"]]
        assert answer == {"acknowledged": done, "also_received": []}
        assert [message["id"] for message in waiting(service)] == [second["id"]][len(done) - 1 :]

    @pytest.mark.parametrize("service", WITHOUT_READ_FLAG)
    def test_needs_a_reader_where_there_is_no_flag(
        self, sandbox: RunningSandbox, variables: dict[str, str], service: str
    ) -> None:
        sandbox.inbound(service, text="one")
        (message,) = waiting(service)
        conn_id = f"{service}_default"
        with pytest.raises(UnsupportedFeature, match="reader"):
            run(MarkMessagesReadOperator, conn_id=conn_id, messages=message)
        assert variables == {}
        answer = run(MarkMessagesReadOperator, conn_id=conn_id, messages=[message], reader="{{ 'mine' }}")
        assert answer == {"acknowledged": [message["id"]], "also_received": []}
        cursor = variables[f"airflow_messaging.reader.{conn_id}.mine"]
        assert waiting(service, after=json.loads(cursor)) == []

    def test_serwersms_hands_out_what_came_in_the_same_second(self, sandbox: RunningSandbox) -> None:
        sandbox.clock(0, frozen=True)
        first, second = (sandbox.inbound("serwersms", text=text) for text in ("one", "two"))
        sandbox.inbound("serwersms", text="another sender", sender="+48500600999")
        (message,) = (message for message in waiting("serwersms") if message["id"] == first)
        answer = run(MarkMessagesReadOperator, conn_id="serwersms_default", messages=message)
        assert answer["acknowledged"] == [first]
        assert [(also["id"], also["text"]) for also in answer["also_received"]] == [(second, "two")]
        assert [message["text"] for message in waiting("serwersms")] == ["another sender"]

    @pytest.mark.parametrize("messages", [None, "", 5, {}, {"id": 1, "service": "sendhub"}, [None]])
    def test_garbage(self, sandbox: RunningSandbox, messages: Any) -> None:
        with pytest.raises(InvalidInput, match="message"):
            run(MarkMessagesReadOperator, conn_id="sendhub_default", messages=messages)
        assert sandbox.journal() == []

    def test_a_message_of_another_service(self, sandbox: RunningSandbox) -> None:
        sandbox.inbound("mdi", text="x")
        (message,) = waiting("mdi")
        with pytest.raises(InvalidInput, match="a message of mdi, expected messages of sendhub"):
            run(MarkMessagesReadOperator, conn_id="sendhub_default", messages=message)

    def test_nothing_to_mark(self, sandbox: RunningSandbox) -> None:
        answer = run(MarkMessagesReadOperator, conn_id="sendhub_default", messages=[])
        assert answer == {"acknowledged": [], "also_received": []}


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
