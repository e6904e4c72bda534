"""The notifier as Airflow uses it, and what is logged when it fails."""

import inspect
import json
import logging
import traceback
from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.get_provider_info import get_provider_info
from airflow_messaging.notifications.messages import MessageNotifier, send_message_notification
from airflow_messaging.sandbox import RunningSandbox

from .conftest import NUMBER, TEXT, Notify, arguments, sent
from .contexts import task_context

pytestmark = pytest.mark.usefixtures("connections")


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
