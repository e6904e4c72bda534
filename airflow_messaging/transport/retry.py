"""When a call is tried again, and how long to wait before it: the same answer for both transports.

Both make the first attempt without tenacity, whose objects would keep 3 KiB for every open long poll.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tenacity

from airflow_messaging.exceptions import ConnectFailed, ConnectionLost, RateLimited, ServiceError, ServiceUnavailable
from airflow_messaging.services.base import Call
from airflow_messaging.transport.options import TransportOptions

_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=10)


def may_repeat(call: Call[Any], error: BaseException, options: TransportOptions) -> bool:
    """Say whether a failed call may be sent again.

    A request that never left whole or was refused for the rate may; one that may have taken effect only if the call
    says that repeating it does no harm.

    :param call: The call.
    :param error: What it ended with.
    :param options: Bounds of the connection.
    """
    if isinstance(error, ServiceError) and (error.retry_after or 0) > options.max_wait:
        return False
    if isinstance(error, ServiceUnavailable):
        return call.repeatable
    return isinstance(error, ConnectFailed | ConnectionLost | RateLimited)


def retrying(call: Call[Any], options: TransportOptions, sleep: Callable[[float], Any]) -> dict[str, Any]:
    """Return the arguments for ``tenacity.Retrying`` and ``tenacity.AsyncRetrying``.

    :param call: The call.
    :param options: Bounds of the connection.
    :param sleep: How this transport waits.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_for = error.retry_after if isinstance(error, ServiceError) else None
        # No pause, or one until a time that is past, is no reason to hurry.
        return asked_for or _backoff(state)

    return {
        "stop": tenacity.stop_after_attempt(options.attempts),
        "wait": wait,
        "retry": tenacity.retry_if_exception(lambda error: may_repeat(call, error, options)),
        "sleep": sleep,
        "reraise": True,
    }
