"""What a wait makes of failures: how long it pauses, and what it may say of them."""

from __future__ import annotations

import random

from airflow_messaging.exceptions import MessagingError

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
