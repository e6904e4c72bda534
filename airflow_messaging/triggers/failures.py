"""What a wait makes of failures: how long it pauses, and what it may say of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from airflow_messaging.exceptions import MessagingError, is_passing

T = TypeVar("T")

LONGEST_BACKOFF_S = 60.0
LONGEST_RETRY_AFTER_S = 3600.0


def pause_after(failures: int, interval: float, error: BaseException) -> float:
    """Return the seconds to pause: growing, jittered and capped, and never less than the service asks for.

    :param failures: How often the service could not be asked in a row, from 1.
    :param interval: Seconds between two questions when all is well.
    :param error: The last failure.
    """
    longest = min(LONGEST_BACKOFF_S, max(1.0, interval) * 2 ** min(failures, 6))
    asked_for = getattr(error, "retry_after", None) or 0.0
    return max(random.uniform(longest / 2, longest), min(asked_for, LONGEST_RETRY_AFTER_S))


async def until_it_passes(
    work: Callable[[], Awaitable[T]],
    *,
    interval: float,
    on_first: Callable[[MessagingError], object],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Do something, again and again while the service is out of reach.

    :param work: What is done; called once per attempt.
    :param interval: Seconds between two attempts when all is well; the pauses grow from there.
    :param on_first: Told the first failure.
    :param pause: Pauses for so many seconds, or less if the work is no longer wanted. Default: always so long.
    :return: What the work brings.
    :raises MessagingError: Every failure that does not pass by itself.
    """
    failures = 0
    while True:
        try:
            return await work()
        except MessagingError as error:
            if not is_passing(error):
                raise
            failures += 1
            if failures == 1:
                on_first(error)
            await pause(pause_after(failures, interval, error))


def as_messaging_error(error: Exception) -> MessagingError:
    """Return an error that may cross to a worker.

    A traceback would be logged again there, in a process that does not know this one's secrets; only Airflow's own
    texts, such as that of a missing connection, are known to be harmless.

    :param error: Any error.
    """
    from airflow.providers.common.compat.sdk import AirflowException

    if isinstance(error, MessagingError):
        return error
    said = str(error) if isinstance(error, AirflowException) else ""
    return MessagingError(f"{type(error).__name__} {said}".strip())
