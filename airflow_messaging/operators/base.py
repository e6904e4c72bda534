"""What the operators share: the connection, and a message id that a retry re-uses."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.messages import Message, Receipt

_NAMESPACE = uuid.UUID("6a2c7f0e-3a0b-5d6e-9c55-2f8f6f6e1c11")


class MessagingOperator(BaseOperator):
    """An operator on one of the five connections.

    :param conn_id: The connection; its type picks the hook.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#e8f4ea"

    def __init__(self, *, conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def hook(self) -> MessagingHook[Any]:
        """Return the hook; use it in a ``with`` block."""
        from airflow_messaging.hooks.registry import hook_for

        return hook_for(self.conn_id)


class SendOperator(MessagingOperator):
    """An operator that sends one message through one service.

    **Delivery**: an attempt that may have reached the service is not repeated within the task: it fails with
    ``DeliveryUnknown``. A retry of the task sends again, under the same message id where the service knows one: it is
    derived from DAG, run, task and map index.

    :param conn_id: The connection. Default: the service's ``…_default``.
    """

    conn_type: ClassVar[str]

    def __init__(self, *, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id or f"{self.conn_type}_default", **kwargs)

    def hook(self) -> MessagingHook[Any]:
        """Return the hook; use it in a ``with`` block."""
        from airflow_messaging.hooks.registry import hook_class

        return hook_class(self.conn_type)(self.conn_id)

    def send(self, hook: Any, message_id: str) -> Receipt:
        """Send through the hook."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the message and return the receipt as JSON."""
        with self.hook() as hook:
            receipt = self.send(hook, message_id_for(context))
        self.log.info("%s accepted message %s (%s)", hook.hook_name, receipt.id, receipt.status.value)
        return receipt.to_dict()


def message_id_for(context: Context) -> str:
    """Return the id of the message that a task instance sends.

    :param context: The task's context.
    :return: A UUID derived from DAG, run, task and map index: the same on every try.
    """
    ti = context["ti"]
    return str(uuid.uuid5(_NAMESPACE, "\n".join((ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index)))))


def as_messages(hook: MessagingHook[Any], value: Any) -> list[Message]:
    """Return the messages that a task was given.

    :param hook: Looks messages up that are given by their id.
    :param value: The JSON of a message, an id, or a list of these.
    :raises InvalidInput: If it is something else.
    """
    from airflow_messaging.exceptions import InvalidInput, Shown
    from airflow_messaging.messages import Message

    if isinstance(value, str) and value.strip():
        return [hook.message(value)]
    if isinstance(value, Mapping):
        message = Message.from_dict(value)
        if message.service != hook.conn_type:
            raise InvalidInput("messages", Shown(f"a message of {message.service}"), f"messages of {hook.conn_type}")
        return [message]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [message for item in value for message in as_messages(hook, item)]
    raise InvalidInput("messages", Shown(type(value).__name__), "a message, its id, or a list of these")
