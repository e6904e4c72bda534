"""Sending to more recipients than one message may have: in batches, and only if asked to."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_messaging.operators.base import SendOnceOperator, message_id_for, stable_message_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.exceptions import MessagingError
    from airflow_messaging.messages import Draft, Receipt


class SplittingOperator(SendOnceOperator):
    """An operator that sends to as many recipients as there are, in as many messages as it takes, if asked to.

    **Delivery**: each batch is a message of its own, with an id derived from the task's and the batch's recipients, and
    each is sent once, as :class:`~airflow_messaging.operators.base.SendOnceOperator` says. On Airflow 3.3 and newer a
    retry sends what is missing and nothing else; older ones do not retry once some have been sent.

    :param split_recipients: Send in batches where one message may not have all recipients. Default no: more than the
        service allows are refused, and nothing is sent.
    """

    template_fields: Sequence[str] = ("conn_id", "on_unknown", "split_recipients")

    def __init__(self, *, split_recipients: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.split_recipients = split_recipients

    def split(self, hook: Any, draft: Draft) -> list[Draft]:
        """Return the batches; their ids are given later."""
        batches: list[Draft] = hook.run(hook.service.split(draft))
        return batches

    def check(self, hook: Any, draft: Draft) -> None:
        """Refuse a message that breaks a rule; nothing is sent."""
        flow = hook.service.send(draft)
        next(flow)
        flow.close()

    def results(self, hook: Any, draft: Draft, receipt: Receipt) -> list[dict[str, Any]]:
        """Say of each recipient of one message what became of it."""
        from airflow_messaging.messages import Status

        # The vendor's record of a batch may name everybody, and must not come once for each.
        plain = {**receipt.to_dict(), "raw": {}}
        accepted = receipt.status is not Status.FAILED
        return [{"accepted": accepted, **plain} for _ in hook.service.recipients(draft)]

    def execute(self, context: Context) -> Any:
        """Send the message, or its batches, unless they have been sent.

        :return: The receipt as JSON. If ``split_recipients`` is set, a list with one result per recipient, in the order
            in which they were given: the receipt of their batch without ``raw``, and ``accepted``, which is true.
        :raises PartiallySent: If some were sent to and others were not. The results are in XCom all the same.
        """
        from airflow_messaging.services.parsing import true_or_false

        if not true_or_false("split_recipients", self.split_recipients):
            return super().execute(context)
        with self.hook() as hook:
            drafts = self._batches(hook, self.draft(hook, message_id_for(context)))
            for draft in drafts:
                self.check(hook, draft)
            results, errors = self._send_all(hook, drafts, context)
        failed = sum(not result["accepted"] for result in results)
        self.log.info("%s: %d messages, %d of %d recipients failed", hook.hook_name, len(drafts), failed, len(results))
        if failed:
            self.fail(hook.conn_type, results, errors, context)
        return results

    def _batches(self, hook: Any, whole: Draft) -> list[Draft]:
        batches = self.split(hook, whole)
        if len(batches) == 1:
            return batches
        # Somebody who is named twice gets two messages, as without batches.
        seen: Counter[str] = Counter()
        drafts = []
        for batch in batches:
            identity = stable_message_id(whole.message_id, *hook.service.recipients(batch))
            seen[identity] += 1
            drafts.append(dataclasses.replace(batch, message_id=stable_message_id(identity, seen[identity])))
        return drafts

    def _send_all(
        self, hook: Any, drafts: list[Draft], context: Context
    ) -> tuple[list[dict[str, Any]], list[MessagingError]]:
        from airflow_messaging.exceptions import AuthenticationFailed, MessagingError, is_passing
        from airflow_messaging.operators.once import Sending, entries_of, may_resend

        results: list[dict[str, Any]] = []
        errors: list[MessagingError] = []
        resend = may_resend(self.on_unknown)
        entries = entries_of(hook, drafts, context)
        for position, (draft, entry) in enumerate(zip(drafts, entries, strict=True)):
            try:
                receipt = Sending(hook, entry, lambda draft: self.send(hook, draft), resend=resend).run()
                results += self.results(hook, draft, receipt)
            except MessagingError as error:
                errors.append(error)
                results += _failed(hook, [draft], type(error).__name__)
                if isinstance(error, AuthenticationFailed) or is_passing(error):
                    # What is true of the whole account would be the same for all who follow.
                    results += _failed(hook, drafts[position + 1 :], "not tried")
                    break
        return results, errors

    def fail(self, service: str, results: list[dict[str, Any]], errors: list[MessagingError], context: Context) -> None:
        """Fail, because some of the results are failures."""
        fail_in_part(service, results, errors, context)


def fail_in_part(
    service: str,
    results: list[dict[str, Any]],
    errors: list[MessagingError],
    context: Context,
    *,
    what: str = "recipients",
) -> NoReturn:
    """Fail, because some of the results are failures; the results are in XCom all the same.

    :param service: Connection type of the service.
    :param results: One per recipient or message, with ``accepted``.
    :param errors: What the failures came from, that which tells whether another try helps at the end.
    :param context: The task's context.
    :param what: What the results are of. Default ``"recipients"``.
    :raises PartiallySent: Unless all have failed in the same way: then that error is raised.
    """
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_messaging.exceptions import PartiallySent

    if not any(result["accepted"] for result in results) and len({type(error) for error in errors}) == 1:
        raise errors[-1]
    context["ti"].xcom_push(key="return_value", value=results)
    problem = PartiallySent(service, results, what=what)
    problem.__cause__ = errors[-1] if errors else None
    if context.get("task_state_store") is None:
        # Nothing tells a retry what has been sent.
        raise AirflowFailException(str(problem)) from problem
    raise problem


def _failed(hook: Any, drafts: list[Draft], reason: str) -> list[dict[str, Any]]:
    failed = {"accepted": False, "id": None, "status": None, "error_code": reason}
    return [dict(failed) for draft in drafts for _ in hook.service.recipients(draft)]
