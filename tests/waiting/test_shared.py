"""One wait for all: what many waits on one inbox cost, and that each of them gets what is its own."""

import asyncio
import contextlib
import gc
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_messaging.exceptions import AuthenticationFailed, InvalidInput, MessagingError
from airflow_messaging.hooks import registry
from airflow_messaging.sandbox import RunningSandbox, running
from airflow_messaging.services.receiving import Cursor, start
from airflow_messaging.transport import pacing, retry
from airflow_messaging.triggers import shared

TYPES = ("go_integrate", "liquidfiles", "mdi", "sendhub", "serwersms")
SOON_S = 5.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """Short pauses; returns what pauses were asked for, as number of failures and error."""
    pauses: list[tuple[int, Any]] = []

    def pause_after(failures: int, _interval: float, error: Any) -> float:
        pauses.append((failures, error))
        return 0.05

    monkeypatch.setattr(shared, "SHORTEST_PAUSE_S", 0.02)
    monkeypatch.setattr(shared, "pause_after", pause_after)
    monkeypatch.setattr(pacing, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(retry, "_backoff", lambda _state: 0.01)
    return pauses


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """After each test no task runs, no client is open and the registry is empty."""
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    before = asyncio.all_tasks()
    yield
    known = {*before, asyncio.current_task()}
    await until(lambda: asyncio.all_tasks() <= known)
    gc.collect()
    assert complaints == []
    assert shared._inboxes.get(loop, {}) == {}


@contextlib.contextmanager
def joined(
    conn_type: str = "sendhub", begin: Any = None, *, interval: float = 0.1, **kwargs: Any
) -> Iterator[shared.Waiter]:
    begin = Cursor() if begin is None else begin
    waiter = shared.join(f"{conn_type}_default", begin, poll_interval=interval, **kwargs)
    try:
        yield waiter
    finally:
        waiter.leave()


async def next_of(waiter: shared.Waiter, within: float = SOON_S) -> list[str]:
    async with asyncio.timeout(within):
        return [message.id for message in await waiter.next()]


async def nothing_for(waiter: shared.Waiter, seconds: float = 0.4) -> None:
    with pytest.raises(TimeoutError):
        await next_of(waiter, seconds)


async def once(conn_type: str, begin: Any, **kwargs: Any) -> list[str]:
    with joined(conn_type, begin, **kwargs) as waiter:
        return await next_of(waiter)


async def inbound(sandbox: RunningSandbox, conn_type: str, text: str = "hello", **fields: Any) -> str:
    return await asyncio.to_thread(sandbox.inbound, conn_type, text=text, **fields)


async def requests(sandbox: RunningSandbox, conn_type: str) -> int:
    return len(await asyncio.to_thread(sandbox.journal, conn_type))


async def until_asked(sandbox: RunningSandbox, conn_type: str, more: int = 1) -> None:
    wanted = await requests(sandbox, conn_type) + more
    async with asyncio.timeout(SOON_S):
        while await requests(sandbox, conn_type) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def a_minute_ago() -> Cursor:
    return Cursor(floor=datetime.now(UTC) - timedelta(minutes=1))


# -- the cost -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found_out", [False, True], ids=["cursor", "begin"])
@pytest.mark.parametrize("conn_type", TYPES)
async def test_two_hundred_waits_make_the_requests_of_one(
    conn_type: str, found_out: bool, sandbox: RunningSandbox, connections: Any
) -> None:
    async def cost(waits: int) -> int:
        sandbox.reset()
        begins = [
            (lambda service: start(service, "now", run_started=datetime.now(UTC))) if found_out else a_minute_ago()
            for _ in range(waits)
        ]
        tasks = [asyncio.create_task(once(conn_type, begin, interval=0.15)) for begin in begins]
        await asyncio.sleep(0.4)
        arrived = await inbound(sandbox, conn_type)
        assert await asyncio.gather(*tasks) == [[arrived]] * waits
        return await requests(sandbox, conn_type)

    alone, together = await cost(1), await cost(200)
    assert together <= 1.5 * alone + 1


async def test_whoever_comes_later_is_served_from_what_is_known(sandbox: RunningSandbox, connections: Any) -> None:
    first, second = [await inbound(sandbox, "mdi", text) for text in ("one", "two")]
    with joined("mdi", interval=30) as waiter:
        assert await next_of(waiter) == [first]
        asked = await requests(sandbox, "mdi")
        assert await next_of(waiter) == [second]
        assert await once("mdi", Cursor(), limit=None) == [first, second]
        assert await once("mdi", Cursor(), wanted=lambda message: message.id == second) == [second]
        assert await requests(sandbox, "mdi") == asked
        await nothing_for(waiter)


# -- whose is what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conn_type", TYPES)
async def test_each_gets_what_its_cursor_filter_and_limit_say(
    conn_type: str, sandbox: RunningSandbox, connections: Any
) -> None:
    arrived = [await inbound(sandbox, conn_type, text) for text in ("one", "two", "three")]
    with joined(conn_type, a_minute_ago(), limit=None) as early:
        first = await early.next()
        ordered = [message.id for message in first]
        assert sorted(ordered) == sorted(arrived)
        assert await once(conn_type, Cursor(), limit=2) == ordered[:2]
        assert await once(conn_type, Cursor().past(first[:1])) == ordered[1:2]
        assert await once(conn_type, Cursor(), wanted=lambda message: message.id == ordered[2]) == ordered[2:]
        with joined(conn_type, Cursor().past(first)) as up_to_date, joined(conn_type) as slow:
            await nothing_for(up_to_date)
            got = [(await next_of(slow))[0] for _ in ordered]
            assert got == ordered
            new = await inbound(sandbox, conn_type, "four")
            assert await asyncio.gather(*map(next_of, (early, up_to_date, slow))) == [[new]] * 3


async def test_nobody_gets_again_what_lies_behind_a_cursor_that_has_forgotten_it(
    sandbox: RunningSandbox, connections: Any
) -> None:
    sandbox.clock(-7200)
    old = await inbound(sandbox, "mdi", "old")
    sandbox.clock(0)
    new = await inbound(sandbox, "mdi", "new")
    with joined("mdi", limit=None) as far_back:
        both = await far_back.next()
        assert [message.id for message in both] == [old, new]
        up_to_date = Cursor().past(both)
        assert set(up_to_date.seen) == {new}
        with joined("mdi", up_to_date) as waiter:
            await nothing_for(waiter)
    # The other way round: one who looks further back comes later.
    with joined("mdi", up_to_date) as waiter:
        task = asyncio.create_task(nothing_for(waiter, 0.8))
        await until_asked(sandbox, "mdi", 2)
        assert await once("mdi", Cursor(), limit=None) == [old, new]
        await task


@pytest.mark.parametrize("found_out", [False, True], ids=["cursor", "begin"])
@pytest.mark.parametrize("conn_type", ["sendhub", "mdi"])
async def test_who_joins_while_a_question_is_under_way_gets_the_oldest_first(
    conn_type: str, found_out: bool, sandbox: RunningSandbox, connections: Any
) -> None:
    old = await inbound(sandbox, conn_type, "old")
    with joined(conn_type, a_minute_ago(), interval=0.3) as early:
        assert await next_of(early) == [old]
        following = asyncio.create_task(next_of(early))
        await until_asked(sandbox, conn_type)
        await asyncio.to_thread(sandbox.faults, [{"service": conn_type, "delay_s": 0.5, "times": 1}])
        await until_asked(sandbox, conn_type)
        begin = (lambda service: start(service, "earliest", run_started=datetime.now(UTC))) if found_out else Cursor()
        with joined(conn_type, begin) as late:
            both = asyncio.create_task(next_of(late))
            new = await inbound(sandbox, conn_type, "new")
            assert await following == [new]
            assert await both == [old]
            assert await next_of(late) == [new]


async def test_a_filter_that_raises_ends_only_its_own_wait(sandbox: RunningSandbox, connections: Any) -> None:
    def broken(message: Any) -> bool:
        raise ZeroDivisionError(message.text)

    def refusing(message: Any) -> bool:
        raise InvalidInput("pattern", "(", "a pattern")

    with joined(wanted=broken) as first, joined(wanted=refusing) as second, joined() as third:
        waits = asyncio.gather(*(waiter.next() for waiter in (first, second, third)), return_exceptions=True)
        await asyncio.sleep(0.2)
        arrived = await inbound(sandbox, "sendhub", "secret")
        errors = await waits
        assert type(errors[0]) is MessagingError and "ZeroDivisionError" in str(errors[0])
        assert "secret" not in str(errors[0])
        assert type(errors[1]) is InvalidInput
        assert [message.id for message in errors[2]] == [arrived]


async def test_a_beginning_that_cannot_be_found_ends_only_its_own_wait(
    sandbox: RunningSandbox, connections: Any
) -> None:
    def damaged(service: Any) -> Any:
        return start(service, "no time at all", run_started=datetime.now(UTC))

    def broken(service: Any) -> Any:
        raise ZeroDivisionError

    arrived = await inbound(sandbox, "sendhub")
    with joined(begin=damaged) as first, joined(begin=broken) as second, joined() as third:
        errors = await asyncio.gather(*(waiter.next() for waiter in (first, second, third)), return_exceptions=True)
    assert type(errors[0]) is InvalidInput
    assert type(errors[1]) is MessagingError
    assert [message.id for message in errors[2]] == [arrived]


async def test_a_wait_that_was_interrupted_has_lost_nothing(sandbox: RunningSandbox, connections: Any) -> None:
    with joined(interval=0.05) as waiter:
        for number in range(5):
            arrived = await inbound(sandbox, "sendhub", str(number))
            for _ in range(100):
                with contextlib.suppress(TimeoutError):
                    got = await next_of(waiter, 0.03)
                    break
            assert got == [arrived]


# -- the open connection --------------------------------------------------------------------------------------------


@pytest.fixture
def patient_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    with running(hold_s=30, echo=False) as sandbox:
        for conn_id, connection in sandbox.connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        yield sandbox


def a_second_ahead() -> Cursor:
    return Cursor(floor=(datetime.now(UTC) + timedelta(seconds=1)).replace(microsecond=0))


async def until_held(sandbox: RunningSandbox) -> None:
    async with asyncio.timeout(SOON_S):
        while True:
            last = (await asyncio.to_thread(sandbox.journal, "go_integrate"))[-1:]
            if last and "wait-next-message" in last[0]["path"] and last[0]["status"] is None:
                return
            await asyncio.sleep(0.02)


async def test_the_open_connection_brings_messages_at_once_one_after_the_other(
    patient_sandbox: RunningSandbox,
) -> None:
    await inbound(patient_sandbox, "go_integrate", "before")
    with joined("go_integrate", a_second_ahead(), interval=30) as waiter:
        task = asyncio.create_task(next_of(waiter))
        await asyncio.sleep(1.1)
        for number in range(3):
            await until_held(patient_sandbox)
            began = time.monotonic()
            arrived = await inbound(patient_sandbox, "go_integrate", str(number))
            assert await task == [arrived]
            assert time.monotonic() - began < 1
            task = asyncio.create_task(next_of(waiter))
        task.cancel()
        await asyncio.wait([task])


async def test_who_joins_during_a_held_poll_is_answered_at_once(patient_sandbox: RunningSandbox) -> None:
    old = await inbound(patient_sandbox, "go_integrate", "old")
    await asyncio.sleep(1.1)
    floor = Cursor(floor=datetime.now(UTC).replace(microsecond=0))
    with joined("go_integrate", floor, interval=30) as waiter:
        task = asyncio.create_task(next_of(waiter, 20))
        await until_held(patient_sandbox)
        began = time.monotonic()
        assert await once("go_integrate", Cursor(), interval=30) == [old]
        assert time.monotonic() - began < 1
        await until_held(patient_sandbox)
        new = await inbound(patient_sandbox, "go_integrate", "new")
        assert await task == [new]


async def test_leaving_during_a_held_poll_closes_the_connection(patient_sandbox: RunningSandbox) -> None:
    await inbound(patient_sandbox, "go_integrate", "old")
    with joined("go_integrate", a_second_ahead()) as waiter:
        task = asyncio.create_task(waiter.next())
        await until_held(patient_sandbox)
        task.cancel()
        await asyncio.wait([task])
    # The fixture sees to it that nothing is left.


# -- leaving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.0, 0.001, 0.05, 0.3])
async def test_the_last_one_to_leave_closes_everything(
    after: float, sandbox: RunningSandbox, connections: Any, recwarn: pytest.WarningsRecorder
) -> None:
    tasks = [asyncio.create_task(once("mdi", a_minute_ago())) for _ in range(20)]
    await asyncio.sleep(after)
    for task in tasks[:-1]:
        task.cancel()
    await asyncio.wait(tasks[:-1])
    assert len(shared._inboxes[asyncio.get_running_loop()]) == 1
    tasks[-1].cancel()
    await asyncio.wait(tasks)
    assert shared._inboxes[asyncio.get_running_loop()] == {}
    await asyncio.sleep(0.1)
    gc.collect()
    assert [str(w.message) for w in recwarn if issubclass(w.category, ResourceWarning | RuntimeWarning)] == []


async def test_leaving_twice_and_coming_back(sandbox: RunningSandbox, connections: Any) -> None:
    with joined() as waiter:
        await nothing_for(waiter)
        waiter.leave()
        waiter.leave()
        arrived = await inbound(sandbox, "sendhub")
        assert await once("sendhub", Cursor()) == [arrived]


# -- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conn_type", ["sendhub", "mdi"])
async def test_the_shortest_interval_counts_from_when_it_joins(
    conn_type: str, sandbox: RunningSandbox, connections: Any
) -> None:
    with joined(conn_type, a_minute_ago(), interval=60) as slow:
        patient = asyncio.create_task(next_of(slow, 20))
        await until_asked(sandbox, conn_type)
        await asyncio.sleep(0.2)
        with joined(conn_type, a_minute_ago(), interval=0.1) as fast:
            task = asyncio.create_task(next_of(fast))
            await asyncio.sleep(0.2)
            arrived = await inbound(sandbox, conn_type)
            assert await task == [arrived]
            assert await patient == [arrived]
        await asyncio.sleep(0.2)
        asked = await requests(sandbox, conn_type)
        patient = asyncio.create_task(nothing_for(slow, 1.0))
        await patient
        assert await requests(sandbox, conn_type) <= asked + 4


FAULTS: dict[str, dict[str, Any]] = {
    "unavailable": {"status": 503},
    "reset": {"reset": True},
    "rate limited": {"status": 429, "body": {}, "headers": {"Retry-After": "31"}},
    "rate limited, in its own words": {"status": 429, "body": {"code": 429, "timeLeft": "0:00:31"}},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_service_that_fails_is_asked_with_growing_pauses(
    fault: str, sandbox: RunningSandbox, connections: Any, quick: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, shared.__name__)
    with joined() as waiter, joined() as other:
        for expected in (1, 2):
            quick.clear()
            sandbox.faults([{"service": "sendhub", **FAULTS[fault]}])
            task = asyncio.gather(next_of(waiter), next_of(other))
            await until(lambda: len(quick) >= 4)
            arrived = await inbound(sandbox, "sendhub")
            sandbox.clear_faults()
            assert await task == [[arrived], [arrived]]
            assert [failures for failures, _ in quick] == list(range(1, len(quick) + 1))
            asked_for = {getattr(error, "retry_after", None) for _, error in quick}
            assert asked_for == ({31.0} if "rate" in fault else {None})
            said = [record.levelname for record in caplog.records if record.name == shared.__name__]
            assert said == ["WARNING", "INFO"] * expected


async def test_who_left_while_the_service_was_away_is_forgotten(
    sandbox: RunningSandbox, connections: Any, quick: Any
) -> None:
    sandbox.faults([{"service": "mdi", "status": 503}])
    with joined("mdi", a_minute_ago()) as waiter:
        task = asyncio.create_task(next_of(waiter))
        with joined("mdi", Cursor()) as gone:
            await nothing_for(gone)
        quick.clear()
        # The question that was under way may still be for both.
        await until(lambda: len(quick) >= 2)
        await asyncio.to_thread(sandbox.reset)
        arrived = await inbound(sandbox, "mdi")
        assert await task == [arrived]
        asked = [entry["query"] for entry in sandbox.journal("mdi") if entry["path"].endswith("messages.json")]
        assert asked and all("from" in query for query in asked)


# -- credentials ----------------------------------------------------------------------------------------------------


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    real = registry.async_hook_for

    async def counting(conn_id: str) -> Any:
        found.append(conn_id)
        return await real(conn_id)

    monkeypatch.setattr(registry, "async_hook_for", counting)
    return found


def set_password(connections: Any, monkeypatch: pytest.MonkeyPatch, conn_type: str, password: str | None) -> None:
    connection = connections[f"{conn_type}_default"]
    changed = {**connection, "password": password or connection["password"]}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", json.dumps(changed))


@pytest.mark.parametrize("conn_type", TYPES)
async def test_a_wrong_password_ends_all_waits_after_some_tries(
    conn_type: str, connections: Any, monkeypatch: pytest.MonkeyPatch, looked_up: list[str]
) -> None:
    set_password(connections, monkeypatch, conn_type, "wrong" * 8)
    with joined(conn_type) as first, joined(conn_type) as second:
        waits = await asyncio.gather(first.next(), second.next(), return_exceptions=True)
        assert [type(error) for error in waits] == [AuthenticationFailed] * 2
        assert looked_up == [f"{conn_type}_default"] * shared.AUTHENTICATION_TRIES
        with pytest.raises(AuthenticationFailed):
            await first.next()
        # Who comes now begins anew.
        set_password(connections, monkeypatch, conn_type, None)
        with joined(conn_type) as third:
            await nothing_for(third)
    assert len(looked_up) == shared.AUTHENTICATION_TRIES + 1


@pytest.mark.parametrize("conn_type", TYPES)
async def test_a_password_that_is_changed_meanwhile_is_taken_up(
    conn_type: str,
    sandbox: RunningSandbox,
    connections: Any,
    monkeypatch: pytest.MonkeyPatch,
    looked_up: list[str],
    quick: Any,
) -> None:
    arrived = await inbound(sandbox, conn_type)
    set_password(connections, monkeypatch, conn_type, "wrong" * 8)
    with joined(conn_type) as waiter:
        task = asyncio.create_task(next_of(waiter))
        await until(lambda: bool(quick))
        set_password(connections, monkeypatch, conn_type, None)
        assert await task == [arrived]
    assert 2 <= len(looked_up) <= shared.AUTHENTICATION_TRIES


async def test_only_refusals_in_a_row_end_the_waits(
    sandbox: RunningSandbox, connections: Any, looked_up: list[str]
) -> None:
    with joined() as waiter:
        for number in range(shared.AUTHENTICATION_TRIES + 1):
            sandbox.faults([{"service": "sendhub", "status": 401, "times": 1}])
            arrived = await inbound(sandbox, "sendhub", str(number))
            assert await next_of(waiter) == [arrived]
    assert len(looked_up) == shared.AUTHENTICATION_TRIES + 2


async def test_other_work_waits_for_the_connection_to_be_mended(
    sandbox: RunningSandbox, connections: Any, quick: Any
) -> None:
    with joined() as waiter:
        task = asyncio.create_task(waiter.next())
        await waiter.run(lambda service: service.check())
        sandbox.faults([{"service": "sendhub", "status": 401, "times": 1}])
        await until(lambda: bool(quick))
        await waiter.run(lambda service: service.check())
        task.cancel()
        await asyncio.wait([task])


async def test_sessions_that_end_are_renewed(
    sandbox: RunningSandbox, connections: Any, quick: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with joined("mdi", a_minute_ago()) as waiter:
        task = asyncio.create_task(next_of(waiter))
        for number in range(3):
            await until_asked(sandbox, "mdi", 2)
            assert await asyncio.to_thread(sandbox.expire_sessions) >= 1
            arrived = await inbound(sandbox, "mdi", str(number))
            assert await task == [arrived]
            task = asyncio.create_task(next_of(waiter))
        task.cancel()
        await asyncio.wait([task])
    assert quick == []
    assert not [record for record in caplog.records if record.name == shared.__name__]


@pytest.mark.parametrize("conn_type", ["go_integrate", "sendhub"])
async def test_a_service_that_is_started_again_is_taken_up(conn_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = running(echo=False, hold_s=5)
        sandbox = first.__enter__()
        port = int(sandbox.url.rpartition(":")[2])
        for conn_id, connection in sandbox.connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        waiter = stack.enter_context(joined(conn_type, a_minute_ago()))
        task = asyncio.create_task(next_of(waiter, 10))
        await until_asked(sandbox, conn_type, 2)
        await asyncio.to_thread(first.__exit__, None, None, None)
        await asyncio.sleep(0.3)
        with running(port=port, echo=False, hold_s=5) as sandbox:
            again = await inbound(sandbox, conn_type)
            assert await task == [again]
            waiter.leave()


# -- many -----------------------------------------------------------------------------------------------------------


@pytest.mark.undisturbed
async def test_ten_thousand_that_wake_do_not_hold_up_the_event_loop(
    sandbox: RunningSandbox, connections: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 0.05
    worst: list[tuple[float, list[str]]] = []
    for number in range(4):  # the machine may be busy: one quiet run is proof enough
        caplog.clear()
        tasks = []
        for _ in range(10_000):
            tasks.append(asyncio.create_task(once("sendhub", a_minute_ago(), limit=1, interval=0.3)))
            if len(tasks) % 100 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(1.0)
        ticks: list[float] = []
        ticker = asyncio.create_task(tick(ticks))
        loop.set_debug(number > 0)
        gc.disable()
        try:
            await inbound(sandbox, "sendhub", str(number))
            await asyncio.wait(tasks)
        finally:
            gc.enable()
            loop.set_debug(False)
            ticker.cancel()
        assert all(len(task.result()) == 1 for task in tasks)
        sandbox.reset()
        slow = [r.getMessage() for r in caplog.records if r.name == "asyncio" and "took" in r.getMessage()]
        worst.append((max(ticks), slow))
        if number > 0 and not slow:
            break
    print(f"longest gap {min(gap for gap, _ in worst) * 1000:.0f} ms")
    assert min(gap for gap, _ in worst) < 0.1, worst
    assert not all(slow for _, slow in worst[1:]), worst


async def tick(ticks: list[float]) -> None:
    last = time.monotonic()
    while True:
        await asyncio.sleep(0)
        now = time.monotonic()
        ticks.append(now - last)
        last = now


async def test_a_filter_is_not_asked_more_than_its_wait_needs(sandbox: RunningSandbox, connections: Any) -> None:
    asked: list[str] = []

    def wanted(message: Any) -> bool:
        asked.append(message.id)
        return True

    for number in range(20):
        await inbound(sandbox, "mdi", str(number))
    with joined("mdi", wanted=wanted) as waiter:
        assert await next_of(waiter) == asked
        assert len(asked) == 1


# -- the client alone -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def client_of(conn_type: str) -> Iterator[shared.Waiter]:
    client = shared.join_without_reading(f"{conn_type}_default")
    try:
        yield client
    finally:
        client.leave()


@pytest.mark.parametrize("conn_type", TYPES)
async def test_who_needs_the_client_alone_reads_no_inbox(
    conn_type: str, sandbox: RunningSandbox, connections: Any, looked_up: list[str]
) -> None:
    with client_of(conn_type) as one, client_of(conn_type) as another:
        await asyncio.gather(*(client.run(lambda service: service.check()) for client in (one, another)))
        asked = await requests(sandbox, conn_type)
        await asyncio.sleep(0.4)
        assert await requests(sandbox, conn_type) == asked
    assert len(looked_up) == 1


@pytest.mark.parametrize("conn_type", TYPES)
async def test_reading_goes_on_where_it_stood_still(conn_type: str, sandbox: RunningSandbox, connections: Any) -> None:
    """While nobody reads, messages come; whoever reads next must not be served from what is old."""
    with client_of(conn_type):
        first = await inbound(sandbox, conn_type)
        begin = a_minute_ago()
        with joined(conn_type, begin) as waiter:
            assert await next_of(waiter) == [first]
            passed = waiter.cursor
        await asyncio.sleep(0.3)
        second = await inbound(sandbox, conn_type)
        assert await once(conn_type, passed) == [second]


async def test_the_client_of_a_missing_connection(sandbox: RunningSandbox, connections: Any) -> None:
    client = shared.join_without_reading("nowhere")
    try:
        with pytest.raises(MessagingError, match="nowhere"):
            await client.run(lambda service: service.check())
    finally:
        client.leave()
