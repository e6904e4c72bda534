"""When Airflow tries a task again: after the pause that the service asks for, and not at all where that is no use."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    DeliveryFailed,
    InvalidInput,
    MessageGone,
    MessageTooLarge,
    MessagingError,
    PartiallySent,
    UnsupportedFeature,
)

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:
    raise AirflowOptionalProviderFeatureException(
        "airflow_messaging.policies needs Airflow 3.3 or newer; older ones know 'retries' and 'retry_delay' only"
    ) from None

if TYPE_CHECKING:
    from airflow.sdk import Context

_JITTER = 0.1
_LEAST_JITTER_S = 1.0

_BEYOND_MENDING = (
    AuthenticationFailed,
    DeliveryFailed,
    InvalidInput,
    MessageGone,
    MessageTooLarge,
    PartiallySent,
    UnsupportedFeature,
)


class MessagingRetryPolicy(RetryPolicy):
    """Decides about the ``retries`` of a task by what its service said.

    Where the service asks for a pause, the task gives its slot back and is tried again after that pause, not after
    ``retry_delay``. Where another try would end in the same way, the task fails at once. All else is as without a
    policy. No task is tried more often than its ``retries`` say.

    ::

        SendHubSendMessageOperator(..., retries=5, retry_policy=MessagingRetryPolicy())

    **Delivery**: after an error with ``may_have_arrived``, which tells that a message may have been sent, only this
    package's send operators are tried again: they find out first whether it was. A task of your own that calls a hook
    fails at once.

    :param longest: The longest pause before a try; longer ones that are asked for are cut. Default one hour.
    :raises InvalidInput: If ``longest`` is negative.
    """

    def __init__(self, *, longest: timedelta = timedelta(hours=1)) -> None:
        if longest < timedelta(0):
            raise InvalidInput("longest", longest, "a timedelta that is not negative")
        self.longest = longest

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide about one failure; Airflow calls this in the worker.

        :param exception: What the task failed with.
        :param try_number: Number of the try, from 1.
        :param max_tries: The most tries that the task may have.
        :param context: Airflow's context.
        :return: To fail, to retry after a pause, or to do what Airflow does by default.
        """
        if isinstance(exception, PartiallySent) and exception.__cause__ is not None:
            return self.evaluate(exception.__cause__, try_number, max_tries, context)
        if not isinstance(exception, MessagingError):
            return RetryDecision.default()
        kind = type(exception).__name__
        if isinstance(exception, _BEYOND_MENDING):
            return RetryDecision.fail(f"{kind}: another try would end in the same way")
        if exception.may_have_arrived and not _finds_out(context):
            return RetryDecision.fail(f"{kind}: it may have taken effect, and another try would repeat it")
        asked_for = getattr(exception, "retry_after", None)
        if asked_for:
            return RetryDecision.retry(self._pause(asked_for), f"{kind}: the service asked for this pause")
        return RetryDecision.default()

    def _pause(self, asked_for: float) -> timedelta:
        """Return a pause a little longer than asked for, so that not all tasks come back in the same moment."""
        jitter = random.uniform(0, max(asked_for * _JITTER, _LEAST_JITTER_S))
        return timedelta(seconds=min(asked_for + jitter, self.longest.total_seconds()))


def _finds_out(context: Context | None) -> bool:
    """Say whether the task finds out by itself what an earlier try has sent."""
    from airflow_messaging.operators.base import SendOnceOperator

    return context is not None and isinstance(context["ti"].task, SendOnceOperator)
