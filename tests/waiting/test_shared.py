"""One wait for all: each of them gets what is its own, whenever it joins and whatever becomes of the others."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_messaging.exceptions import InvalidInput, MessagingError
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor, start

from .waits import TYPES, a_minute_ago, inbound, joined, next_of, nothing_for, once, until_asked


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
