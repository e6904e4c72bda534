"""Sends text messages through SerwerSMS.pl, reports on them, and calls scheduled ones back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_messaging.operators.base import MessagingOperator, SendOperator, message_id_for
from airflow_messaging.operators.split import SplittingOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_messaging.messages import Draft, Receipt
    from airflow_messaging.services.serwersms_sent import SmsReceipt


class SerwerSmsSendMessageOperator(SplittingOperator, SendOperator):
    """Send a text message.

    **Delivery**: an attempt that may have reached the service is looked for by its ``unique_id`` before anything is
    sent again, also by a retry. The id is derived from DAG, run, task and map index.

    :param phone: The recipient's number, or several.
    :param text: The message.
    :param sender: Name that the recipient sees. Default: none, so that the message can be answered (ECO+).
    :param date: When to send; without a zone, the connection's is meant. Default: at once.
    :param unique_id: The client's own id of the message, 3 to 50 characters. Default: derived, the same on every try.
    :param utf: Whether to keep characters beyond the GSM alphabet.
    :param flash: Whether to show the message at once, without storing it.
    :param speed: Whether to send with priority.
    :param test: Whether to check only, and send nothing.
    :param fail_on_unsent: Whether the task fails, and is not tried again, if one of several recipients is not accepted;
        default True. What is returned otherwise is in XCom all the same.
    :param conn_id: The connection. Default ``serwersms_default``.
    :param on_unknown: What to do where it cannot be found out whether the message was sent: ``"fail"`` (default) or
        ``"resend"``.
    :param split_recipients: Send to more than 100,000 numbers in several messages. Default no: they are refused.
    :return: The receipt as JSON; for several recipients with ``recipients``, one entry per number in their order:
        ``phone``, ``accepted``, ``id``, ``status``, ``error_code`` and ``error_message``. With ``split_recipients`` the
        list of these alone, without ``phone``.
    :raises PartiallySent: With ``split_recipients``, if some were sent to and others were not.
    """

    conn_type = "serwersms"
    template_fields: Sequence[str] = (
        "conn_id",
        "phone",
        "text",
        "sender",
        "date",
        "unique_id",
        "utf",
        "flash",
        "speed",
        "test",
        "fail_on_unsent",
        "on_unknown",
        "split_recipients",
    )

    def __init__(
        self,
        *,
        phone: str | list[str],
        text: str,
        sender: str | None = None,
        date: datetime | str | None = None,
        unique_id: str | None = None,
        utf: bool | str | None = None,
        flash: bool | str | None = None,
        speed: bool | str | None = None,
        test: bool | str | None = None,
        fail_on_unsent: bool | str = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.phone = phone
        self.text = text
        self.sender = sender
        self.date = date
        self.unique_id = unique_id
        self.utf = utf
        self.flash = flash
        self.speed = speed
        self.test = test
        self.fail_on_unsent = fail_on_unsent

    def draft(self, hook: Any, message_id: str) -> Draft:
        """Return the message in the words shared by all services."""
        from airflow_messaging.messages import Draft, as_recipients

        return Draft(
            to=as_recipients(self.phone),
            text=self.text,
            message_id=self.unique_id or message_id,
            options={name: getattr(self, name) for name in ("sender", "date", "utf", "flash", "speed", "test")},
        )

    def send(self, hook: Any, draft: Draft) -> Receipt:
        """Send through the hook."""
        receipt: SmsReceipt = hook.run(self._call(hook, draft))
        return receipt.plain()

    def split(self, hook: Any, draft: Draft) -> list[Draft]:
        """Return batches of as many numbers as one message may have."""
        from airflow_messaging.services.serwersms_wire import MAX_NUMBERS

        batches: list[Draft] = hook.run(hook.service.split(draft, most=MAX_NUMBERS))
        return batches

    def check(self, hook: Any, draft: Draft) -> None:
        """Refuse a message that breaks a rule; nothing is sent."""
        self._call(hook, draft)

    def _call(self, hook: Any, draft: Draft) -> Any:
        return hook.service.messages_send_sms(
            phone=self.phone if isinstance(self.phone, str) else list(draft.to),
            text=self.text,
            sender=self.sender,
            date=self.date,
            unique_id=draft.message_id,
            utf=self.utf,
            flash=self.flash,
            speed=self.speed,
            test=self.test,
        )

    def results(self, hook: Any, draft: Draft, receipt: Receipt) -> list[dict[str, Any]]:
        """Say of each recipient of one message what became of it, in the order in which they were given."""
        from airflow_messaging.services.parsing import Reader
        from airflow_messaging.services.serwersms_sent import Recipient, recipients, remembered

        answer = receipt.raw
        if "items" not in answer:
            # It was an earlier try that got the answer, perhaps under another id, if the message has changed since.
            first = hook.run(hook.service.messages_reports_all(id=receipt.id))
            unique_id = first[0].raw.get("unique_id") if first else None
            reports = hook.run(hook.service.messages_reports_all(unique_id=unique_id or draft.message_id))
            answer = {"items": [report.raw for report in reports]}
        found = recipients(Reader(self.conn_type, "messages/send_sms", answer), draft.to)
        found = found or tuple(Recipient(phone=number) for number in draft.to)
        people = remembered(receipt, found)
        if missing := sum(one != other for one, other in zip(people, found, strict=True)):
            self.log.warning(
                "There is no report of %d of %d recipients: as accepted counts who was so when it was sent",
                missing,
                len(people),
            )
        return [one.to_dict() for one in people]

    def fail(self, service: str, results: list[Any], errors: list[Any], context: Context) -> None:
        """Fail, because some of the results are failures; not if all were sent and ``fail_on_unsent`` is off."""
        from airflow_messaging.services.parsing import true_or_false

        if errors or true_or_false("fail_on_unsent", self.fail_on_unsent):
            super().fail(service, results, errors, context)

    def execute(self, context: Context) -> Any:
        """Send the message, and say of each of several recipients whether it was accepted.

        If one was not and ``fail_on_unsent`` is set, it ends in ``AirflowFailException``, with what it would have
        returned in XCom.
        """
        from airflow.providers.common.compat.sdk import AirflowFailException

        from airflow_messaging.exceptions import PartiallySent
        from airflow_messaging.messages import Receipt
        from airflow_messaging.services.parsing import true_or_false

        fail = true_or_false("fail_on_unsent", self.fail_on_unsent)
        receipt = super().execute(context)
        if isinstance(receipt, list) or isinstance(self.phone, str):
            return receipt
        with self.hook() as hook:
            draft = self.draft(hook, message_id_for(context))
            results = self.results(hook, draft, Receipt.from_dict(receipt))
        named = [{"phone": phone, **result} for phone, result in zip(draft.to, results, strict=True)]
        if all(result["accepted"] for result in results):
            return {**receipt, "recipients": named}
        problem = PartiallySent(self.conn_type, results)
        if not fail:
            self.log.warning("%s", problem)
            return {**receipt, "recipients": named}
        # A failed task returns nothing; and a retry would send to those again that were accepted.
        context["ti"].xcom_push(key="return_value", value={**receipt, "recipients": named})
        raise AirflowFailException(str(problem)) from problem


class SerwerSmsReportsOperator(MessagingOperator):
    """Say how far sent messages have come, recipient by recipient.

    **Delivery**: a look only. The service keeps reports for about 14 days.

    :param id: Only these messages, at most 500.
    :param unique_id: Only the messages with these ids of the client.
    :param phone: Only to this number or these numbers.
    :param date_from: Only from this time on; without a zone, the connection's is meant.
    :param date_to: Only up to this time.
    :param status: Only these: ``saved`` (scheduled), ``pending``, ``in_progress``, ``sent``, ``delivered``,
        ``undelivered`` or ``unsent``.
    :param conn_id: The connection. Default ``serwersms_default``.
    :return: The reports as JSON, as receipts: ``id``, ``status``, and the vendor's own record as ``raw``.
    """

    template_fields: Sequence[str] = ("conn_id", "id", "unique_id", "phone", "date_from", "date_to", "status")

    def __init__(
        self,
        *,
        id: str | list[str] | None = None,
        unique_id: str | list[str] | None = None,
        phone: str | list[str] | None = None,
        date_from: datetime | str | None = None,
        date_to: datetime | str | None = None,
        status: str | None = None,
        conn_id: str = "serwersms_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.id = id
        self.unique_id = unique_id
        self.phone = phone
        self.date_from = date_from
        self.date_to = date_to
        self.status = status

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the reports as JSON."""
        narrowing = {name: getattr(self, name) for name in self.template_fields if name != "conn_id"}
        with self.hook() as hook:
            reports = hook.run(hook.service.messages_reports_all(**narrowing))
        self.log.info("%s: %d reports", hook.hook_name, len(reports))
        return [report.to_dict() for report in reports]


class SerwerSmsDeleteMessageOperator(MessagingOperator):
    """Call a scheduled message back.

    It fails with ``NotFound`` if no scheduled message has that id, also if it has been sent, and with
    ``DeliveryUnknown`` if no answer came.

    :param id: The message's id.
    :param unique_id: The client's id, in place of ``id``: calls back what goes to all recipients under it.
    :param conn_id: The connection. Default ``serwersms_default``.
    """

    template_fields: Sequence[str] = ("conn_id", "id", "unique_id")

    def __init__(
        self,
        *,
        id: str | None = None,
        unique_id: str | None = None,
        conn_id: str = "serwersms_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.id = id
        self.unique_id = unique_id

    def execute(self, context: Context) -> None:
        """Call the message back."""
        with self.hook() as hook:
            hook.run(hook.service.messages_delete(id=self.id, unique_id=self.unique_id))
        self.log.info("%s: message called back", hook.hook_name)
