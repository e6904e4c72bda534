"""Sends secure messages through LiquidFiles, and deletes files there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import MessagingOperator, SendOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.messages import Draft


class LiquidFilesSendMessageOperator(SendOperator):
    """Upload files and send a message with them.

    **Delivery**: an attempt that may have reached the service is looked for among the sent messages before anything is
    sent again, also by a retry.

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
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) or
        ``"resend"``.
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
        "on_unknown",
    )

    def __init__(
        self,
        *,
        recipients: str | Sequence[str],
        subject: str | None = None,
        message: str | None = None,
        attachments: Iterable[Any] | None = (),
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

    def draft(self, hook: Any, message_id: str) -> Draft:
        """Return the message in the words shared by all services."""
        from airflow_messaging.hooks.drafts import uploads_of
        from airflow_messaging.messages import Draft, as_recipients

        options = {
            "cc": self.cc,
            "bcc": self.bcc,
            "expires_at": self.expires_at,
            "expires_after": self.expires_after,
            "send_email": self.send_email,
            "authorization": self.authorization,
            "private_message": self.private_message,
            "bcc_myself": self.bcc_myself,
        }
        return Draft(
            to=as_recipients(self.recipients),
            text=self.message,
            subject=self.subject,
            attachments=uploads_of(self.attachments),
            message_id=message_id,
            options=options,
        )


class LiquidFilesDeleteAttachmentsOperator(MessagingOperator):
    """Delete files from the server: all files of messages, or single ones. The messages stay.

    What is gone already is no error, so that a retry of the task succeeds.

    **Delivery**: nothing is acknowledged. A file that is deleted cannot be downloaded by anybody any more: download
    first.

    :param messages: The JSON of a message, as a sensor returns it, its id, or a list of these. Default: none.
    :param attachments: Id or ids of files. Default: none.
    :param conn_id: The connection. Default ``liquidfiles_default``.
    :return: ``{"deleted": [ids], "gone": [ids]}``: ids of messages and of files, in the order given.
    """

    template_fields: Sequence[str] = ("conn_id", "messages", "attachments")

    def __init__(
        self, *, messages: Any = None, attachments: Any = None, conn_id: str = "liquidfiles_default", **kwargs: Any
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.messages = messages
        self.attachments = attachments

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Delete the files."""
        from airflow_messaging.exceptions import InvalidInput, NotFound, Shown
        from airflow_messaging.hooks.liquidfiles import LiquidFilesHook

        if self.messages is None and self.attachments is None:
            raise InvalidInput("messages", Shown("nothing"), "messages or attachments to delete")
        messages, attachments = _ids("messages", self.messages or ()), _ids("attachments", self.attachments or ())
        done: dict[str, list[str]] = {"deleted": [], "gone": []}
        with LiquidFilesHook(self.conn_id) as hook:
            service = hook.service
            calls = [(id_, service.delete_attachments(id_)) for id_ in messages]
            calls += [(id_, service.delete_attachment(id_)) for id_ in attachments]
            for id_, call in calls:
                try:
                    hook.run(call)
                    done["deleted"].append(id_)
                except NotFound:
                    done["gone"].append(id_)
        self.log.info("LiquidFiles: %d deleted, %d gone already", len(done["deleted"]), len(done["gone"]))
        return done


def _ids(field: str, value: Any) -> list[str]:
    from airflow_messaging.exceptions import InvalidInput, Shown

    if isinstance(value, Mapping) and value.get("service", "liquidfiles") == "liquidfiles":
        value = value.get("id")
    if isinstance(value, str) and value.strip():
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [id_ for item in value for id_ in _ids(field, item)]
    raise InvalidInput(field, Shown(type(value).__name__), "a record with an id, an id, or a list of these")
