"""A send whose answer was lost is found at the service, and nothing else is taken for it, in a worker and on a loop."""

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_messaging.exceptions import DeliveryUnknown, UnsupportedFeature
from airflow_messaging.messages import Draft, Receipt, upload_from_bytes
from airflow_messaging.sandbox import RunningSandbox

from .cases import CASES, Driver

BY_NAME = {case.service: case for case in CASES}
FILE = upload_from_bytes("report.csv", b"bolt M8,400\n")
ANOTHER_FILE = upload_from_bytes("report.csv", b"bolt M8,500\n")

DRAFTS = {
    "liquidfiles": Draft(
        to=("robin@peer.example", "kim@peer.example"),
        subject="Order",
        text="Two lines\nand ünïcode",
        attachments=(FILE,),
        options={"cc": ["c@peer.example"], "bcc": ["b@peer.example"]},
        message_id="m1",
    ),
    "mdi": Draft(to=("17",), text="Come home, żółw", options={"channelid": 11}, in_reply_to="3001", message_id="m1"),
}
OTHERS: dict[str, list[dict[str, Any]]] = {
    "liquidfiles": [
        {"to": ("robin@peer.example",)},
        {"subject": "Orders"},
        {"text": "Two lines\nand ünïcode, and a third"},
        {"attachments": (ANOTHER_FILE,)},
        {"attachments": (FILE, FILE)},
        {"options": {"cc": ["c@peer.example"]}},
    ],
    "mdi": [
        {"to": ("18",)},
        {"text": "Come home, żółw!"},
        {"options": {"channelid": 32}},
        {"options": {"channelid": 11, "direction": "unittouser"}},
        {"in_reply_to": None},
    ],
}


@pytest.fixture(params=list(DRAFTS))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def make(
    request: pytest.FixtureRequest, sandbox: RunningSandbox, connections: dict[str, Any]
) -> Iterator[Callable[[str], Driver]]:
    drivers: list[Driver] = []

    def make_driver(service: str) -> Driver:
        drivers.append(Driver(BY_NAME[service], sandbox, on_loop=request.param))
        return drivers[-1]

    yield make_driver
    for driver in drivers:
        driver.close()


@pytest.fixture
def driver(make: Callable[[str], Driver], name: str) -> Driver:
    return make(name)


def send(driver: Driver, draft: Draft) -> Receipt:
    receipt: Receipt = driver.run(driver.hook.service.send(draft))
    return receipt


def look(driver: Driver, draft: Draft, since: datetime) -> Receipt | None:
    receipt: Receipt | None = driver.run(driver.hook.service.find_sent(draft, since=since))
    return receipt


def test_a_send_without_an_answer_is_found(driver: Driver, name: str) -> None:
    driver.run(driver.hook.service.check())
    since = datetime.now(UTC) - timedelta(seconds=1)
    path = {"liquidfiles": "*/message", "mdi": "/messages.json"}[name]
    driver.sandbox.faults([{"service": name, "path": path, "reset": True, "when": "after", "times": 1}])
    with pytest.raises(DeliveryUnknown):
        send(driver, DRAFTS[name])
    [there] = driver.sandbox.messages(name)["sent"]

    receipt = look(driver, DRAFTS[name], since)
    assert receipt is not None
    assert receipt.id == there["id"]
    assert receipt.sent_at
    assert since.replace(microsecond=0) <= receipt.sent_at <= datetime.now(UTC)
    assert Receipt.from_dict(receipt.to_dict()) == receipt


def test_a_send_that_never_arrived_is_not_found(driver: Driver, name: str) -> None:
    driver.run(driver.hook.service.check())
    since = datetime.now(UTC) - timedelta(seconds=1)
    path = {"liquidfiles": "*/message", "mdi": "/messages.json"}[name]
    driver.sandbox.faults([{"service": name, "path": path, "reset": True, "when": "before", "times": 1}])
    with pytest.raises(DeliveryUnknown):
        send(driver, DRAFTS[name])
    assert driver.sandbox.messages(name)["sent"] == []
    assert look(driver, DRAFTS[name], since) is None


def test_other_messages_are_not_taken_for_it(driver: Driver, name: str) -> None:
    since = datetime.now(UTC) - timedelta(seconds=1)
    for change in OTHERS[name]:
        send(driver, dataclasses.replace(DRAFTS[name], **change))
    assert look(driver, DRAFTS[name], since) is None
    receipt = send(driver, DRAFTS[name])
    found = look(driver, DRAFTS[name], since)
    assert found is not None
    assert found.id == receipt.id
    for change in OTHERS[name]:
        another = look(driver, dataclasses.replace(DRAFTS[name], **change), since)
        assert another is not None
        assert another.id != receipt.id


def test_an_older_one_is_not_taken_for_it(driver: Driver, name: str) -> None:
    driver.sandbox.clock(-60)
    send(driver, DRAFTS[name])
    driver.sandbox.clock(0)
    since = datetime.now(UTC) - timedelta(seconds=30)
    assert look(driver, DRAFTS[name], since) is None
    receipt = send(driver, DRAFTS[name])
    found = look(driver, DRAFTS[name], since)
    assert found is not None
    assert found.id == receipt.id


def test_it_is_found_among_many(driver: Driver, name: str) -> None:
    """More than a page, before and after it."""
    draft = dataclasses.replace(DRAFTS[name], attachments=())
    since = datetime.now(UTC) - timedelta(seconds=1)
    noise = dataclasses.replace(draft, text="Something else")
    for _ in range(60):
        send(driver, noise)
    receipt = send(driver, draft)
    for _ in range(60):
        send(driver, noise)
    found = look(driver, draft, since)
    assert found is not None
    assert found.id == receipt.id


def test_go_integrate_keeps_no_list_and_does_not_promise_to_drop_the_second(make: Callable[[str], Driver]) -> None:
    """Nobody knows what the vendor does with a repeated id, so the sandbox does the worst: it delivers both."""
    driver = make("go_integrate")
    receipt = driver.send()
    draft = Draft(to=(driver.peer,), text="x", message_id=receipt.id)
    with pytest.raises(UnsupportedFeature):
        look(driver, draft, datetime.now(UTC))
    # A second later: within one second the signature would be the same, and that alone is refused.
    driver.hook.service.clock = lambda: datetime.now(UTC) + timedelta(seconds=1)
    driver.send()
    sent = driver.sandbox.messages("go_integrate")["sent"]
    assert [message["message_id"] for message in sent] == [receipt.id] * 2
