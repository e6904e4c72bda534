"""Hook for SerwerSMS.pl."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_messaging.get_provider_info import BEARER
from airflow_messaging.hooks.base import MessagingHook, utcnow
from airflow_messaging.hooks.settings import Settings
from airflow_messaging.messages import Message, Receipt
from airflow_messaging.services.serwersms import SerwerSms
from airflow_messaging.services.serwersms_sent import SmsReceipt
from airflow_messaging.services.serwersms_wire import Limit


class SerwerSmsHook(MessagingHook[SerwerSms]):
    """SMS out, SMS and MMS in.

    Connection fields: ``login`` and ``password``; or, with ``auth_scheme`` ``bearer`` in ``extra``, a token of
    the API as the password and no login.

    :param conn_id: The connection. Default ``serwersms_default``.
    """

    default_conn_name = "serwersms_default"
    conn_type = "serwersms"
    hook_name = "SerwerSMS.pl"

    def make_service(self, settings: Settings) -> SerwerSms:
        """Build the service from the connection's settings."""
        credentials = (
            {"token": settings.password}
            if settings.extra["auth_scheme"] == BEARER
            else {"username": settings.login, "password": settings.password}
        )
        return SerwerSms(settings.base_url, **credentials, clock=utcnow, zone=settings.zone)

    def messages_recived(self, *, read: bool | None = None, **narrowing: Any) -> list[Message]:
        """List unread messages (``messages/recived``, the vendor's own spelling).

        **Delivery**: without ``read`` a look only, over all pages. With ``read=True`` the service marks as read what it
        returns, one page of it, and gives it out no more: if this process dies now, those messages are lost.
        :class:`~airflow_messaging.operators.messages.MarkMessagesReadOperator` acknowledges without that risk.

        :param read: True to mark what is returned as read. Default: a look only.
        :param narrowing: ``phone``, ``date_from``, ``date_to``, ``type``, ``ndi`` and ``show_contact``; with
            ``read=True`` also ``page``, ``limit`` and ``order``; as
            :meth:`~airflow_messaging.services.serwersms.SerwerSms.messages_recived` explains them.
        :return: The messages.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        if read is None or read is False:
            return self.run(self.service.messages_recived_all(**narrowing))
        return self.run(self.service.messages_recived(read=read, **narrowing)).items

    def messages_send_sms(
        self,
        *,
        phone: str | list[str],
        text: str,
        sender: str | None = None,
        date: datetime | str | None = None,
        unique_id: str | None = None,
        **options: Any,
    ) -> SmsReceipt:
        """Send a text message (``messages/send_sms``).

        :param phone: The recipient's number, or up to 100,000 numbers.
        :param text: The message.
        :param sender: Name that the recipient sees. Default: none, so that the message can be answered (ECO+).
        :param date: When to send; without a zone, the connection's is meant. Default: at once.
        :param unique_id: The client's own id of the message, 3 to 50 characters.
        :param options: ``details``, ``utf``, ``flash``, ``speed`` and ``test``, as
            :meth:`~airflow_messaging.services.serwersms.SerwerSms.messages_send_sms` explains them.
        :return: The receipt. ``recipients`` says of each number what became of it, and ``unsent`` are those whose
            message is not sent: look at it where there are several, because one can fail while the call succeeds.
        :raises InvalidInput: If an argument breaks a rule; nothing was sent then.
        :raises DeliveryUnknown: If no answer came: the message may have been sent, and is not sent again.
        """
        return self.run(
            self.service.messages_send_sms(
                phone=phone, text=text, sender=sender, date=date, unique_id=unique_id, **options
            )
        )

    def messages_reports(self, *, page: int | None = None, limit: int | None = None, **narrowing: Any) -> list[Receipt]:
        """Say how far sent messages have come (``messages/reports``); reports are kept for about 14 days.

        :param page: Only this page, from 1. Default: all pages.
        :param limit: The most reports on a page.
        :param narrowing: ``id``, ``unique_id``, ``phone``, ``date_from``, ``date_to``, ``status``, ``type`` and
            ``show_contact``, as :meth:`~airflow_messaging.services.serwersms.SerwerSms.messages_reports` explains them.
        :return: One receipt per message and recipient, the vendor's report in ``raw``.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        if page is None:
            return self.run(self.service.messages_reports_all(limit=limit, **narrowing))
        return self.run(self.service.messages_reports(page=page, limit=limit, **narrowing)).items

    def messages_delete(self, *, id: str | None = None, unique_id: str | None = None) -> None:
        """Call a scheduled message back (``messages/delete``).

        :param id: The message's id.
        :param unique_id: The client's id, in place of ``id``: calls back what went to all recipients under it.
        :raises NotFound: If no scheduled message has that id, also if it has been sent.
        :raises DeliveryUnknown: If no answer came: it may have been called back.
        """
        self.run(self.service.messages_delete(id=id, unique_id=unique_id))

    def account_limits(self) -> list[Limit]:
        """Say how many messages of each kind the account may still send (``account/limits``)."""
        return self.run(self.service.account_limits())
