"""The pace of one account in this process: all its requests, of both transports, keep pauses and distances together.

What is kept of an account is two times, and who stands in line. Once both times are past, nothing is kept.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from bisect import bisect_left
from collections.abc import Callable, Generator
from typing import Any

from airflow_messaging.exceptions import RateLimited
from airflow_messaging.services.base import Call, Service
from airflow_messaging.services.http import Request, Response
from airflow_messaging.transport.options import TransportOptions

LONGEST_PAUSE_S = 3600.0
"""A service that asks for more is asked again after this time."""
_SHORTEST_PAUSE_S = 0.001
"""Less is what rounding has left of a pause that was waited out."""

Account = tuple[str, str, str]
Clock = Callable[[], float]


@dataclasses.dataclass(slots=True)
class _Lane:
    """One account: when it may be asked again, when the next spaced request may leave, and who waits for that."""

    paused_until: float = 0.0
    next_at: float = 0.0
    line: list[int] = dataclasses.field(default_factory=list)

    def is_idle(self, now: float) -> bool:
        return not self.line and max(self.paused_until, self.next_at) <= now


_lock = threading.Lock()
_lanes: dict[Account, _Lane] = {}
_tickets = itertools.count()


def pauses(
    service: Service, options: TransportOptions, call: Call[Any], request: Request, clock: Clock
) -> Generator[float, None, None]:
    """Yield, again and again, the seconds to sleep before a request; it may leave when there are no more.

    Requests that are spaced leave in the order in which they came here. Long polls are not spaced, because the service
    itself holds them. Requests to other origins, such as one-time URLs, wait for nobody.

    :param service: The service.
    :param options: How it is reached: ``max_per_second``, ``max_wait`` and ``login`` count here.
    :param call: The call that the request is a part of.
    :param request: The request. If it is given up, the generator must be closed.
    :param clock: Monotonic seconds.
    :raises RateLimited: If the wait would be longer than ``max_wait``; the service is not asked then.
    """
    if not service.is_own_request(request):
        return
    account = _account(service, options)
    distance = 1 / options.max_per_second if options.max_per_second and not request.hold else None
    ticket = None if distance is None else _stand_in_line(account, clock())
    try:
        # The next request of a call must come through, or the call would never be done.
        give_up_at = clock() + max(options.max_wait, distance or 0.0)
        while (wait := _wait(account, ticket, distance, clock())) > _SHORTEST_PAUSE_S:
            if clock() + wait > give_up_at:
                said = "not asked, because this account's requests have to wait"
                raise RateLimited(service.name, call.endpoint, status=429, message=said, retry_after=wait)
            yield wait
    finally:
        if ticket is not None:
            _leave_line(account, ticket)


def heed(service: Service, options: TransportOptions, request: Request, response: Response, clock: Clock) -> None:
    """Make all requests of the account wait if an answer asks for a pause.

    :param service: The service.
    :param options: How it is reached.
    :param request: The request that was answered.
    :param response: The answer.
    :param clock: Monotonic seconds.
    """
    pause = min(service.asked_to_wait(response) or 0.0, LONGEST_PAUSE_S)
    if pause > 0 and service.is_own_request(request):
        with _lock:
            lane = _lane(_account(service, options), clock())
            lane.paused_until = max(lane.paused_until, clock() + pause)


def _account(service: Service, options: TransportOptions) -> Account:
    return service.name, service.base_url, options.login


def _lane(account: Account, now: float) -> _Lane:
    if account not in _lanes:
        for other in [key for key, lane in _lanes.items() if lane.is_idle(now)]:
            del _lanes[other]
        _lanes[account] = _Lane()
    return _lanes[account]


def _stand_in_line(account: Account, now: float) -> int:
    with _lock:
        ticket = next(_tickets)
        _lane(account, now).line.append(ticket)
        return ticket


def _leave_line(account: Account, ticket: int) -> None:
    with _lock:
        _lanes[account].line.remove(ticket)


def _wait(account: Account, ticket: int | None, distance: float | None, now: float) -> float:
    """Return the seconds until a request may leave; if there are none, it has left."""
    with _lock:
        lane = _lanes.get(account)
        if lane is None:
            return 0.0
        due = max(now, lane.paused_until)
        if ticket is not None and distance is not None:
            due = max(due, lane.next_at) + bisect_left(lane.line, ticket) * distance
            if due - now <= _SHORTEST_PAUSE_S:
                lane.next_at = now + distance
        return due - now
