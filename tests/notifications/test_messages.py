"""The notifier against the sandbox: what arrives, how long it is, to whom and under which id."""

import json
from typing import Any

import pytest

from airflow_messaging.exceptions import AuthenticationFailed, InvalidInput, UnsupportedFeature
from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.messages import Draft
from airflow_messaging.sandbox import RunningSandbox

from .conftest import NUMBER, OPTIONS, TEXT, Notify, arguments, extra, peer, sent
from .contexts import deadline_context, task_context

pytestmark = pytest.mark.usefixtures("connections")


class TestWhatArrives:
    def test_a_text_of_ones_own(self, service: str, sandbox: RunningSandbox, notify: Notify) -> None:
        text = "{{ ti.task_id }} of {{ ti.dag_id }} failed: {{ exception.args[0] }}"
        notify(task_context(error=ValueError("zażółć")), **arguments(sandbox, service, text=text))

        [message] = sent(sandbox, service)
        assert message["text"] == "load of nightly failed: zażółć"
        assert peer(sandbox, service) in str(message["to"])

    def test_the_default_text(self, service: str, sandbox: RunningSandbox, notify: Notify) -> None:
        notify(task_context(error=ValueError("secret")), **arguments(sandbox, service))

        [message] = sent(sandbox, service)
        assert message["text"].startswith("Failed: task load of DAG nightly\nRun: scheduled__2026-01-01\nTry: 2 of 3\n")
        assert "secret" not in message["text"]
        if service == "liquidfiles":
            assert message["subject"] == "Failed: task load of DAG nightly"

    @pytest.mark.parametrize("context", [{}, deadline_context()], ids=["empty", "deadline"])
    def test_contexts_without_a_task(
        self, service: str, sandbox: RunningSandbox, notify: Notify, context: dict[str, Any]
    ) -> None:
        notify(dict(context), **arguments(sandbox, service))

        [message] = sent(sandbox, service)
        assert message["text"].splitlines()[0] in ("A notification from Airflow", "Deadline missed: DAG nightly")

    def test_go_integrate_gets_a_text_file(self, sandbox: RunningSandbox, notify: Notify) -> None:
        notify(task_context(), **arguments(sandbox, "go_integrate", text=TEXT))

        [message] = sent(sandbox, "go_integrate")
        assert message["filename"] == f"{message['message_id']}.txt"
        assert message["text"] == TEXT

    def test_options_and_subject_are_passed_on(self, sandbox: RunningSandbox, notify: Notify) -> None:
        notify({}, **arguments(sandbox, "liquidfiles", text=TEXT, subject="{{ 1 + 1 }}", options={"send_email": True}))

        assert sent(sandbox, "liquidfiles")[0]["subject"] == "2"

    def test_what_the_service_cannot_express_is_refused(self, sandbox: RunningSandbox, notify: Notify) -> None:
        with pytest.raises(UnsupportedFeature, match="subject"):
            notify({}, **arguments(sandbox, "serwersms", subject="x"))
        assert sent(sandbox, "serwersms") == []


class TestLengths:
    @pytest.mark.parametrize(("limit", "expected"), [(None, 500), (20, 20), (1, 1)])
    def test_a_long_text_is_cut_to_what_the_connection_allows(
        self,
        sandbox: RunningSandbox,
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        notify: Notify,
        limit: int | None,
        expected: int,
    ) -> None:
        if limit is not None:
            extra(monkeypatch, connections, "sendhub", max_text=limit)
        notify({}, **arguments(sandbox, "sendhub", text="{{ 'x' * 1601 }}"))

        [message] = sent(sandbox, "sendhub")
        assert message["text"] == "x" * (expected - 1) + "…"

    @pytest.mark.parametrize("service", [name for name in CONNECTION_TYPES if name != "sendhub"], indirect=True)
    def test_the_others_know_no_limit(self, service: str, sandbox: RunningSandbox, notify: Notify) -> None:
        notify({}, **arguments(sandbox, service, text="{{ 'x' * 5000 }}"))

        [message] = sent(sandbox, service)
        assert message.get("size", len(message["text"])) == 5000

    def test_a_limit_is_the_one_that_the_service_checks(self, service: str, sandbox: RunningSandbox) -> None:
        with hook_for(f"{service}_default") as hook:
            longest, most = hook.service.longest_text, hook.service.most_recipients

            def send(text: str, to: tuple[str, ...]) -> None:
                hook.run(hook.service.send(Draft(to=to, text=text, message_id="m-1", options=OPTIONS.get(service, {}))))

            one = (peer(sandbox, service),)
            if longest is not None:
                send("x" * longest, one)
                with pytest.raises(InvalidInput):
                    send("x" * (longest + 1), one)
            if most is not None:
                with pytest.raises((InvalidInput, UnsupportedFeature)):
                    send("x", one * (most + 1))


