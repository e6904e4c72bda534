"""Hook for SendHub."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from airflow_messaging.hooks.base import MessagingHook, utcnow
from airflow_messaging.hooks.settings import Settings
from airflow_messaging.messages import Message, Receipt
from airflow_messaging.services.paging import Page
from airflow_messaging.services.sendhub import SendHub
from airflow_messaging.services.sendhub_wire import Thread


class SendHubHook(MessagingHook[SendHub]):
    """SMS sent, scheduled, tracked and marked read.

    Connection fields: ``login`` is your user name, ``password`` the API key; in ``extra`` the account's limits
    ``max_contacts``, ``max_groups`` and ``max_text``.

    :param conn_id: The connection. Default ``sendhub_default``.
    """

    default_conn_name = "sendhub_default"
    conn_type = "sendhub"
    hook_name = "SendHub"

    def make_service(self, settings: Settings) -> SendHub:
        """Build the service from the connection's settings."""
        return SendHub(
            settings.base_url,
            username=settings.login,
            api_key=settings.password,
            clock=utcnow,
            zone=settings.zone,
            **settings.extra,
        )

    def send_message(
        self,
        *,
        contacts: Sequence[int | str] = (),
        groups: Sequence[int | str] = (),
        text: str,
        scheduled_at: datetime | str | None = None,
    ) -> Receipt:
        """Send a message, now or later (``POST messages/``).

        :param contacts: Ids of contacts, and phone numbers in the form ``+1…``. At most 20.
        :param groups: Ids of groups. At most 3.
        :param text: The text, at most 500 characters.
        :param scheduled_at: When to send: a datetime with a zone, or exactly 24 characters such as
            ``2011-02-17T20:29:40-0800``. Default: at once.
        :return: The receipt with the message's id.
        :raises InvalidInput: If an argument breaks a rule; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the message may have been sent, and is not sent again.
        """
        return self.run(
            self.service.send_message(contacts=contacts, groups=groups, text=text, scheduled_at=scheduled_at)
        )

    def get_message(self, message_id: str) -> Message:
        """Look one message up, with its status (``GET messages/ID/``).

        **Delivery**: a look only.

        :param message_id: The message's id.
        :raises NotFound: If the message is unknown.
        """
        return self.run(self.service.get_message(message_id))

    def mark_message_read(self, message_id: str) -> None:
        """Mark a received message as read (``PUT messages/ID/``). It cannot be marked unread again.

        :param message_id: The message's id.
        :raises NotFound: If the message is unknown.
        """
        self.run(self.service.mark_message_read(message_id))

    def inbox(self, *, limit: int | None = None, offset: int | None = None, unread: bool | None = None) -> Page[Thread]:
        """List conversations, one page (``GET inbox/``).

        **Delivery**: a look only.

        :param limit: The most conversations on the page.
        :param offset: How many conversations to leave out.
        :param unread: True for conversations with something unread; older servers may ignore it.
        """
        return self.run(self.service.inbox(limit=limit, offset=offset, unread=unread))

    def thread(self, thread_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[Message]:
        """List the messages of a conversation, one page (``GET threads/ID``).

        **Delivery**: a look only.

        :param thread_id: The conversation's id.
        :param limit: The most messages on the page.
        :param offset: How many messages to leave out.
        """
        return self.run(self.service.thread(thread_id, limit=limit, offset=offset))
