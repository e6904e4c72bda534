"""Hook for LiquidFiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from airflow_messaging.get_provider_info import BEARER
from airflow_messaging.hooks.base import MessagingHook, utcnow
from airflow_messaging.hooks.drafts import as_upload
from airflow_messaging.hooks.settings import Settings
from airflow_messaging.messages import Attachment, Message, Receipt
from airflow_messaging.services.liquidfiles import LiquidFiles


class LiquidFilesHook(MessagingHook[LiquidFiles]):
    """Secure messages with attachments behind one-time URLs.

    Connection fields: ``host`` is your own server, ``password`` the API key; in ``extra`` ``auth_scheme`` (``basic``,
    or ``bearer`` for the key as a bearer token) and ``chunk_size`` (bytes; a larger file is uploaded in pieces).

    :param conn_id: The connection. Default ``liquidfiles_default``.
    """

    default_conn_name = "liquidfiles_default"
    conn_type = "liquidfiles"
    hook_name = "LiquidFiles"

    def make_service(self, settings: Settings) -> LiquidFiles:
        """Build the service from the connection's settings."""
        return LiquidFiles(
            settings.base_url,
            api_key=settings.password,
            clock=utcnow,
            zone=settings.zone,
            bearer=settings.extra["auth_scheme"] == BEARER,
            chunk_size=settings.extra["chunk_size"],
        )

    def messages_inbox(
        self, *, sent_after: date | str | None = None, sent_in_the_last: int | None = None
    ) -> list[Message]:
        """List received messages (``GET messages/inbox``).

        **Delivery**: a look only; the service has no read flag. It lists a message until that expires.

        :param sent_after: Only messages sent after this day: a date or ``YYYY-MM-DD``. Default: all.
        :param sent_in_the_last: Only messages of the last so many hours. Default: all.
        :return: The messages.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        return self.run(self.service.messages_inbox(sent_after=sent_after, sent_in_the_last=sent_in_the_last))

    def messages_sent(
        self,
        *,
        sent_after: date | str | None = None,
        sent_in_the_last: int | None = None,
        limit: int | None = None,
    ) -> list[Message]:
        """List sent messages (``GET messages/sent``).

        **Delivery**: a look only. It lists a message until that expires.

        :param sent_after: Only messages sent after this day: a date or ``YYYY-MM-DD``. Default: all.
        :param sent_in_the_last: Only messages of the last so many hours. Default: all.
        :param limit: The most messages to return. Default: the service's own.
        :return: The messages, oldest first.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        return self.run(
            self.service.messages_sent(sent_after=sent_after, sent_in_the_last=sent_in_the_last, limit=limit)
        )

    def get_message(self, message_id: str) -> Message:
        """View one message (``GET message/ID``), which also makes fresh one-time URLs for its attachments.

        **Delivery**: a look only; the service has no read flag.

        :param message_id: The message's id.
        :raises NotFound: If the message is unknown or has expired.
        """
        return self.run(self.service.get_message(message_id))

    def upload_attachment(self, data: Any) -> str:
        """Upload a file (``POST message/attachments/upload``). It is streamed, never held in memory.

        A file larger than the connection's ``chunk_size`` goes up in pieces; one that is lost on the way is repeated
        alone.

        :param data: Path of the file, as text or ``ObjectStoragePath``, or an ``Upload``.
        :return: The file's id, for :meth:`send_message`.
        :raises InvalidInput: If the file cannot be read.
        """
        return self.run(self.service.upload(data=as_upload(data, field="data")))

    def list_attachments(self) -> list[Attachment]:
        """List the user's files on the server (``GET attachments``)."""
        return self.run(self.service.list_attachments())

    def delete_attachments(self, message_id: str) -> None:
        """Delete all files of a message (``DELETE message/ID/delete_attachments``); the message stays.

        :param message_id: The message's id.
        :raises NotFound: If the message is unknown or has expired.
        """
        self.run(self.service.delete_attachments(message_id))

    def delete_attachment(self, attachment_id: str) -> None:
        """Delete one file (``DELETE message/attachments/ID``).

        :param attachment_id: The file's id.
        :raises NotFound: If the file is unknown, which it is once it was deleted.
        """
        self.run(self.service.delete_attachment(attachment_id))

    def send_message(
        self,
        *,
        recipients: Sequence[str],
        subject: str | None = None,
        message: str | None = None,
        attachments: Iterable[Any] = (),
        **options: Any,
    ) -> Receipt:
        """Upload files and send a message with them (``POST message``).

        :param recipients: Mail addresses.
        :param subject: Subject line.
        :param message: The text.
        :param attachments: Paths of files, as texts or ``ObjectStoragePath``.
        :param options: ``cc``, ``bcc``, ``expires_at``, ``expires_after``, ``send_email``, ``authorization``,
            ``private_message`` and ``bcc_myself``, as
            :meth:`~airflow_messaging.services.liquidfiles.LiquidFiles.send_message` explains them.
        :return: The receipt with the message's id.
        :raises InvalidInput: If an argument breaks a rule; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the message may have been sent, and is not sent again.
        """
        return self.send(list(recipients), message, subject=subject, attachments=attachments, options=options)
