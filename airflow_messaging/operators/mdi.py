"""Sends messages to vehicle units through MDI g8teway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import SendOperator

if TYPE_CHECKING:
    from airflow_messaging.messages import Draft, Receipt


class MdiSendMessageOperator(SendOperator):
    """Send a message to a unit.

    **Delivery**: an attempt that may have reached the service is looked for among the unit's messages before anything
    is sent again, also by a retry.

    :param unitid: The unit.
    :param channelid: The channel.
    :param content: The content.
    :param userid: The user it comes from. Default: the one who is logged in.
    :param replyto: Id of the message that it answers. Default: none.
    :param timeout: Minutes after which the service gives the message up, 0 to 32767, or ``"null"`` for never.
        Default: the channel's own setting.
    :param direction: ``usertounit`` or ``unittouser``. Default: the former.
    :param conn_id: The connection. Default ``mdi_default``.
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) or
        ``"resend"``.
    :return: The receipt as JSON.
    """

    conn_type = "mdi"
    template_fields: Sequence[str] = (
        "conn_id",
        "unitid",
        "channelid",
        "content",
        "userid",
        "replyto",
        "timeout",
        "direction",
        "on_unknown",
    )

    def __init__(
        self,
        *,
        unitid: int | str,
        channelid: int | str,
        content: str | bytes,
        userid: int | str | None = None,
        replyto: int | str | None = None,
        timeout: int | str | None = None,
        direction: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.unitid = unitid
        self.channelid = channelid
        self.content = content
        self.userid = userid
        self.replyto = replyto
        self.timeout = timeout
        self.direction = direction

    def draft(self, hook: Any, message_id: str) -> Draft:
        """Return the message in the words shared by all services."""
        from airflow_messaging.messages import Draft

        names = ("channelid", "userid", "timeout", "direction")
        options = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        try:
            text = self.content.decode() if isinstance(self.content, bytes) else self.content
        except UnicodeDecodeError:
            text, options["content"] = None, self.content
        return Draft(
            to=(str(self.unitid),),
            text=text,
            in_reply_to=None if self.replyto is None else str(self.replyto),
            message_id=message_id,
            options=options,
        )

    def send(self, hook: Any, draft: Draft) -> Receipt:
        """Send through the hook."""
        receipt: Receipt = hook.create_message(
            unitid=self.unitid,
            channelid=self.channelid,
            content=self.content,
            userid=self.userid,
            replyto=self.replyto,
            timeout=self.timeout,
            direction=self.direction,
        )
        return receipt
