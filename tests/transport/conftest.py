import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_messaging.services.base import Service

from .runners import KINDS, Probe, Runner
from .servers import Server, serving

MakeRunner = Callable[..., Runner]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str) -> Iterator[MakeRunner]:
    """Makes runners of the transport under test, and closes them."""
    with contextlib.ExitStack() as opened:

        def make_runner(service: Service, **options: Any) -> Runner:
            runner = Runner(kind, service, **options)
            opened.callback(runner.close)
            return runner

        yield make_runner


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def other() -> Iterator[Server]:
    """A server on another origin."""
    with serving() as running:
        yield running


@pytest.fixture
def probe(server: Server) -> Probe:
    return Probe(f"{server.url}/api")


@pytest.fixture
def runner(make: MakeRunner, probe: Probe) -> Runner:
    return make(probe)
