"""What the tests of every service share: a driver of its hook, as in a worker and as on an event loop."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox

from .cases import CASES, Case, Driver


@pytest.fixture(params=CASES, ids=lambda case: case.service)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def make(
    request: pytest.FixtureRequest, case: Case, sandbox: RunningSandbox, connections: dict[str, Any]
) -> Iterator[Callable[[], Driver]]:
    drivers: list[Driver] = []

    def make_driver() -> Driver:
        drivers.append(Driver(case, sandbox, on_loop=request.param))
        return drivers[-1]

    yield make_driver
    for driver in drivers:
        driver.close()


@pytest.fixture
def driver(make: Callable[[], Driver]) -> Driver:
    return make()