class TestRecipients:
    @pytest.mark.parametrize(
        ("service", "to", "count"),
        [
            ("serwersms", ["+48500600701", "+48500600702"], 2),
            ("liquidfiles", ["a@peer.example", "b@peer.example"], 1),
            ("sendhub", ["1111", "+16505551234"], 1),
        ],
    )
    def test_one_message_each_where_the_service_wants_that(
        self, sandbox: RunningSandbox, notify: Notify, service: str, to: list[str], count: int
    ) -> None:
        notify(task_context(), **arguments(sandbox, service, to=to, text=TEXT))

        assert len(sent(sandbox, service)) == count

    def test_more_than_fit_into_one_message(
        self,
        sandbox: RunningSandbox,
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        notify: Notify,
    ) -> None:
        extra(monkeypatch, connections, "sendhub", max_contacts=2)
        numbers = [f"+1650555100{number}" for number in range(5)]
        notify({}, **arguments(sandbox, "sendhub", to=numbers, text=TEXT))

        assert [message["to"] for message in sent(sandbox, "sendhub")] == [numbers[:2], numbers[2:4], numbers[4:]]

    def test_one_that_fails_does_not_keep_the_others_from_theirs(self, sandbox: RunningSandbox, notify: Notify) -> None:
        to = ["no unit", peer(sandbox, "mdi")]
        with pytest.raises(InvalidInput, match="unitid"):
            notify({}, **arguments(sandbox, "mdi", to=to, text=TEXT))

        assert len(sent(sandbox, "mdi")) == 1

    def test_a_wrong_password_is_tried_once(
        self,
        sandbox: RunningSandbox,
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        notify: Notify,
    ) -> None:
        wrong = {**connections["serwersms_default"], "password": "another"}
        monkeypatch.setenv("AIRFLOW_CONN_SERWERSMS_DEFAULT", json.dumps(wrong))
        with pytest.raises(AuthenticationFailed):
            notify({}, **arguments(sandbox, "serwersms", to=["+48500600701", "+48500600702"], text=TEXT))

        assert len(sandbox.journal("serwersms")) == 1

    @pytest.mark.parametrize("to", [[], "", "  ", [""], None, [None], {}])
    def test_nobody_is_refused(self, sandbox: RunningSandbox, notify: Notify, to: Any) -> None:
        with pytest.raises(InvalidInput, match="to: got nothing usable"):
            notify({}, **arguments(sandbox, "sendhub", to=to))
        assert sandbox.journal("sendhub") == []

    def test_numbers_may_be_numbers(self, sandbox: RunningSandbox, notify: Notify) -> None:
        notify({}, **arguments(sandbox, "mdi", to=int(peer(sandbox, "mdi"))))

        assert len(sent(sandbox, "mdi")) == 1


class TestMessageId:
    def ids(self, sandbox: RunningSandbox) -> list[str]:
        return [message["unique_id"] for message in sent(sandbox, "serwersms")]

    def test_it_is_the_same_for_the_same_occasion_and_another_for_another(
        self, sandbox: RunningSandbox, notify: Notify
    ) -> None:
        given = arguments(sandbox, "serwersms")
        both = {**given, "to": [given["to"], NUMBER]}
        for context in (task_context(), task_context(), task_context(try_number=3), task_context(state="success")):
            notify(context, **given)
        notify(task_context(), **both)
        notify(task_context(), **given, text="another")

        first, again, later, success, *two, another = self.ids(sandbox)
        assert first == again == two[0]
        assert len({first, later, success, two[1], another}) == 5

    def test_it_is_random_where_the_context_names_no_run(self, sandbox: RunningSandbox, notify: Notify) -> None:
        notify({}, **arguments(sandbox, "serwersms"))
        notify({}, **arguments(sandbox, "serwersms"))

        assert len(set(self.ids(sandbox))) == 2
