"""Sends and schedules messages through SendHub, and deletes scheduled ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import MessagingOperator, SendOperator
from airflow_messaging.operators.split import SplittingOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_messaging.messages import Draft, Upload


class SendHubSendMessageOperator(SplittingOperator, SendOperator):
    """Send a text message or an MMS, now or later.

    **Delivery**: an attempt that may have reached the service is looked for in the recipient's conversation before
    anything is sent again, also by a retry.

    :param contacts: Ids of contacts, and phone numbers in the form ``+1…``. At most 20.
    :param groups: Ids of groups. At most 3.
    :param contact_names: Names of contacts, as they are written in the address book. They are looked up before
        anything is sent; one that nobody has, or more than one, is refused.
    :param group_names: Names of groups, likewise.
    :param text: The text, at most 500 characters. It may only be missing from an MMS.
    :param mms: A file that goes along: its path, as a path, a URL or an ``ObjectStoragePath``, of at most 5 MiB; or
        ``{"filename", "url"}`` for one that the service fetches from the web.
    :param scheduled_at: When to send: a datetime with a zone, or exactly 24 characters such as
        ``2011-02-17T20:29:40-0800``. Default: at once.
    :param conn_id: The connection. Default ``sendhub_default``.
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) or
        ``"resend"``.
    :param split_recipients: Send more contacts and groups than one message may have in several messages. Default no:
        they are refused.
    :return: The receipt as JSON; with ``split_recipients`` a list with one per recipient, first the contacts', then the
        groups', each without ``raw`` and with ``accepted``.
    :raises PartiallySent: With ``split_recipients``, if some were sent to and others were not.
    """

    conn_type = "sendhub"
    template_fields: Sequence[str] = (
        "conn_id",
        "contacts",
        "groups",
        "contact_names",
        "group_names",
        "text",
        "mms",
        "scheduled_at",
        "on_unknown",
        "split_recipients",
    )

    def __init__(
        self,
        *,
        text: str = "",
        contacts: Sequence[int | str] = (),
        groups: Sequence[int | str] = (),
        contact_names: Sequence[str] | str = (),
        group_names: Sequence[str] | str = (),
        mms: Any = None,
        scheduled_at: datetime | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.text = text
        self.contacts = contacts
        self.groups = groups
        self.contact_names = contact_names
        self.group_names = group_names
        self.mms = mms
        self.scheduled_at = scheduled_at

    def draft(self, hook: Any, message_id: str) -> Draft:
        """Return the message in the words shared by all services."""
        from airflow_messaging.hooks.drafts import as_upload
        from airflow_messaging.messages import Draft, as_recipients

        options: dict[str, Any] = {
            "groups": self.groups,
            "contact_names": self.contact_names,
            "group_names": self.group_names,
            "scheduled_at": self.scheduled_at,
        }
        files: tuple[Upload, ...] = ()
        if isinstance(self.mms, Mapping):
            options["mms"] = self.mms
        elif self.mms is not None:
            files = (as_upload(self.mms, field="mms"),)
        return Draft(
            to=as_recipients(self.contacts),
            text=self.text,
            attachments=files,
            message_id=message_id,
            options={name: value for name, value in options.items() if value},
        )


class SendHubDeleteMessageOperator(MessagingOperator):
    """Delete a message; one that is scheduled is not sent then.

    It fails with ``NotFound`` if the message is unknown, and with ``DeliveryUnknown`` if no answer came.

    :param message_id: The message's id.
    :param conn_id: The connection. Default ``sendhub_default``.
    """

    template_fields: Sequence[str] = ("conn_id", "message_id")

    def __init__(self, *, message_id: str, conn_id: str = "sendhub_default", **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.message_id = message_id

    def execute(self, context: Context) -> None:
        """Delete the message."""
        with self.hook() as hook:
            hook.run(hook.service.delete_message(str(self.message_id)))
        self.log.info("%s: message deleted", hook.hook_name)
