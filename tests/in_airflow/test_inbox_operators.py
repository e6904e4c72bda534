"""The operators that list, get and mark messages, against the sandbox."""

import json
from typing import Any

import pytest

from airflow_messaging.exceptions import InvalidInput, NotFound, UnsupportedFeature
from airflow_messaging.operators.messages import GetMessageOperator, MarkMessagesReadOperator
from airflow_messaging.sandbox import RunningSandbox

from .harness import SERVICES, WITH_READ_FLAG, WITHOUT_READ_FLAG, run, waiting

pytestmark = pytest.mark.usefixtures("connections", "variables")


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
        cursor = variables[f"airflow_messaging.reader.{conn_id}:mine"]
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
