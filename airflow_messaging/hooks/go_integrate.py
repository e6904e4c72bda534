"""Hook for Go Integrate Me."""

from __future__ import annotations

from typing import Any

from airflow_messaging.hooks.base import MessagingHook, utcnow
from airflow_messaging.hooks.drafts import as_upload, new_message_id
from airflow_messaging.hooks.settings import Settings
from airflow_messaging.messages import Message, Receipt
from airflow_messaging.services.go_integrate import DEFAULT_EXPIRY_S, GoIntegrate


class GoIntegrateHook(MessagingHook[GoIntegrate]):
    """Files between routes; every request is signed.

    Connection fields: ``login`` is your route, ``password`` the key secret.

    :param conn_id: The connection. Default ``go_integrate_default``.
    """

    default_conn_name = "go_integrate_default"
    conn_type = "go_integrate"
    hook_name = "Go Integrate Me"

    def make_service(self, settings: Settings) -> GoIntegrate:
        """Build the service from the connection's settings."""
        return GoIntegrate(
            settings.base_url, route=settings.login, key_secret=settings.password, clock=utcnow, zone=settings.zone
        )

    def ping(self) -> None:
        """Check that the service is in operation (``ping``).

        :raises MessagingError: If it is not.
        """
        self.run(self.service.ping())

    def send_message(
        self,
        *,
        data: Any,
        message_to: str,
        message_id: str | None = None,
        message_expires_after: int | str = DEFAULT_EXPIRY_S,
    ) -> Receipt:
        """Send a file to a route (``send-message``). The file is streamed, never held in memory.

        :param data: Path of the file, as text or ``ObjectStoragePath``, or an ``Upload``.
        :param message_to: The recipient's route.
        :param message_id: Identifies the message; the same id for the same message. Default: a random one.
        :param message_expires_after: Seconds after which the service drops the message unread. Default: one day.
        :return: The receipt; its id is ``message_id``.
        :raises InvalidInput: If an argument breaks a rule; nothing was sent then.
        :raises NotFound: If the recipient is unknown.
        :raises DeliveryUnknown: If no answer came: the message may have been sent, and is not sent again.
        """
        return self.run(
            self.service.send_message(
                data=as_upload(data, field="data"),
                message_to=message_to,
                message_id=message_id or new_message_id(),
                message_expires_after=message_expires_after,
            )
        )

    def list_messages(self) -> list[Message]:
        """List the messages that can be fetched now (``list-messages``).

        **Delivery**: a look only. Messages expire by themselves and are gone then.

        :return: The messages, oldest first, with link and times but without content.
        """
        return self.run(self.service.list_messages())

    def get_message(self, link: str) -> Message:
        """Fetch one message (``get-message``).

        **Delivery**: the message stays until it expires. A file over 64 KiB is not in the message: fetch it with
        :class:`~airflow_messaging.operators.messages.DownloadAttachmentsOperator`.

        :param link: The message's link.
        :raises NotFound: If the message is unknown or has expired.
        """
        return self.run(self.service.get_message(link))

    def get_next_message(self, after: str) -> Message | None:
        """Fetch the message that follows another (``get-next-message``).

        **Delivery**: the message stays until it expires.

        :param after: Link of the message before.
        :return: The message, or None if nothing is newer.
        """
        return self.run(self.service.get_next_message(after))

    def wait_next_message(self, after: str) -> Message | None:
        """Fetch the message that follows another, waiting for it (``wait-next-message``).

        **Delivery**: the message stays until it expires. The wait blocks for up to some minutes; in a DAG use
        :class:`~airflow_messaging.sensors.messages.NextMessageSensor`.

        :param after: Link of the message before.
        :return: The message, or None if the wait ended without one, which means: ask again.
        """
        return self.run(self.service.wait_next_message(after))
