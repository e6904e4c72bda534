"""What all operators have in common: templated arguments, limits, and the hook that their connection names."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import BaseOperator, BaseSensorOperator

from airflow_messaging.exceptions import InvalidInput, MessageTooLarge
from airflow_messaging.operators.base import MessagingOperator, SendOperator
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

from .harness import SERVICES, new_context, run, waiting

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
