"""All requests of one account in this process, of both transports, keep pauses and distances together."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from airflow_messaging.exceptions import RateLimited
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.http import Request, Response
from airflow_messaging.services.mdi import Mdi
from airflow_messaging.services.sendhub import SendHub
from airflow_messaging.transport import pacing
from airflow_messaging.transport.asynchronous import AsyncTransport
from airflow_messaging.transport.blocking import BlockingTransport
from airflow_messaging.transport.options import TransportOptions

from .runners import KINDS, Probe, utcnow
from .servers import Answer, Server

PAUSE_S = 2.0
RATE = 10.0
DISTANCE_S = 1 / RATE


def once(kind: str, service: Any, make_call: Callable[[Any], Any], **options: Any) -> Any:
    """Make one call through a transport of its own, as one task would."""
    if kind == "blocking":
        transport = BlockingTransport(service, TransportOptions(**options))
        try:
            return transport.run(make_call(service))
        finally:
            transport.close()

    async def run() -> Any:
        transport = AsyncTransport(service, TransportOptions(**options))
        try:
            return await transport.run(make_call(service))
        finally:
            await transport.close()

    return asyncio.run(run())


def sendhub(sandbox: RunningSandbox) -> SendHub:
    credentials = {name: sandbox.credentials["sendhub"][name] for name in ("username", "api_key")}
    return SendHub(f"{sandbox.url}/sendhub/v1", **credentials, clock=utcnow)


@pytest.mark.parametrize(("told", "other"), [KINDS, KINDS[::-1], ("blocking", "blocking")])
def test_what_one_is_told_all_of_the_account_heed(told: str, other: str, sandbox: RunningSandbox) -> None:
    def ask(kind: str, **options: Any) -> Any:
        return once(kind, sendhub(sandbox), SendHub.check, **options)

    body = '{"message": "slow down", "code": 429, "timeLeft": "0:00:02"}'
    sandbox.faults([{"service": "sendhub", "status": 429, "body": body, "times": 1}])
    begun = time.monotonic()
    with pytest.raises(RateLimited):
        ask(told, login="jo", max_wait=0.1)
    with pytest.raises(RateLimited, match="not asked") as caught:
        ask(other, login="jo", max_wait=0.1)
    assert caught.value.retry_after
    assert 0.1 < caught.value.retry_after <= PAUSE_S
    assert len(sandbox.journal()) == 1
    ask(other, login="sam", max_wait=0.1)
    assert len(sandbox.journal()) == 2
    ask(other, login="jo")
    assert time.monotonic() - begun > PAUSE_S - 0.1
    assert len(sandbox.journal()) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_its_own_bound_nobody_asks(kind: str, server: Server) -> None:
    server.answers = [Answer(503, (("Retry-After", "40"),)), Answer()]
    for _ in range(3):
        with pytest.raises(RateLimited) as caught:
            once(kind, Probe(server.url), Probe.get)
        assert caught.value.retry_after == pytest.approx(40, abs=1)
    assert len(server.seen) == 1
    assert once(kind, Probe(server.url), Probe.get, max_wait=41, login="another") == b""


@pytest.mark.parametrize("kind", KINDS)
def test_other_origins_wait_for_nobody(kind: str, server: Server, other: Server) -> None:
    other.answers = [Answer(429, (("Retry-After", "40"),)), Answer(body=b"file")]
    service = Probe(server.url)
    with pytest.raises(RateLimited):
        once(kind, service, lambda probe: probe.get(other.url))
    assert once(kind, service, Probe.get) == b""
    server.answers = [Answer(429, (("Retry-After", "40"),))]
    with pytest.raises(RateLimited):
        once(kind, service, Probe.get)
    assert once(kind, service, lambda probe: probe.get(other.url)) == b"file"


def arrivals(server: Server) -> list[tuple[float, str]]:
    """Note when which request arrives."""
    seen: list[tuple[float, str]] = []

    def answer(request: Any) -> Answer:
        seen.append((time.monotonic(), request.target.partition("?")[0]))
        return Answer()

    server.answers = answer
    return seen


def assert_spaced(seen: list[tuple[float, str]]) -> None:
    times = sorted(at for at, _ in seen)
    # What is spaced is leaving; on the way, on a busy machine, the first may lose what amounts to a distance.
    assert times[-1] - times[0] > (len(times) - 2) * DISTANCE_S, times


def test_requests_are_spaced_in_order_and_the_event_loop_goes_on(server: Server) -> None:
    seen = arrivals(server)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def run() -> None:
        transport = AsyncTransport(service := Probe(server.url), TransportOptions(max_per_second=RATE))
        ticking = asyncio.create_task(tick())
        await asyncio.gather(*(transport.run(service.get(f"n{number:02}")) for number in range(12)))
        ticking.cancel()
        await transport.close()

    asyncio.run(run())
    assert_spaced(seen)
    assert [target for _, target in seen] == [f"/n{number:02}" for number in range(12)]
    assert ticks > 20


def test_both_transports_and_all_threads_share_the_rate(server: Server) -> None:
    seen = arrivals(server)
    service = Probe(server.url)
    threads = [
        threading.Thread(target=once, args=(kind, service, Probe.get), kwargs={"max_per_second": RATE})
        for kind in KINDS * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert_spaced(seen)


def test_logins_are_counted_as_well(sandbox: RunningSandbox) -> None:
    credentials = {name: sandbox.credentials["mdi"][name] for name in ("username", "password", "client")}
    mdi = Mdi(f"{sandbox.url}/mdi/api/v2", **credentials, clock=utcnow)
    begun = time.monotonic()
    once("blocking", mdi, Mdi.check, max_per_second=4, max_wait=0)
    assert len(sandbox.journal()) == 2
    assert time.monotonic() - begun >= 0.25


class Line:
    """The pace of one account by a clock that a test moves."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.service = Probe("http://127.0.0.1:1")
        self.options = TransportOptions(**options)

    def arrive(self, *, hold: float = 0.0, **options: Any) -> Iterator[float]:
        call = self.service.get()
        request = Request(method="GET", url="thing", hold=hold)
        chosen = TransportOptions(**options) if options else self.options
        return pacing.pauses(self.service, chosen, call, request, lambda: self.now)

    def pause(self, seconds: str) -> None:
        told = Response(status=429, headers=(("Retry-After", seconds),))
        pacing.heed(self.service, self.options, Request(method="GET", url="thing"), told, lambda: self.now)

    def departures(self, *waiting: Iterator[float]) -> list[float]:
        """Let everybody sleep as long as they are told; return when each left."""
        due = [(self.now + next(one, 0.0), number) for number, one in enumerate(waiting)]
        left: dict[int, float] = {}
        while due:
            due.sort()
            self.now, number = due.pop(0)
            wait = next(waiting[number], None)
            if wait is None:
                left[number] = self.now
            else:
                due.append((self.now + wait, number))
        return [left[number] for number in range(len(waiting))]


