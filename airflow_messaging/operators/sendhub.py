"""Sends and schedules text messages through SendHub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import SendOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_messaging.messages import Receipt


class SendHubSendMessageOperator(SendOperator):
    """Send a text message, now or later.

    **Delivery**: an attempt that may have reached the service is not repeated within the task: it fails with
    ``DeliveryUnknown``.

    :param contacts: Ids of contacts, and phone numbers in the form ``+1…``. At most 20.
    :param groups: Ids of groups. At most 3.
    :param text: The text, at most 500 characters.
    :param scheduled_at: When to send: a datetime with a zone, or exactly 24 characters such as
        ``2011-02-17T20:29:40-0800``. Default: at once.
    :param conn_id: The connection. Default ``sendhub_default``.
    :return: The receipt as JSON.
    """

    conn_type = "sendhub"
    template_fields: Sequence[str] = ("conn_id", "contacts", "groups", "text", "scheduled_at")

    def __init__(
        self,
        *,
        text: str,
        contacts: Sequence[int | str] = (),
        groups: Sequence[int | str] = (),
        scheduled_at: datetime | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.text = text
        self.contacts = contacts
        self.groups = groups
        self.scheduled_at = scheduled_at

    def send(self, hook: Any, message_id: str) -> Receipt:
        """Send through the hook."""
        receipt: Receipt = hook.send_message(
            contacts=self.contacts, groups=self.groups, text=self.text, scheduled_at=self.scheduled_at
        )
        return receipt
