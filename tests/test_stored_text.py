"""Whatever a sender writes, Airflow can hand it on and a database can store it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.messages import Message, Outcome, Receipt, Status, as_stored
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor

SERVICES = ("go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub")

HALF_AN_EMOJI = "\ud83d"
ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=10,
)


def storable(value: Any) -> None:
    """PostgreSQL takes it as JSONB, and Airflow's encoder takes it."""
    from airflow.sdk.execution_time import comms

    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    assert "\\u0000" not in text
    comms._new_encoder().encode(value)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("bad", ["a\0b", f"see you {HALF_AN_EMOJI}"])
@pytest.mark.usefixtures("connections")
def test_a_message_with_what_databases_refuse(service: str, bad: str, sandbox: RunningSandbox) -> None:
    if HALF_AN_EMOJI in bad and service == "go_integrate":
        pytest.skip("its messages are bytes, and half an emoji is not UTF-8")
    sandbox.inbound(service, text=bad)
    with hook_for(f"{service}_default") as hook:
        (message,) = hook.poll(Cursor()).messages
        as_json = message.to_dict()
        storable(as_json)
        again = Message.from_dict(as_json)
        assert again.id == message.id
        assert again.text is None or "\ufffd" in again.text
        if hook.service.has_read_flag:
            assert hook.mark_read([again]) == []
            assert hook.poll(Cursor()).messages == []


@given(raw=st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3), text=ANY_TEXT)
@example(raw={"a\0": [{"b": ("\0", HALF_AN_EMOJI, 2**64, -(2**70), float("inf"))}]}, text=HALF_AN_EMOJI)
def test_all_that_a_record_may_hold(raw: dict[str, Any], text: str) -> None:
    message = Message(service="sendhub", id="1", sender=text, recipients=(text,), subject=text, text=text, raw=raw)
    storable(message.to_dict())
    storable(Receipt(service="sendhub", id="1", status=Status.SENT, request_id=text, raw=raw).to_dict())
    storable(Outcome(error=MessagingError(text)).to_dict())
    assert as_stored(as_stored(raw)) == as_stored(raw)


def test_what_can_be_stored_stays_as_it_is() -> None:
    value = {"a": ["Zażółć 😀", 1, 2.5, True, None, {"b": 2**63 - 1}]}
    assert as_stored(value) == value
    assert as_stored("\ud83d\ude00") == "😀"


def test_an_id_is_the_same_before_and_after_it_was_stored() -> None:
    from airflow_messaging.services.parsing import Reader

    id_ = Reader("sendhub", "messages", {"id": f"a\0{HALF_AN_EMOJI}"}).identifier("id")
    assert id_ == as_stored(id_) == "a\ufffd\ufffd"
