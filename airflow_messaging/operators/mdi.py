"""Sends messages to vehicle units through MDI g8teway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import SendOperator

if TYPE_CHECKING:
    from airflow_messaging.messages import Receipt


class MdiSendMessageOperator(SendOperator):
    """Send a message to a unit.

    **Delivery**: an attempt that may have reached the service is not repeated within the task: it fails with
    ``DeliveryUnknown``.

    :param unitid: The unit.
    :param channelid: The channel.
    :param content: The content.
    :param userid: The user it comes from. Default: the one who is logged in.
    :param replyto: Id of the message that it answers. Default: none.
    :param timeout: Minutes after which the service gives the message up, 0 to 32767, or ``"null"`` for never.
        Default: the channel's own setting.
    :param direction: ``usertounit`` or ``unittouser``. Default: the former.
    :param conn_id: The connection. Default ``mdi_default``.
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

    def send(self, hook: Any, message_id: str) -> Receipt:
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
