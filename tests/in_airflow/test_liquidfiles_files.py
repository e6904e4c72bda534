"""The operator that deletes files on a LiquidFiles server."""

from typing import Any

import pytest

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.hooks.liquidfiles import LiquidFilesHook
from airflow_messaging.messages import upload_from_bytes
from airflow_messaging.operators.liquidfiles import LiquidFilesDeleteAttachmentsOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.liquidfiles import CHUNK_SIZE

from .harness import new_context, run, waiting

pytestmark = pytest.mark.usefixtures("connections", "variables")

FILES = [{"filename": name, "content": b"x"} for name in ("a", "b")]


def delete(**arguments: Any) -> dict[str, list[str]]:
    done: dict[str, list[str]] = run(LiquidFilesDeleteAttachmentsOperator, **arguments)
    return done


def left() -> list[int]:
    return [len(message["attachments"]) for message in waiting("liquidfiles")]


@pytest.mark.parametrize("by", ["record", "id", "list"])
def test_all_files_of_messages(sandbox: RunningSandbox, by: str) -> None:
    first, second = (sandbox.inbound("liquidfiles", attachments=FILES) for _ in range(2))
    record = next(message for message in waiting("liquidfiles") if message["id"] == first)
    given = {"record": record, "id": first, "list": [record, second]}[by]
    expected = [first, second] if by == "list" else [first]

    assert delete(messages=given) == {"deleted": expected, "gone": []}
    assert left() == ([0, 0] if by == "list" else [0, 2])


def test_single_files_and_what_is_gone_already(sandbox: RunningSandbox) -> None:
    sandbox.inbound("liquidfiles", attachments=FILES)
    [message] = waiting("liquidfiles")
    one = message["attachments"][0]
    context = new_context() | {"params": {"id": one["id"]}}
    again = {"messages": ["unknown"], "attachments": "{{ params.id }}"}

    done = run(LiquidFilesDeleteAttachmentsOperator, context, **again)
    assert done == {"deleted": [one["id"]], "gone": ["unknown"]}
    done = run(LiquidFilesDeleteAttachmentsOperator, context, **again)
    assert done == {"deleted": [], "gone": ["unknown", one["id"]]}
    assert delete(attachments=message["attachments"])["gone"] == [one["id"]]
    assert left() == [0]


def test_nothing_to_delete_is_fine_but_has_to_be_said(sandbox: RunningSandbox) -> None:
    assert delete(messages=[], attachments=[]) == {"deleted": [], "gone": []}
    with pytest.raises(InvalidInput, match="messages"):
        delete()
    assert sandbox.journal() == []


@pytest.mark.parametrize("bad", [5, [None], [{}], {"id": 7}, {"id": "1", "service": "mdi"}, [" "]])
@pytest.mark.parametrize("field", ["messages", "attachments"])
def test_garbage_deletes_nothing(sandbox: RunningSandbox, field: str, bad: Any) -> None:
    other = {"messages": "attachments", "attachments": "messages"}[field]
    with pytest.raises(InvalidInput) as caught:
        delete(**{field: bad, other: ["1"]})
    assert caught.value.field == field
    assert sandbox.journal() == []


def test_the_forms_defaults_are_the_services() -> None:
    service = LiquidFilesHook().service
    assert (service.chunk_size, service.bearer) == (CHUNK_SIZE, False)


def test_the_hooks_own_methods(sandbox: RunningSandbox) -> None:
    with LiquidFilesHook() as hook:
        kept, gone = (hook.upload_attachment(upload_from_bytes(name, name.encode())) for name in ("a", "b"))
        hook.delete_attachment(gone)
        assert [file.id for file in hook.list_attachments()] == [kept]
        receipt = hook.send_message(recipients=["robin@peer.example"], subject="s", message="m")
        [sent] = hook.messages_sent(limit=5)
        assert (sent.id, sent.subject) == (receipt.id, "s")
        hook.delete_attachments(receipt.id)
