from collections.abc import Iterator

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox, running

from .clients import Go


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[RunningSandbox]:
    with running(hold_s=1.5, echo_delay_s=0.3) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: RunningSandbox) -> Iterator[RunningSandbox]:
    shared_sandbox.reset()
    yield shared_sandbox
    shared_sandbox.reset()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def go(sandbox: RunningSandbox, http: requests.Session) -> Go:
    return Go(sandbox, http)
