"""What the operators share: the connection, and a message that goes out once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.messages import Draft, Message, Receipt

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


class SendOnceOperator(MessagingOperator):
    """An operator that sends one message, and on another try does not send it again.

    **Delivery**: an attempt that may have reached the service is not blindly repeated: it is looked for at the service;
    where nobody can look, ``on_unknown`` decides. From Airflow 3.3 on, this holds across retries, cleared tasks and
    killed processes; below, within one try.

    :param conn_id: The connection.
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) raises
        ``DeliveryUnknown``, on every try; ``"resend"`` sends it again on the next try, so that it may come twice.
    """

    template_fields: Sequence[str] = ("conn_id", "on_unknown")

    def __init__(self, *, conn_id: str, on_unknown: str = "fail", **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.on_unknown = on_unknown

    def draft(self, hook: Any, message_id: str) -> Draft:
        """Return the message in the words shared by all services, by which it is told from others and looked for."""
        raise NotImplementedError

    def send(self, hook: Any, draft: Draft) -> Receipt:
        """Send through the hook."""
        receipt: Receipt = hook.run(hook.service.send(draft))
        return receipt

    def execute(self, context: Context) -> dict[str, Any]:
        """Send the message, unless it has been sent, and return the receipt as JSON."""
        from airflow_messaging.operators.once import send_once

        message_id = message_id_for(context)
        with self.hook() as hook:
            draft = self.draft(hook, message_id)
            receipt = send_once(
                hook,
                draft,
                lambda draft: self.send(hook, draft),
                context,
                on_unknown=self.on_unknown,
                keep_id=draft.message_id != message_id,
            )
        self.log.info("%s accepted message %s (%s)", hook.hook_name, receipt.id, receipt.status.value)
        return receipt.to_dict()


class SendOperator(SendOnceOperator):
    """An operator that sends one message through one service.

    **Delivery**: as :class:`SendOnceOperator` says.

    :param conn_id: The connection. Default: the service's ``…_default``.
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) or
        ``"resend"``.
    """

    conn_type: ClassVar[str]

    def __init__(self, *, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id or f"{self.conn_type}_default", **kwargs)

    def hook(self) -> MessagingHook[Any]:
        """Return the hook; use it in a ``with`` block."""
        from airflow_messaging.hooks.registry import hook_class

        return hook_class(self.conn_type)(self.conn_id)


def message_id_for(context: Context) -> str:
    """Return the id of the message that a task instance sends.

    :param context: The task's context.
    :return: A UUID derived from DAG, run, task and map index: the same on every try.
    """
    ti = context["ti"]
    return stable_message_id(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)


def stable_message_id(*parts: object) -> str:
    """Return a UUID that is the same for the same parts.

    :param parts: What tells one message from another.
    """
    return str(uuid.uuid5(_NAMESPACE, "\n".join(str(part) for part in parts)))


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
