"""The operators that only SerwerSMS.pl and SendHub have, and several recipients in one message."""

import inspect
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, BaseOperator

from airflow_messaging.exceptions import InvalidInput, NotFound, PartiallySent
from airflow_messaging.operators.sendhub import SendHubDeleteMessageOperator, SendHubSendMessageOperator
from airflow_messaging.operators.serwersms import (
    SerwerSmsDeleteMessageOperator,
    SerwerSmsReportsOperator,
    SerwerSmsSendMessageOperator,
)
from airflow_messaging.sandbox import RunningSandbox

from .harness import as_json, new_context

pytestmark = pytest.mark.usefixtures("connections")

PEER, BLOCKED, OTHER = "+48500600700", "+48000000403", "+48111222333"


class Store(dict[str, Any]):
    """What a task of Airflow 3.3 finds in its context, as far as sending needs it."""

    set = dict.__setitem__
    delete = dict.__delitem__


def context_of_a_try(**more: Any) -> Any:
    context = new_context() | more
    context["pushed"] = {}
    context["ti"].xcom_push = lambda key, value: context["pushed"].update({key: as_json(value)})
    return context


def run(operator: type[Any], context: Any = None, **arguments: Any) -> Any:
    context = context or context_of_a_try()
    with DAG("a_dag", schedule=None):
        task = operator(task_id="a_task", **arguments)
    task.render_template_fields(context)
    return as_json(task.execute(context))


