"""Connections that are cut at random places: each message is accepted at most once, and once where one can look."""

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_messaging.exceptions import DeliveryUnknown, MessagingError
from airflow_messaging.operators import once
from airflow_messaging.sandbox import RunningSandbox

from .proxy import Cut, Direction, Proxy, proxying
from .sends import SERVICES, WITH_LOOK, FileStore, send, sends_asked

CUTS = 100
MOST_TRIES = 6
LARGE = 24 * 1024 * 1024
"""More bytes than the buffers between two processes hold."""


@pytest.fixture
def proxies(
    sandbox: RunningSandbox, connections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Proxy]]:
    """A proxy per service, between the operators and the sandbox."""
    port = urlsplit(sandbox.url).port
    assert port
    with proxying(port) as a, proxying(port) as b, proxying(port) as c, proxying(port) as d, proxying(port) as e:
        found = dict(zip(SERVICES, (a, b, c, d, e), strict=True))
        for service, proxy in found.items():
            through = json.dumps(connections[f"{service}_default"]).replace(f":{port}", f":{proxy.port}")
            assert str(proxy.port) in through
            monkeypatch.setenv(f"AIRFLOW_CONN_{service.upper()}_DEFAULT", through)
        yield found


def sizes(service: str, proxy: Proxy, text: str) -> dict[Direction, int]:
    """Return the bytes that one undisturbed send takes, each way."""
    before = dict(proxy.passed)
    send(service, text)
    return {direction: proxy.passed[direction] - before[direction] for direction in proxy.passed}


def cut_points(chance: random.Random, whole: dict[Direction, int]) -> Iterator[Cut]:
    while True:
        direction = chance.choice(list(whole))
        yield Cut(direction, chance.randrange(whole[direction]), at_once=chance.random() < 0.5)


def tries(service: str, text: str, store: FileStore) -> tuple[list[str], str | None]:
    """Try as Airflow would, until it is sent; return how the tries failed, and the id."""
    failures: list[str] = []
    for _ in range(MOST_TRIES):
        try:
            return failures, send(service, text, store, run_id=text)["id"]
        except MessagingError as error:
            failures.append(type(error).__name__)
    return failures, None


def each(services: Sequence[str], work: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(len(services)) as pool:
        for done in [pool.submit(work, service) for service in services]:
            done.result()


def accepted(sandbox: RunningSandbox, service: str, text: str) -> list[str]:
    sent = sandbox.messages(service)["sent"]
    return [message.get("message_id", message["id"]) for message in sent if message["text"] == text]


@pytest.mark.parametrize("service", ["liquidfiles", "serwersms", "sendhub"])
def test_a_request_that_is_still_on_its_way_is_waited_for(
    sandbox: RunningSandbox, proxies: dict[str, Proxy], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str
) -> None:
    monkeypatch.setattr(once, "SETTLE_S", 1.5)
    proxies[service].cut(Cut("up", 0, late_s=0.6))
    failures, id_ = tries(service, "Late", FileStore(tmp_path / "store.json"))
    assert failures == []
    assert proxies[service].delivered_late.wait(10)
    assert accepted(sandbox, service, "Late") == [id_]
    assert sends_asked(sandbox, service) == 1


@pytest.mark.parametrize("kind", ["resets", "ends"])
def test_a_file_that_was_cut_off_on_its_way_is_sent_once(
    sandbox: RunningSandbox, proxies: dict[str, Proxy], tmp_path: Path, kind: str
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(LARGE))
    proxies["go_integrate"].cut(Cut("up", LARGE // 4, at_once=kind == "resets"))
    store = FileStore(tmp_path / "store.json")
    receipt = send("go_integrate", None, store, attachments=[str(large)])
    assert proxies["go_integrate"].cuts_left == 0
    assert [message["message_id"] for message in sandbox.messages("go_integrate")["sent"]] == [receipt["id"]]


def test_exactly_once_where_one_can_look(
    sandbox: RunningSandbox, proxies: dict[str, Proxy], tmp_path: Path, seed: int
) -> None:
    def one_service(service: str) -> None:
        chance = random.Random(f"{seed} {service}")
        proxy = proxies[service]
        points = cut_points(chance, sizes(service, proxy, "Undisturbed"))
        for number in range(CUTS // len(WITH_LOOK)):
            text = f"Message {number:02} for {service}"
            # Every fourth time the second attempt is cut, too.
            cuts = list(itertools.islice(points, 2 if number % 4 == 0 else 1))
            told = f"{text}: {cuts}"
            proxy.cut(*cuts)
            failures, id_ = tries(service, text, FileStore(tmp_path / f"{service}{number}.json"))
            proxy.cut()
            assert id_ is not None, f"{told}: {failures}"
            assert accepted(sandbox, service, text) == [id_], f"{told}: {failures}"

    each(WITH_LOOK, one_service)


@pytest.mark.usefixtures("no_look")
def test_at_most_once_where_nobody_can(
    sandbox: RunningSandbox, proxies: dict[str, Proxy], tmp_path: Path, seed: int
) -> None:
    outcomes: list[tuple[bool, int]] = []

    def one_service(service: str) -> None:
        chance = random.Random(f"{seed} {service}")
        proxy = proxies[service]
        points = cut_points(chance, sizes(service, proxy, "Undisturbed"))
        for number in range(CUTS // len(SERVICES)):
            text = f"Message {number:02} for {service}"
            [cut] = itertools.islice(points, 1)
            told = f"{text}: {cut}"
            proxy.cut(cut)
            failures, id_ = tries(service, text, FileStore(tmp_path / f"{service}{number}.json"))
            proxy.cut()
            got = accepted(sandbox, service, text)
            assert len(got) <= 1, told
            assert id_ is None or got == [id_], told
            if id_ is None:
                assert set(failures) <= {DeliveryUnknown.__name__, "DeliveryUnknownForGood"}, f"{told}: {failures}"
            outcomes.append((id_ is not None, len(got)))

    each(SERVICES, one_service)
    # Otherwise nothing was proved: some have to have been lost before, and some after they were accepted.
    assert {(False, 0), (False, 1)} <= set(outcomes)
