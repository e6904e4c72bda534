"""The digest of a message tells it from every other: all arguments and the content of files count."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.messages import Draft, upload_from_bytes
from airflow_messaging.operators.go_integrate import GoIntegrateSendMessageOperator
from airflow_messaging.operators.liquidfiles import LiquidFilesSendMessageOperator
from airflow_messaging.operators.mdi import MdiSendMessageOperator
from airflow_messaging.operators.messages import SendMessageOperator
from airflow_messaging.operators.once import digest_of
from airflow_messaging.operators.sendhub import SendHubSendMessageOperator
from airflow_messaging.operators.serwersms import SerwerSmsSendMessageOperator

pytestmark = pytest.mark.usefixtures("connections")

EVERYTHING: list[tuple[type[Any], dict[str, Any]]] = [
    (
        SendMessageOperator,
        {"conn_id": "mdi_default", "to": "a", "text": "b", "subject": "c", "in_reply_to": "d", "options": {"e": 1}},
    ),
    (GoIntegrateSendMessageOperator, {"message_to": "a", "message_id": "b", "message_expires_after": 60}),
    (
        LiquidFilesSendMessageOperator,
        {
            "recipients": ["a"],
            "subject": "b",
            "message": "c",
            "cc": ["d"],
            "bcc": ["e"],
            "expires_at": "2030-01-01",
            "expires_after": 1,
            "send_email": False,
            "authorization": 1,
            "private_message": True,
            "bcc_myself": True,
        },
    ),
    (
        MdiSendMessageOperator,
        {
            "unitid": 1,
            "channelid": 2,
            "content": "c",
            "userid": 3,
            "replyto": 4,
            "timeout": 5,
            "direction": "unittouser",
        },
    ),
    (
        SerwerSmsSendMessageOperator,
        {
            "phone": ["1", "2"],
            "text": "b",
            "sender": "c",
            "date": "2030-01-01",
            "unique_id": "d",
            "utf": True,
            "flash": True,
            "speed": True,
            "test": True,
        },
    ),
    (
        SendHubSendMessageOperator,
        {
            "contacts": [1],
            "groups": [2],
            "contact_names": ["c"],
            "group_names": ["d"],
            "text": "e",
            "scheduled_at": "2030-02-17T20:29:40-0800",
        },
    ),
]


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        return {**value, "new": 1}
    return [*value, 7] if isinstance(value, list) else "zzz"


class TestTheDigest:
    @pytest.mark.parametrize(("operator", "arguments"), EVERYTHING, ids=lambda value: getattr(value, "__name__", ""))
    def test_every_argument_counts(self, operator: type[Any], arguments: dict[str, Any], tmp_path: Path) -> None:
        file = str(tmp_path / "file")
        files = {"attachments": [file], "data": file, "mms": file}
        (tmp_path / "file").write_text("1")
        arguments |= {name: value for name, value in files.items() if name in operator.template_fields}
        elsewhere = {"conn_id", "on_unknown", "fail_on_unsent", "split_recipients"} & set(operator.template_fields)
        assert set(arguments) | elsewhere == set(operator.template_fields)

        def digest(**changes: Any) -> str:
            task = operator(task_id="a_task", **(arguments | changes))
            return digest_of(task.draft(None, "an-id"), task.conn_id)

        plain = digest()
        assert digest() == plain
        (tmp_path / "other").write_text("1")
        for name, value in arguments.items():
            other = str(tmp_path / "other") if name in files else changed(value)
            assert digest(**{name: other}) != plain, name
        assert digest(conn_id="other") != plain

    def test_the_content_of_files_counts(self) -> None:
        drafts = [
            Draft(to=("a",), message_id="b", attachments=(upload_from_bytes("name", data),)) for data in (b"1", b"2")
        ]
        assert digest_of(drafts[0], "c") != digest_of(drafts[1], "c")

    def test_an_option_that_is_not_given_does_not(self) -> None:
        draft = Draft(to=("a",), message_id="b")
        assert digest_of(draft, "c") == digest_of(dataclasses.replace(draft, options={"new": None}), "c")

    @pytest.mark.parametrize("options", [{1: "a", "b": 2}, {"a": {1: object}}])
    def test_what_is_refused_later_does_not_break_it(self, options: Any) -> None:
        assert len(digest_of(Draft(to=(None,), message_id="b", options=options), "c")) == 64  # type: ignore[arg-type]
