"""Hook for SendHub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_messaging.hooks.base import MessagingHook, utcnow
from airflow_messaging.hooks.drafts import as_upload
from airflow_messaging.hooks.settings import Settings
from airflow_messaging.messages import Message, Receipt
from airflow_messaging.services.paging import Page
from airflow_messaging.services.sendhub import SendHub
from airflow_messaging.services.sendhub_wire import Contact, Group, Thread, mms_of


class SendHubHook(MessagingHook[SendHub]):
    """SMS and MMS sent, scheduled, tracked and marked read; contacts and groups.

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
        text: str = "",
        scheduled_at: datetime | str | None = None,
        mms: Any = None,
    ) -> Receipt:
        """Send a message, now or later (``POST messages/``).

        :param contacts: Ids of contacts, and phone numbers in the form ``+1…``. At most 20.
        :param groups: Ids of groups. At most 3.
        :param text: The text, at most 500 characters. It may only be missing from an MMS.
        :param scheduled_at: When to send: a datetime with a zone, or exactly 24 characters such as
            ``2011-02-17T20:29:40-0800``. Default: at once.
        :param mms: A file that goes along: its path, as text or ``ObjectStoragePath``, of at most 5 MiB; or the
            vendor's ``{"filename", "url"}`` or ``{"filename", "data"}`` with base64.
        :return: The receipt with the message's id.
        :raises InvalidInput: If an argument breaks a rule; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the message may have been sent, and is not sent again.
        """
        file = mms if mms is None or isinstance(mms, Mapping) else mms_of(as_upload(mms, field="mms"))
        return self.run(
            self.service.send_message(contacts=contacts, groups=groups, text=text, scheduled_at=scheduled_at, mms=file)
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

    def delete_message(self, message_id: str) -> None:
        """Delete a message; one that is scheduled is not sent then (``DELETE messages/ID``).

        :param message_id: The message's id.
        :raises NotFound: If the message is unknown.
        :raises DeliveryUnknown: If no answer came: it may have been deleted.
        """
        self.run(self.service.delete_message(message_id))

    def scheduled_messages(self) -> list[Message]:
        """List the messages that wait for their time (``GET messages/scheduled``), all pages."""
        return self.run(self.service.scheduled_messages_all())

    def contacts(self) -> list[Contact]:
        """List the contacts (``GET contacts/``), all pages."""
        return self.run(self.service.contacts_all())

    def create_contact(self, *, name: str, number: str) -> Contact:
        """Add a contact (``POST contacts/``).

        :param name: The name.
        :param number: The phone number, such as ``+16505551234``.
        :raises InvalidInput: If either is empty; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the contact may have been added.
        """
        return self.run(self.service.create_contact(name=name, number=number))

    def groups(self) -> list[Group]:
        """List the groups (``GET groups/``), all pages."""
        return self.run(self.service.groups_all())

    def create_group(self, *, name: str, contacts: Sequence[int | str] = ()) -> Group:
        """Add a group (``POST groups/``).

        :param name: The name.
        :param contacts: Ids of its contacts. Default: none.
        :raises InvalidInput: If the name is empty or a contact is no id; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the group may have been added.
        """
        return self.run(self.service.create_group(name=name, contacts=contacts))

    def contact_ids(self, names: Sequence[str] | str) -> list[str]:
        """Look contacts up by their names.

        :param names: One name or several, as they are written in the address book.
        :return: Their ids, in the same order.
        :raises InvalidInput: If no contact has one of the names, or several have.
        """
        return self.run(self.service.contact_ids(names))

    def group_ids(self, names: Sequence[str] | str) -> list[str]:
        """Look groups up by their names.

        :param names: One name or several, as they are written in the address book.
        :return: Their ids, in the same order.
        :raises InvalidInput: If no group has one of the names, or several have.
        """
        return self.run(self.service.group_ids(names))

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
