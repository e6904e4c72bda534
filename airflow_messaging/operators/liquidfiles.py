"""Sends secure messages through LiquidFiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import SendOperator

if TYPE_CHECKING:
    from airflow_messaging.messages import Receipt


class LiquidFilesSendMessageOperator(SendOperator):
    """Upload files and send a message with them.

    **Delivery**: an attempt that may have reached the service is not repeated within the task: it fails with
    ``DeliveryUnknown``.

    :param recipients: Mail address or addresses.
    :param subject: Subject line.
    :param message: The text.
    :param attachments: Paths of files, as texts or ``ObjectStoragePath``; they are streamed.
    :param cc: Mail addresses.
    :param bcc: Mail addresses.
    :param expires_at: Day on which the message expires, ``YYYY-MM-DD``. Default: the server's own setting.
    :param expires_after: How often the files may be downloaded. Default: the server's own setting.
    :param send_email: Whether the server mails the recipients. Default True, unlike the API's own.
    :param authorization: Who may download, 0 to 4. Default: the server's own setting.
    :param private_message: Whether the text, too, needs authentication. Default: the server's own setting.
    :param bcc_myself: Whether the sender gets a copy. Default: the server's own setting.
    :param conn_id: The connection. Default ``liquidfiles_default``.
    :return: The receipt as JSON.
    """

    conn_type = "liquidfiles"
    template_fields: Sequence[str] = (
        "conn_id",
        "recipients",
        "subject",
        "message",
        "attachments",
        "cc",
        "bcc",
        "expires_at",
        "expires_after",
        "send_email",
        "authorization",
        "private_message",
        "bcc_myself",
    )

    def __init__(
        self,
        *,
        recipients: str | Sequence[str],
        subject: str | None = None,
        message: str | None = None,
        attachments: Sequence[Any] | str = (),
        cc: Sequence[str] = (),
        bcc: Sequence[str] = (),
        expires_at: str | None = None,
        expires_after: int | str | None = None,
        send_email: bool | str = True,
        authorization: int | str | None = None,
        private_message: bool | str | None = None,
        bcc_myself: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.recipients = recipients
        self.subject = subject
        self.message = message
        self.attachments = attachments
        self.cc = cc
        self.bcc = bcc
        self.expires_at = expires_at
        self.expires_after = expires_after
        self.send_email = send_email
        self.authorization = authorization
        self.private_message = private_message
        self.bcc_myself = bcc_myself

    def send(self, hook: Any, message_id: str) -> Receipt:
        """Send through the hook."""
        receipt: Receipt = hook.send_message(
            recipients=[self.recipients] if isinstance(self.recipients, str) else self.recipients,
            subject=self.subject,
            message=self.message,
            attachments=[self.attachments] if isinstance(self.attachments, str) else self.attachments,
            cc=self.cc,
            bcc=self.bcc,
            expires_at=self.expires_at,
            expires_after=self.expires_after,
            send_email=self.send_email,
            authorization=self.authorization,
            private_message=self.private_message,
            bcc_myself=self.bcc_myself,
        )
        return receipt
