"""SerwerSMS marks whole seconds of a sender: what is marked along is lost to nobody, whatever becomes of the answer."""

import pytest

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.operators.messages import MarkMessagesReadOperator
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor

pytestmark = pytest.mark.usefixtures("connections")

ONE, OTHER = "+48500600700", "+48500600701"


def arrive(sandbox: RunningSandbox, *senders: str) -> list[str]:
    """Messages of these senders, all of one second."""
    sandbox.clock(0, frozen=True)
    return [sandbox.inbound("serwersms", text="hello", sender=sender) for sender in senders]


def unread() -> dict[str, dict]:
    with hook_for("serwersms_default") as hook:
        return {message.id: message.to_dict() for message in hook.poll(Cursor()).messages}


def mark(*messages: dict) -> dict:
    operator = MarkMessagesReadOperator(task_id="mark", conn_id="serwersms_default", messages=list(messages))
    return operator.execute({})


def fault_at_marking(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, **fault: object) -> None:
    """Let the fault meet the first call that marks, and none of those that only look."""
    from airflow_messaging.services.serwersms import SerwerSms

    recived = SerwerSms.messages_recived
    marking: list[bool] = []

    def messages_recived(self, **parameters):
        if parameters.get("read") and not marking:
            marking.append(True)
            sandbox.faults([{"service": "serwersms", "times": 1, **fault}])
        return recived(self, **parameters)

    monkeypatch.setattr(SerwerSms, "messages_recived", messages_recived)


@pytest.mark.parametrize("fault", [{"reset": True, "when": "after"}, {"truncate_at": 20}])
def test_nothing_is_lost_with_the_answer_to_marking(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, fault: dict
) -> None:
    first, second, third, apart = arrive(sandbox, ONE, ONE, ONE, OTHER)
    found = unread()
    fault_at_marking(sandbox, monkeypatch, **fault)
    result = mark(found[first], found[second])
    assert [also["id"] for also in result["also_received"]] == [third]
    assert result["also_received"][0]["text"] == "hello"
    assert set(unread()) == {apart}


def test_what_the_service_refuses_to_mark_stays_unread(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = arrive(sandbox, ONE, ONE)
    found = unread()
    fault_at_marking(sandbox, monkeypatch, status=403)
    with pytest.raises(MessagingError):
        mark(found[arrived[0]])
    assert set(unread()) == set(arrived)


def test_where_nothing_is_marked_along_a_lost_answer_is_an_error(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    (arrived,) = arrive(sandbox, ONE)
    found = unread()
    fault_at_marking(sandbox, monkeypatch, reset=True, when="after")
    with pytest.raises(MessagingError):
        mark(found[arrived])
    assert mark(found[arrived]) == {"acknowledged": [arrived], "also_received": []}


def test_one_look_for_each_sender_and_second(sandbox: RunningSandbox) -> None:
    arrived = arrive(sandbox, ONE, ONE, ONE, OTHER)
    found = unread()
    before = len(sandbox.journal("serwersms"))
    assert mark(*(found[id_] for id_ in arrived))["also_received"] == []
    assert len(sandbox.journal("serwersms")) - before == 4
    assert unread() == {}