@pytest.mark.parametrize(
    "kind", [SerwerSmsReportsOperator, SerwerSmsDeleteMessageOperator, SendHubDeleteMessageOperator]
)
def test_all_arguments_are_templated_and_the_connection_has_a_default(kind: type[Any]) -> None:
    ours = kind.__mro__[: kind.__mro__.index(BaseOperator)]
    own = {
        name
        for base in ours
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert set(kind.template_fields) == own
    needed = {"message_id": "1"} if "message_id" in own else {}
    assert kind(task_id="a_task", **needed).conn_id == f"{kind.__module__.rpartition('.')[2]}_default"


class TestSeveralRecipients:
    def send(self, context: Any = None, **arguments: Any) -> Any:
        phone = arguments.pop("phone", [PEER, BLOCKED, OTHER])
        return run(SerwerSmsSendMessageOperator, context, phone=phone, text="The load is done", **arguments)

    def test_all_are_accepted(self, sandbox: RunningSandbox) -> None:
        result = self.send(phone=[PEER, OTHER])
        sent = sandbox.messages("serwersms")["sent"]
        assert [(one["phone"], one["accepted"], one["id"]) for one in result["recipients"]] == [
            (text["to"], True, text["id"]) for text in sent
        ]

    def test_one_is_not_and_the_task_fails_for_good(
        self, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        context = context_of_a_try()
        with caplog.at_level(logging.DEBUG), pytest.raises(AirflowFailException) as caught:
            self.send(context)
        logged = caplog.text + capsys.readouterr().out
        assert "SerwerSMS.pl accepted message" in logged
        cause = caught.value.__cause__
        assert isinstance(cause, PartiallySent)
        assert str(caught.value) == (
            "serwersms: 1 of 3 recipients were not accepted, by their place in the list: 2 (code 4600)"
        )
        assert [result["accepted"] for result in cause.results] == [True, False, True]
        people = context["pushed"]["return_value"]["recipients"]
        assert [(one["phone"], one["accepted"]) for one in people] == [(PEER, True), (BLOCKED, False), (OTHER, True)]
        for number in (PEER, BLOCKED, OTHER):
            assert number.lstrip("+") not in f"{caught.value!r}{cause!r}{vars(cause)}{logged}"

    def test_or_it_says_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        result = self.send(fail_on_unsent="{{ False }}")
        assert [one["error_code"] for one in result["recipients"]] == [None, "4600", None]
        assert "1 of 3 recipients were not accepted" in capsys.readouterr().out

    def test_another_try_sends_nothing_and_hides_nothing(self, sandbox: RunningSandbox) -> None:
        """The record of the first try names nobody: what became of each is asked of the service."""
        store = Store()
        for _ in range(2):
            with pytest.raises(AirflowFailException, match=r"2 \("):
                self.send(context_of_a_try(task_state_store=store))
        assert len(sandbox.messages("serwersms")["sent"]) == 3
        for number in (PEER, BLOCKED, OTHER):
            assert number.lstrip("+") not in str(store)
        again = self.send(context_of_a_try(task_state_store=store), fail_on_unsent=False)
        assert [one["accepted"] for one in again["recipients"]] == [True, False, True]

    def test_a_wrong_flag_is_refused_before_anything_is_sent(self, sandbox: RunningSandbox) -> None:
        with pytest.raises(InvalidInput, match="fail_on_unsent"):
            self.send(fail_on_unsent="perhaps")
        assert sandbox.journal("serwersms") == []

    def test_one_number_is_as_before(self) -> None:
        assert "recipients" not in self.send(phone=PEER)


def test_reports(sandbox: RunningSandbox) -> None:
    sent = run(SerwerSmsSendMessageOperator, phone=[PEER, OTHER], text="hi", unique_id="order-1")
    context = context_of_a_try() | {"params": {"own": "order-1"}}
    sandbox.clock(10)
    reports = run(SerwerSmsReportsOperator, context, unique_id="{{ params.own }}", status="delivered")
    assert {report["id"] for report in reports} == {one["id"] for one in sent["recipients"]}
    assert {report["status"] for report in reports} == {"delivered"}
    assert run(SerwerSmsReportsOperator, phone="+48999999999") == []


def test_calling_a_scheduled_message_back(sandbox: RunningSandbox) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for arguments in ({}, {"unique_id": "order-1"}):
        sent = run(SerwerSmsSendMessageOperator, phone=PEER, text="hi", date=at, **arguments)
        assert sent["status"] == "scheduled"
        wanted = arguments or {"id": sent["id"]}
        assert run(SerwerSmsDeleteMessageOperator, **wanted) is None
        assert sandbox.messages("serwersms")["sent"] == []
        with pytest.raises(NotFound):
            run(SerwerSmsDeleteMessageOperator, **wanted)


class TestSendHub:
    def test_names_of_people_and_groups(self, sandbox: RunningSandbox) -> None:
        context = context_of_a_try() | {"params": {"who": "Contact Two"}}
        sent = run(
            SendHubSendMessageOperator,
            context,
            text="hi",
            contact_names=["{{ params.who }}", "Sandbox Peer"],
            group_names="Others",
        )
        assert (sent["raw"]["contacts"], sent["raw"]["groups"]) == ([1112, 1111], [1001])

    @pytest.mark.parametrize("names", [{"contact_names": ["Nobody"]}, {"group_names": ["Sandbox Peer"]}])
    def test_unknown_names_are_refused_and_nothing_is_sent(
        self, sandbox: RunningSandbox, names: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInput, match="0 have"):
            run(SendHubSendMessageOperator, text="hi", contacts=[1111], **names)
        assert sandbox.messages("sendhub")["sent"] == []

    def test_a_file_from_a_path(self, sandbox: RunningSandbox, tmp_path: Path) -> None:
        (tmp_path / "plan.png").write_bytes(b"\x89PNG")
        context = context_of_a_try() | {"params": {"dir": str(tmp_path)}}
        run(SendHubSendMessageOperator, context, contacts=["1111"], mms="{{ params.dir }}/plan.png")
        [sent] = sandbox.messages("sendhub")["sent"]
        assert (sent["text"], sent["attachments"]) == ("", ["plan.png"])
        with pytest.raises(InvalidInput, match="mms"):
            run(SendHubSendMessageOperator, contacts=[1111], mms=str(tmp_path / "gone.png"))

    def test_a_file_from_the_web(self, sandbox: RunningSandbox) -> None:
        mms = {"filename": "{{ 'a' }}.png", "url": "https://files.example.com/a.png"}
        run(SendHubSendMessageOperator, contacts=[1111], text="see", mms=mms)
        [sent] = sandbox.messages("sendhub")["sent"]
        assert (sent["text"], sent["attachments"]) == ("see", ["a.png"])

    def test_deleting_a_scheduled_message(self, sandbox: RunningSandbox) -> None:
        at = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S+0000")
        sent = run(SendHubSendMessageOperator, contacts=[1111], text="later", scheduled_at=at)
        assert run(SendHubDeleteMessageOperator, message_id=sent["id"]) is None
        assert sandbox.messages("sendhub")["sent"] == []
        with pytest.raises(NotFound):
            run(SendHubDeleteMessageOperator, message_id=sent["id"])


def test_the_hooks(sandbox: RunningSandbox, tmp_path: Path) -> None:
    from airflow_messaging.hooks.sendhub import SendHubHook
    from airflow_messaging.hooks.serwersms import SerwerSmsHook

    (tmp_path / "plan.png").write_bytes(b"\x89PNG")
    at = datetime.now(UTC) + timedelta(hours=1)
    with SerwerSmsHook() as serwer:
        receipt = serwer.messages_send_sms(phone=[PEER, BLOCKED], text="hi", unique_id="order-1")
        assert [one.phone for one in receipt.unsent] == [BLOCKED]
        assert len(serwer.messages_reports(unique_id="order-1", limit=1)) == 2
        assert len(serwer.messages_reports(unique_id="order-1", limit=1, page=1)) == 1
        later = serwer.messages_send_sms(phone=PEER, text="later", date=at)
        serwer.messages_delete(id=later.id)
        assert {limit.type for limit in serwer.account_limits()} >= {"eco", "full"}
    with SendHubHook() as hub:
        alice = hub.create_contact(name="Alice", number="+16505550001")
        assert alice.id in {contact.id for contact in hub.contacts()}
        group = hub.create_group(name="On call", contacts=[alice.id])
        assert (hub.contact_ids("Alice"), hub.group_ids(["On call"])) == ([alice.id], [group.id])
        assert group.id in {one.id for one in hub.groups()}
        sent = hub.send_message(contacts=[alice.id], mms=str(tmp_path / "plan.png"), scheduled_at=at)
        assert [message.id for message in hub.scheduled_messages()] == [sent.id]
        hub.delete_message(sent.id)
        assert hub.scheduled_messages() == []