def test_the_order_of_arrival_outlasts_a_pause() -> None:
    line = Line(max_per_second=1)
    assert list(line.arrive()) == []
    first, second = line.arrive(), line.arrive()
    assert (next(first), next(second)) == (1.0, 2.0)
    line.pause("10")
    third = line.arrive()
    assert next(third) == 12.0
    line.now = 101.0
    assert line.departures(first, second, third) == [110.0, 111.0, 112.0]


def test_a_pause_that_grows_is_waited_out_as_far_as_the_bound_allows() -> None:
    line = Line(max_wait=30)
    line.pause("20")
    waiting = line.arrive()
    assert next(waiting) == 20.0
    line.now += 10
    line.pause("19")
    line.now += 10
    assert next(waiting) == 9.0
    line.pause("25")
    line.now += 9
    with pytest.raises(RateLimited) as caught:
        next(waiting)
    assert caught.value.retry_after == 16.0


def test_who_gives_up_makes_room() -> None:
    line = Line(max_per_second=1)
    assert list(line.arrive()) == []
    with closing(line.arrive()) as given_up:
        assert next(given_up) == 1.0
        assert next(behind := line.arrive()) == 2.0
    line.now += 2
    assert next(behind, None) is None


def test_the_line_is_no_longer_than_the_bound() -> None:
    line = Line(max_per_second=1, max_wait=3)
    assert list(line.arrive()) == []
    waiting = [line.arrive() for _ in range(3)]
    assert [next(one) for one in waiting] == [1.0, 2.0, 3.0]
    with pytest.raises(RateLimited) as caught:
        next(line.arrive())
    assert caught.value.retry_after == 4.0
    assert line.departures(*waiting) == [101.0, 102.0, 103.0]


def test_the_next_request_comes_through_however_impatient_it_is() -> None:
    line = Line(max_per_second=0.1, max_wait=1)
    assert list(line.arrive()) == []
    assert list(itertools.islice(line.arrive(), 1)) == [10.0]


def test_a_long_poll_is_held_by_the_service_and_not_by_us() -> None:
    line = Line(max_per_second=1)
    assert list(line.arrive(hold=75)) == list(line.arrive(hold=75)) == list(line.arrive()) == []
    line.pause("5")
    assert next(line.arrive(hold=75)) == 5.0


def test_a_pause_is_believed_for_an_hour() -> None:
    line = Line(max_wait=1e12)
    line.pause("999999999")
    assert next(line.arrive()) == pacing.LONGEST_PAUSE_S


def test_nothing_is_kept_for_ever() -> None:
    line = Line(max_per_second=1)
    for number in range(50):
        assert list(line.arrive(max_per_second=1, login=str(number))) == []
    assert len(pacing._lanes) == 50
    line.now += 1
    assert list(line.arrive()) == []
    assert len(pacing._lanes) == 1


def test_a_task_that_is_cancelled_leaves_the_line(server: Server) -> None:
    async def run() -> None:
        transport = AsyncTransport(service := Probe(server.url), TransportOptions(max_per_second=2))
        await transport.run(service.get())
        waiting = asyncio.create_task(transport.run(service.get()))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert [lane.line for lane in pacing._lanes.values()] == [[]]
        await transport.close()

    asyncio.run(run())
    assert len(server.seen) == 1


def test_without_a_pause_or_a_rate_nothing_is_kept_at_all(server: Server) -> None:
    assert once("blocking", Probe(server.url), Probe.get) == b""
    assert pacing._lanes == {}
