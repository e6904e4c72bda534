"""SerwerSMS marks whole seconds of a sender: what is marked along is lost to nobody, whatever becomes of the answer."""

from pathlib import Path

import pytest

from airflow_messaging.exceptions import FilesWouldBeLost, MessagingError
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


def mark(*messages: dict, **options: object) -> dict:
    conn_id = "serwersms_default"
    return MarkMessagesReadOperator(task_id="mark", conn_id=conn_id, messages=list(messages), **options).execute({})


def with_picture(sandbox: RunningSandbox, sender: str = ONE) -> str:
    return sandbox.inbound("serwersms", sender=sender, attachments=[{"filename": "a.jpg", "content": b"picture"}])


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


class TestFiles:
    """The files of a message are gone once it is read."""

    def test_nothing_is_marked_where_files_would_be_lost(self, sandbox: RunningSandbox) -> None:
        (plain,) = arrive(sandbox, ONE)
        pictured = with_picture(sandbox)
        with pytest.raises(FilesWouldBeLost, match=f"marked along and their files be gone: {pictured};") as caught:
            mark(unread()[plain])
        assert caught.value.message_ids == [pictured]
        assert set(unread()) == {plain, pictured}
        assert mark(*unread().values())["also_received"] == []
        assert unread() == {}

    def test_with_a_spool_they_are_kept_first(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        (plain,) = arrive(sandbox, ONE)
        pictured = with_picture(sandbox)
        also = mark(unread()[plain], spool=f"file://{tmp_path}")["also_received"]
        assert [message["id"] for message in also] == [pictured]
        assert [
            (file["filename"], Path(file["path"].removeprefix("file://")).read_bytes()) for file in also[0]["files"]
        ] == [("a.jpg", b"picture")]
        assert unread() == {}

    def test_what_has_its_own_second_is_left_alone(self, sandbox: RunningSandbox) -> None:
        (plain,) = arrive(sandbox, ONE)
        pictured = with_picture(sandbox, OTHER)
        assert mark(unread()[plain]) == {"acknowledged": [plain], "also_received": []}
        assert set(unread()) == {pictured}
