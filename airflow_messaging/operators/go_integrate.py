"""Sends files through Go Integrate Me."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import SendOperator

if TYPE_CHECKING:
    from airflow_messaging.messages import Draft, Receipt


class GoIntegrateSendMessageOperator(SendOperator):
    """Send a file to a route.

    **Delivery**: the API cannot be asked what was sent. So where an attempt may have reached the service,
    ``on_unknown`` decides: the task fails for good, or the next try sends again under the same ``message-id``, which is
    derived from DAG, run, task and map index.

    :param data: Path of the file, as a path, a URL or an ``ObjectStoragePath``. It is streamed.
    :param message_to: The recipient's route.
    :param message_id: Identifies the message. Default: derived, the same on every try.
    :param message_expires_after: Seconds after which the service drops the message unread. Default: one day.
    :param conn_id: The connection. Default ``go_integrate_default``.
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) or
        ``"resend"``.
    :return: The receipt as JSON.
    """

    conn_type = "go_integrate"
    template_fields: Sequence[str] = (
        "conn_id",
        "data",
        "message_to",
        "message_id",
        "message_expires_after",
        "on_unknown",
    )

    def __init__(
        self,
        *,
        data: Any,
        message_to: str,
        message_id: str | None = None,
        message_expires_after: int | str = 24 * 60 * 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.message_to = message_to
        self.message_id = message_id
        self.message_expires_after = message_expires_after

    def draft(self, hook: Any, message_id: str) -> Draft:
        """Return the message in the words shared by all services."""
        from airflow_messaging.hooks.drafts import as_upload
        from airflow_messaging.messages import Draft

        return Draft(
            to=(self.message_to,),
            attachments=(as_upload(self.data, field="data"),),
            message_id=self.message_id or message_id,
            options={"message_expires_after": self.message_expires_after},
        )

    def send(self, hook: Any, draft: Draft) -> Receipt:
        """Send through the hook."""
        receipt: Receipt = hook.send_message(
            data=draft.attachments[0],
            message_to=self.message_to,
            message_id=draft.message_id,
            message_expires_after=self.message_expires_after,
        )
        return receipt
