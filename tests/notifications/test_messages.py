"""The notifier against the sandbox: what arrives, how long it takes at most, and what is logged when it fails."""

import asyncio
import inspect
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ConnectFailed,
    DeliveryUnknown,
    InvalidInput,
    MessagingError,
    UnsupportedFeature,
)
from airflow_messaging.get_provider_info import CONNECTION_TYPES, get_provider_info
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.messages import Draft
from airflow_messaging.notifications import messages
from airflow_messaging.notifications.messages import BUDGET_S, MessageNotifier, send_message_notification
from airflow_messaging.sandbox import RunningSandbox

from .contexts import deadline_context, task_context

PEERS = {
    "go_integrate": "peer_route",
    "liquidfiles": "recipient",
    "mdi": "unitid",
    "serwersms": "phone",
    "sendhub": "number",
}
OPTIONS = {"mdi": {"channelid": 11}}
NUMBER = "+48500600999"
TEXT = "Kanarienvogel singt um 7"

pytestmark = pytest.mark.usefixtures("connections")
Notify = Callable[..., None]


@pytest.fixture(params=list(CONNECTION_TYPES))
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sync", "async"])
def notify(request: pytest.FixtureRequest) -> Notify:
    """Notify as Airflow does: called in a worker, awaited in the triggerer."""

    def called(context: Any, **arguments: Any) -> None:
        MessageNotifier(**arguments)(context)

    def awaited(context: Any, **arguments: Any) -> None:
        async def wait() -> None:
            await MessageNotifier(**arguments, context=context)

        asyncio.run(wait())

    return called if request.param == "sync" else awaited


def peer(sandbox: RunningSandbox, service: str) -> str:
    return str(sandbox.credentials[service][PEERS[service]])


def arguments(sandbox: RunningSandbox, service: str, **changes: Any) -> dict[str, Any]:
    given = {"conn_id": f"{service}_default", "to": peer(sandbox, service), "options": OPTIONS.get(service)}
    return {**given, **changes}


def sent(sandbox: RunningSandbox, service: str) -> list[dict[str, Any]]:
    return sandbox.messages(service)["sent"]


def extra(monkeypatch: pytest.MonkeyPatch, connections: dict[str, dict[str, Any]], service: str, **fields: Any) -> None:
    """Change the extra of a service's connection."""
    connection = {**connections[f"{service}_default"]}
    connection["extra"] = {**(connection.get("extra") or {}), **fields}
    monkeypatch.setenv(f"AIRFLOW_CONN_{service.upper()}_DEFAULT", json.dumps(connection))


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


