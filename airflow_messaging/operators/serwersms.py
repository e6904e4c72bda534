"""Sends text messages through SerwerSMS.pl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import SendOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_messaging.messages import Receipt


class SerwerSmsSendMessageOperator(SendOperator):
    """Send a text message.

    **Delivery**: an attempt that may have reached the service is not repeated within the task: it fails with
    ``DeliveryUnknown``. A retry re-uses the ``unique_id``, which is derived from DAG, run, task and map index.

    :param phone: The recipient's number, or several.
    :param text: The message.
    :param sender: Name that the recipient sees. Default: none, so that the message can be answered (ECO+).
    :param date: When to send; without a zone, the connection's is meant. Default: at once.
    :param unique_id: The client's own id of the message, 3 to 50 characters. Default: derived, the same on every try.
    :param utf: Whether to keep characters beyond the GSM alphabet.
    :param flash: Whether to show the message at once, without storing it.
    :param speed: Whether to send with priority.
    :param test: Whether to check only, and send nothing.
    :param conn_id: The connection. Default ``serwersms_default``.
    :return: The receipt as JSON; what became of each recipient stands in ``raw["items"]``.
    """

    conn_type = "serwersms"
    template_fields: Sequence[str] = (
        "conn_id",
        "phone",
        "text",
        "sender",
        "date",
        "unique_id",
        "utf",
        "flash",
        "speed",
        "test",
    )

    def __init__(
        self,
        *,
        phone: str | list[str],
        text: str,
        sender: str | None = None,
        date: datetime | str | None = None,
        unique_id: str | None = None,
        utf: bool | str | None = None,
        flash: bool | str | None = None,
        speed: bool | str | None = None,
        test: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.phone = phone
        self.text = text
        self.sender = sender
        self.date = date
        self.unique_id = unique_id
        self.utf = utf
        self.flash = flash
        self.speed = speed
        self.test = test

    def send(self, hook: Any, message_id: str) -> Receipt:
        """Send through the hook."""
        receipt: Receipt = hook.messages_send_sms(
            phone=self.phone,
            text=self.text,
            sender=self.sender,
            date=self.date,
            unique_id=self.unique_id or message_id,
            utf=self.utf,
            flash=self.flash,
            speed=self.speed,
            test=self.test,
        )
        return receipt
