"""When a call is tried again, and how long to wait before it: the same answer for both transports.

A loop of a few lines in each transport asks: a retrying object of tenacity's would keep 3 KiB for every open long poll.
"""

from __future__ import annotations

import random
from typing import Any

from airflow_messaging.exceptions import (
    ConnectFailed,
    ConnectionLost,
    MessagingError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from airflow_messaging.services.base import Call
from airflow_messaging.transport.options import TransportOptions

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 10.0


def may_repeat(call: Call[Any], error: BaseException, options: TransportOptions) -> bool:
    """Say whether a failed call may be sent again.

    A request that never left or was refused for the rate may; one that may have taken effect only if the call says
    that repeating it does no harm.

    :param call: The call.
    :param error: What it ended with.
    :param options: Bounds of the connection.
    """
    if isinstance(error, ServiceError) and (error.retry_after or 0) > options.max_wait:
        return False
    if isinstance(error, ConnectionLost | ServiceUnavailable):
        return call.repeatable
    return isinstance(error, ConnectFailed | RateLimited)


def pause_before_next(call: Call[Any], error: MessagingError, tried: int, options: TransportOptions) -> float | None:
    """Return the seconds to wait before a failed call is sent again, or None if it is not.

    :param call: The call.
    :param error: What it ended with.
    :param tried: How often it has been sent, from 1.
    :param options: Bounds of the connection.
    """
    if tried >= options.attempts or not may_repeat(call, error, options):
        return None
    asked_for = error.retry_after if isinstance(error, ServiceError) else None
    return asked_for if asked_for is not None else _backoff(tried)


def _backoff(tried: int) -> float:
    return random.uniform(0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (tried - 1)))