@contextmanager
def dripping() -> Iterator[str]:
    """A server that answers a byte at a time, so that no read ever times out."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def drip() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                while not done.wait(0.2):
                    connected.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            done.set()
            thread.join(5)


class TestBudget:
    def test_it_ends_in_ten_seconds_whatever_the_service_does(self, sandbox: RunningSandbox) -> None:
        sandbox.faults(
            [
                # Login and message, six seconds each: every answer comes in time, and still it takes too long.
                {"service": "mdi", "delay_s": 6, "when": "after"},
                {"service": "sendhub", "delay_s": 30},
            ]
        )

        def called(service: str) -> tuple[float, DeliveryUnknown]:
            begun = time.monotonic()
            with pytest.raises(DeliveryUnknown) as caught:
                MessageNotifier(**arguments(sandbox, service))({})
            return time.monotonic() - begun, caught.value

        async def awaited(service: str) -> tuple[float, DeliveryUnknown]:
            begun = time.monotonic()
            with pytest.raises(DeliveryUnknown) as caught:
                await MessageNotifier(**arguments(sandbox, service), context={})
            return time.monotonic() - begun, caught.value

        async def each() -> list[tuple[float, DeliveryUnknown]]:
            return await asyncio.gather(
                *(asyncio.to_thread(called, service) for service in ("mdi", "sendhub")),
                *(awaited(service) for service in ("mdi", "sendhub")),
            )

        slow, silent, slow_async, silent_async = asyncio.run(each())
        for took, error in (slow, slow_async):
            assert BUDGET_S - 0.5 < took < BUDGET_S + 1
            assert str(error) == "mdi send: not finished within 10 s; it may have taken effect"
            assert error.__cause__ is None
        for took, _ in (silent, silent_async):
            assert took < BUDGET_S
        assert len(sandbox.journal("sendhub")) == 2, "it may have arrived: not again"

    def test_an_answer_that_comes_in_drips(
        self,
        sandbox: RunningSandbox,
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        notify: Notify,
    ) -> None:
        monkeypatch.setattr(messages, "BUDGET_S", 1.5)
        with dripping() as url:
            connection = {**connections["sendhub_default"], "host": url, "port": None, "schema": None}
            monkeypatch.setenv("AIRFLOW_CONN_SENDHUB_DEFAULT", json.dumps(connection))
            begun = time.monotonic()
            with pytest.raises(DeliveryUnknown):
                notify({}, conn_id="sendhub_default", to="1111")
            assert 1 < time.monotonic() - begun < 3

    def test_a_shorter_timeout_of_the_connection_counts(
        self,
        sandbox: RunningSandbox,
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        notify: Notify,
    ) -> None:
        extra(monkeypatch, connections, "sendhub", read_timeout=0.5)
        sandbox.faults([{"service": "sendhub", "delay_s": 30}])
        begun = time.monotonic()
        with pytest.raises(DeliveryUnknown):
            notify({}, **arguments(sandbox, "sendhub"))
        assert time.monotonic() - begun < 3

    def test_what_never_left_is_tried_twice(
        self, connections: dict[str, Any], monkeypatch: pytest.MonkeyPatch, notify: Notify
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        connection = {
            **connections["sendhub_default"],
            "host": f"http://127.0.0.1:{port}",
            "port": None,
            "schema": None,
        }
        monkeypatch.setenv("AIRFLOW_CONN_SENDHUB_DEFAULT", json.dumps(connection))
        begun = time.monotonic()
        with pytest.raises(ConnectFailed):
            notify({}, conn_id="sendhub_default", to="1111")
        assert time.monotonic() - begun < 5

    def test_a_service_that_asks_for_a_short_pause_gets_it(self, sandbox: RunningSandbox, notify: Notify) -> None:
        sandbox.faults([{"service": "serwersms", "status": 429, "headers": {"Retry-After": "1"}, "times": 1}])
        notify({}, **arguments(sandbox, "serwersms"))

        assert len(sent(sandbox, "serwersms")) == 1

    def test_a_service_that_asks_for_a_long_pause_is_not_waited_for(
        self, sandbox: RunningSandbox, notify: Notify
    ) -> None:
        sandbox.faults([{"service": "sendhub", "status": 429, "headers": {"Retry-After": "20"}}])
        begun = time.monotonic()
        with pytest.raises(MessagingError):
            notify({}, **arguments(sandbox, "sendhub"))
        assert time.monotonic() - begun < 2


class TestAsAirflowUsesIt:
    def test_what_airflow_learns(self) -> None:
        path = f"{MessageNotifier.__module__}.{MessageNotifier.__qualname__}"
        assert get_provider_info()["notifications"] == [path]
        assert send_message_notification is MessageNotifier
        assert issubclass(MessageNotifier, BaseNotifier)
        assert set(MessageNotifier.template_fields) == {"conn_id", "to", "text", "subject"}
        parameters = inspect.signature(MessageNotifier).parameters
        assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD

    def test_the_constructor_leaves_the_arguments_alone(self) -> None:
        to = ["{{ x }}"]
        notifier = MessageNotifier(conn_id="{{ a }}", to=to, text="{{ b }}", subject="{{ c }}", context={"x": 1})

        assert (notifier.conn_id, notifier.to, notifier.text, notifier.subject) == ("{{ a }}", to, "{{ b }}", "{{ c }}")
        assert notifier.to is to
        assert notifier.context == {"x": 1}

    def test_each_event_gets_its_own_text(self, sandbox: RunningSandbox) -> None:
        notifier = MessageNotifier(**arguments(sandbox, "sendhub", text="{{ ti.task_id }}"))
        for task_id in ("first", "second"):
            notifier(task_context(task_id=task_id))

        assert [message["text"] for message in sent(sandbox, "sendhub")] == ["first", "second"]
        assert notifier.text == "{{ ti.task_id }}"

    def test_native_rendering(self, sandbox: RunningSandbox) -> None:
        context = {"dag": DAG("native", schedule=None, render_template_as_native_obj=True), "who": ["1111"]}
        MessageNotifier(conn_id="sendhub_default", to="{{ who }}", text="{{ 41 + 1 }}")(context)

        assert sent(sandbox, "sendhub")[0]["text"] == "42"

    def test_the_four_arguments_of_old_callbacks(self, sandbox: RunningSandbox) -> None:
        MessageNotifier(**arguments(sandbox, "sendhub"))(DAG("late", schedule=None), [], [], [])

        assert sent(sandbox, "sendhub")[0]["text"] == "DAG late"

    async def test_a_call_on_an_event_loop_is_refused(self, sandbox: RunningSandbox) -> None:
        with pytest.raises(MessagingError, match="on an event loop"):
            MessageNotifier(**arguments(sandbox, "sendhub")).notify({})


class TestWhatIsLogged:
    @pytest.mark.parametrize(
        "fault",
        [
            {"reset": True},
            {"status": 400, "body": json.dumps({"message": f"unknown {NUMBER}", "error": TEXT[:3]})},
            {"status": 200, "body": TEXT},
        ],
        ids=["reset", "refused", "garbage"],
    )
    def test_neither_text_nor_number(
        self,
        sandbox: RunningSandbox,
        notify: Notify,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
        fault: dict[str, Any],
    ) -> None:
        sandbox.faults([{"service": "sendhub", **fault}])
        caplog.set_level(logging.DEBUG)
        with pytest.raises(MessagingError) as caught:
            notify(task_context(), conn_id="sendhub_default", to=NUMBER, text=TEXT)
        seen = "\n".join(
            [
                *(f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records),
                *traceback.format_exception(caught.value),
                *capsys.readouterr(),
                repr(caught.value),
            ]
        )
        assert "message" in seen
        assert TEXT not in seen
        assert NUMBER not in seen and NUMBER[1:] not in seen

    def test_the_object_shows_nothing(self) -> None:
        shown = repr(MessageNotifier(conn_id="sendhub_default", to=NUMBER, text=TEXT))
        assert NUMBER not in shown and TEXT not in shown
