"""How to test a DAG of your own against the sandbox, with pytest."""

import json

import pytest

from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.sandbox import running


# [START fixture]
@pytest.fixture
def sandbox(monkeypatch):
    with running(echo_delay_s=0.1) as sandbox:
        for conn_id, connection in sandbox.connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        yield sandbox
        # [END fixture]


# [START test]
def test_what_arrives_is_found(sandbox):
    message_id = sandbox.inbound("serwersms", sender="+48500600700", text="At five, please")

    with hook_for("serwersms_default") as hook:
        [message] = hook.poll().messages

    assert (message.id, message.text) == (message_id, "At five, please")
    assert [request["path"] for request in sandbox.journal("serwersms")] == ["/serwersms/messages/recived"]
    # [END test]


# [START fault]
def test_a_lost_answer_is_not_sent_again(sandbox):
    from airflow_messaging.exceptions import DeliveryUnknown

    # The service does its work, and then the network breaks.
    sandbox.faults([{"service": "sendhub", "path": "/messages/", "when": "after", "reset": True}])

    with hook_for("sendhub_default") as hook, pytest.raises(DeliveryUnknown):
        hook.send("1111", "Once, please")

    assert len(sandbox.messages("sendhub")["sent"]) == 1
    # [END fault]
