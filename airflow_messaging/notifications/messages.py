"""Notifies through any of the five services."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from airflow_messaging.notifications import wording

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.exceptions import DeliveryUnknown
    from airflow_messaging.messages import Draft
    from airflow_messaging.services.base import Flow, Service

BUDGET_S = 10.0
"""Seconds that a notification may take in all, once its connection has been looked up."""

_WITHIN_BUDGET = {
    "connect_timeout": BUDGET_S / 4,
    "read_timeout": BUDGET_S * 0.8,
    "attempts": 2,
    "max_wait": BUDGET_S / 4,
}


class MessageNotifier(BaseNotifier):
    """Send a message when a task or a DAG run ends, a deadline is missed, or a question waits for an answer.

    For ``on_failure_callback`` and its kin, for ``DeadlineAlert`` (through ``AsyncCallback`` or ``SyncCallback``) and
    for the ``notifiers`` of ``HITLOperator``. Without ``text`` it says what happened to what, in which run and try,
    the class of the error and where the log is. It never says what the exception said: that may hold secrets.

    **Delivery**: all of it takes at most 10 seconds, however the service behaves. A message that may have reached the
    service is not sent again. Where a message has one recipient only, each gets one of their own, and one that fails
    does not keep the others from theirs. The message id is derived from DAG, run, task, map index, try, what happened,
    recipients and text; where the context names no run, it is random.

    :param conn_id: A connection of any of the five types.
    :param to: Recipient or recipients, in the service's own form.
    :param text: The text; what is longer than the service takes is cut, and ends in ``…``. Default: what is known.
    :param subject: The subject, where the service has one. Default there: the first line of the default text.
    :param options: Further arguments of the service's own send endpoint.
    :raises MessagingError: If a message was not sent; Airflow logs that and goes on.
    """

    template_fields: Sequence[str] = ("conn_id", "to", "text", "subject")

    def __init__(
        self,
        *,
        conn_id: str,
        to: str | list[str],
        text: str | None = None,
        subject: str | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.to = to
        self.text = text
        self.subject = subject
        self.options = options

    def get_template_env(self, dag: Any = None) -> Any:
        """Return Airflow's environment for templates.

        :param dag: The DAG; ``dag.test()`` gives callbacks one that cannot make such an environment.
        """
        return super().get_template_env(dag if hasattr(dag, "get_template_env") else None)

    def __call__(self, *args: Any) -> None:
        """Render the templates and send, in a worker or the DAG processor.

        :param args: Airflow's context.
        """
        from airflow.providers.common.compat.sdk import mask_secret

        try:
            # Airflow renders in place, so that a second event would get the first one's text.
            super(MessageNotifier, copy.copy(self)).__call__(*args)
        except Exception:
            for argument in self._private():
                mask_secret(argument)
            raise

    def __await__(self) -> Generator[Any, Any, None]:
        """Render the templates and send, in the triggerer."""
        from airflow_messaging.hooks.base import amask_secret

        try:
            yield from super(MessageNotifier, copy.copy(self)).__await__()
        except Exception:
            for argument in self._private():
                yield from amask_secret(argument).__await__()
            raise

    def notify(self, context: Context) -> None:
        """Send, in a worker or the DAG processor.

        :param context: Airflow's context; may be empty.
        :raises MessagingError: If a message was not sent.
        """
        from airflow_messaging.hooks.registry import hook_for

        with hook_for(self.conn_id) as hook:
            hook.tighten(**_WITHIN_BUDGET)
            flow = self._send_all(hook.service, self._drafts(hook.service, context))
            # Before Airflow 3.3, two threads that talk to the supervisor get each other's answers.
            hook.service.on_secret = lambda _secret: None
            try:
                _in_a_thread(lambda: hook.run(flow)).result(BUDGET_S)
            except TimeoutError:
                overdue = _overdue(hook.service)
            else:
                return
        raise overdue

    async def async_notify(self, context: Context) -> None:
        """Send, on an event loop.

        :param context: Airflow's context; may be empty.
        :raises MessagingError: If a message was not sent.
        """
        from airflow_messaging.hooks.registry import async_hook_for

        hook = await async_hook_for(self.conn_id)
        hook.tighten(**_WITHIN_BUDGET)
        async with hook:
            flow = self._send_all(hook.service, self._drafts(hook.service, context))
            try:
                async with asyncio.timeout(BUDGET_S):
                    return await hook.arun(flow)
            except TimeoutError:
                overdue = _overdue(hook.service)
        raise overdue

    def _drafts(self, service: Service, context: Mapping[str, Any]) -> list[Draft]:
        from airflow_messaging.exceptions import InvalidInput, Shown
        from airflow_messaging.messages import Draft, as_recipients

        to = tuple(str(one) if isinstance(one, int) else one for one in as_recipients(self.to))
        if not to or not all(isinstance(one, str) and one.strip() for one in to):
            raise InvalidInput("to", Shown("nothing usable"), "a recipient, or a list of them")
        occasion = wording.read(context)
        text = occasion.text() if self.text is None else str(self.text)
        text = wording.shortened(text, service.longest_text)
        subject = occasion.headline() if self.subject is None and service.has_subject else self.subject
        most = service.most_recipients or len(to)
        return [
            Draft(
                to=some,
                text=text,
                subject=subject,
                message_id=self._message_id(occasion, some, text, subject),
                options=self.options or {},
            )
            for some in (to[begin : begin + most] for begin in range(0, len(to), most))
        ]

    def _message_id(self, occasion: wording.Occasion, to: tuple[str, ...], text: str, subject: str | None) -> str:
        from airflow_messaging.hooks.drafts import new_message_id
        from airflow_messaging.operators.base import stable_message_id

        identity = occasion.identity()
        if identity is None:
            return new_message_id()
        return stable_message_id("notification", self.conn_id, *identity, *to, subject, text)

    def _send_all(self, service: Service, drafts: list[Draft]) -> Flow[None]:
        from airflow_messaging.exceptions import AuthenticationFailed, MessagingError

        failures: list[MessagingError] = []
        for draft in drafts:
            try:
                receipt = yield from service.send(draft)
            except MessagingError as error:
                failures.append(error)
                if isinstance(error, AuthenticationFailed):
                    # More of these could lock the account.
                    break
            else:
                self.log.info("%s accepted message %s (%s)", service.title, receipt.id, receipt.status.value)
        if failures:
            self.log.warning("%s: %d of %d messages failed", service.title, len(failures), len(drafts))
            raise failures[0]

    def _private(self) -> list[str]:
        """Return the arguments that Airflow would log if a deadline's callback fails."""
        from airflow_messaging.messages import as_recipients

        return [given for given in (*as_recipients(self.to), self.text, self.subject) if isinstance(given, str)]


def _overdue(service: Service) -> DeliveryUnknown:
    from airflow_messaging.exceptions import DeliveryUnknown

    return DeliveryUnknown(service.name, "send", f"not finished within {BUDGET_S:g} s")


def _in_a_thread(work: Callable[[], None]) -> Future[None]:
    """Start work that is given up, not waited for, when it takes too long: an answer may come in drips for ever."""
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=run, name="message-notifier", daemon=True).start()
    return outcome


send_message_notification = MessageNotifier
