"""No message is both unacknowledged and forgotten: a state machine over the pure core, and a smaller one over HTTP."""

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.messages import Message
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor, acknowledged, poll

from .machine import DAY_S, Receiving, ReceivingWithFlag, ReceivingWithLongPoll, stored_by_a_database
from .model import ModelService, ids

EXAMPLES = settings(max_examples=150, stateful_step_count=30, deadline=None, derandomize=True, print_blob=True)

# -- the machine ------------------------------------------------------------------------------------------------------

TestCursor = Receiving.TestCase
TestFlag = ReceivingWithFlag.TestCase
TestLongPoll = ReceivingWithLongPoll.TestCase
for case in (TestCursor, TestFlag, TestLongPoll):
    case.settings = EXAMPLES
del case


@settings(max_examples=100, deadline=None, derandomize=True)
@given(times=st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=5), floor=st.booleans())
def test_no_time_that_a_service_may_write_stops_a_reader(times: list[datetime], floor: bool) -> None:
    """Whatever the times: what is listed with a later time than all before is handed over, once."""
    service = ModelService()
    cursor = Cursor(floor=datetime.min.replace(tzinfo=UTC)) if floor else Cursor()
    for when in sorted([*times, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]):
        entry = service.arrive()
        entry.written = when.replace(tzinfo=None).isoformat()
        batch = service.run(poll(service, cursor))
        assert ids(batch.messages) == [entry.id]
        cursor = stored_by_a_database(batch.cursor)
        assert service.run(poll(service, cursor)).messages == []


# -- over HTTP --------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 4)),
        st.tuples(st.just("poll"), st.sampled_from([None, 1, 3])),
        st.tuples(st.just("persist"), st.integers(0, 2)),
        st.tuples(st.just("crash"), st.none()),
        st.tuples(st.just("acknowledge"), st.sets(st.integers(0, 5), min_size=1, max_size=3)),
        st.tuples(st.just("answer is lost"), st.integers(0, 5)),
        st.tuples(st.just("clock"), st.integers(-150, 150) | st.integers(0, DAY_S)),
    ),
    min_size=4,
    max_size=14,
)


@contextlib.contextmanager
def hook_of(sandbox: RunningSandbox, conn_type: str) -> Iterator[Any]:
    from airflow_messaging.hooks.registry import hook_for
    from airflow_messaging.transport import retry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "_backoff", lambda _state: 0.0)
        connection = json.dumps(sandbox.connections[f"{conn_type}_default"])
        patch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", connection)
        with hook_for(f"{conn_type}_default") as hook:
            yield hook


@pytest.mark.parametrize("conn_type", ["sendhub", "serwersms", "mdi", "liquidfiles", "go_integrate"])
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_over_http_nothing_is_both_open_and_forgotten(
    conn_type: str, running_sandbox: RunningSandbox, steps: list[tuple[str, Any]]
) -> None:
    sandbox = running_sandbox
    sandbox.reset()
    with hook_of(sandbox, conn_type) as hook:
        flag = hook.service.has_read_flag
        arrived: dict[str, Message] = {}
        live = stored = Cursor()
        handed: set[str] = set()
        kept: set[str] = set()
        read: set[str] = set()

        def settle(messages: list[Message]) -> None:
            """Store the cursor that has these behind it, or set their read flags."""
            nonlocal stored, live, handed
            if flag:
                also = hook.mark_read(messages)
                read.update(ids(messages), ids(also))
            else:
                live = stored = stored_by_a_database(hook.run(acknowledged(hook.service, stored, messages)))
                kept.update(ids(messages))
                handed = set()

        for step, how in steps:
            known = [arrived[id_] for id_ in sorted(handed | kept) if id_ in arrived]
            if step == "arrive":
                for _ in range(how):
                    sandbox.inbound(conn_type, text="hello")
            elif step == "clock":
                sandbox.clock(how)
            elif step == "persist":
                kept, handed = kept | handed, set()
                live = stored = stored_by_a_database(live, how)
            elif step == "crash":
                live, handed = stored, set()
            elif step == "poll":
                batch = hook.poll(live, limit=how)
                assert how is None or len(batch.messages) <= how
                assert not set(ids(batch.messages)) & (handed | kept)
                arrived.update({m.id: m for m in batch.messages})
                handed.update(ids(batch.messages))
                live = batch.cursor
            elif step == "acknowledge" and known:
                settle([known[n] for n in how if n < len(known)])
            elif step == "answer is lost" and known:
                sandbox.faults([{"service": conn_type, "reset": True, "times": 1, "when": "after"}])
                with contextlib.suppress(MessagingError):
                    settle([known[how % len(known)]])
                    assert not flag or known[how % len(known)].id in read
                sandbox.clear_faults()
            waiting = {entry["id"] for entry in sandbox.messages(conn_type)["waiting"]}
            again = set(ids(hook.poll(stored).messages))
            assert not again & (kept | read)
            # What was read without our knowing it, because the answer was lost, is the service's to say.
            assert flag or waiting - kept == again
            assert not flag or set(ids(hook.poll(Cursor()).messages)) - kept == again
