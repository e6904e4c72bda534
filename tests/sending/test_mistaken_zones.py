"""Times that a service writes without a zone, and a connection that says another one: nothing is sent twice."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.exceptions import DeliveryUnknown
from airflow_messaging.sandbox import RunningSandbox

from .sends import LOOK_PATHS, SEND_PATHS, FileStore, send, sends_asked

pytestmark = pytest.mark.usefixtures("connections")

WRITING_NO_ZONE = ("liquidfiles", "serwersms", "sendhub")
HOUR_S = 3600


@pytest.fixture
def say_zone(connections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Set the zone of a service's connection."""

    def change(service: str, zone: str) -> None:
        connection = connections[f"{service}_default"]
        extra = {**(connection.get("extra") or {}), "timezone": zone}
        monkeypatch.setenv(f"AIRFLOW_CONN_{service.upper()}_DEFAULT", json.dumps({**connection, "extra": extra}))

    return change


def lose(sandbox: RunningSandbox, service: str, when: str) -> None:
    sandbox.faults([{"service": service, "path": SEND_PATHS[service], "times": 1, "reset": True, "when": when}])


def lose_and_look_later(sandbox: RunningSandbox, store: FileStore, service: str, text: str) -> None:
    """Send a message that is accepted, and look for it in vain; when it is looked for again it has gone out."""
    look = {"service": service, "path": LOOK_PATHS[service], "status": 500}
    sandbox.faults([{"service": service, "path": SEND_PATHS[service], "reset": True, "when": "after"}, look])
    with pytest.raises(DeliveryUnknown, match="ServiceUnavailable"):
        send(service, text, store)
    sandbox.clear_faults()
    sandbox.clock(2)


def accepted(sandbox: RunningSandbox, service: str) -> int:
    return len(sandbox.messages(service)["sent"])


@pytest.mark.parametrize("service", WRITING_NO_ZONE)
class TestAnotherZone:
    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "Asia/Kathmandu", "America/Los_Angeles", "Pacific/Auckland"])
    def test_a_message_is_not_sent_twice(
        self,
        sandbox: RunningSandbox,
        store: FileStore,
        say_zone: Callable[[str, str], None],
        service: str,
        zone: str,
    ) -> None:
        say_zone(service, zone)
        lose_and_look_later(sandbox, store, service, "Once")
        for _ in range(2):
            with pytest.raises(DeliveryUnknown, match="'timezone'") as caught:
                send(service, "Once", store)
            assert isinstance(caught.value, AirflowFailException)
            assert "Once" not in str(caught.value)
        assert accepted(sandbox, service) == 1
        assert sends_asked(sandbox, service) == 1

    def test_the_user_may_have_it_sent_again(
        self, sandbox: RunningSandbox, store: FileStore, say_zone: Callable[[str, str], None], service: str
    ) -> None:
        say_zone(service, "Asia/Tokyo")
        lose_and_look_later(sandbox, store, service, "Twice, perhaps")
        with pytest.raises(DeliveryUnknown, match="'timezone'"):
            send(service, "Twice, perhaps", store)
        send(service, "Twice, perhaps", store, on_unknown="resend")
        assert accepted(sandbox, service) == 2

    def test_an_older_one_that_seems_to_come_yet_is_not_taken_for_it(
        self, sandbox: RunningSandbox, store: FileStore, say_zone: Callable[[str, str], None], service: str
    ) -> None:
        say_zone(service, "America/Los_Angeles")
        sandbox.clock(-1000)
        send(service, "The same")
        sandbox.clock(0)
        lose(sandbox, service, "before")
        with pytest.raises(DeliveryUnknown, match="'timezone'"):
            send(service, "The same", store)


@pytest.mark.parametrize("service", WRITING_NO_ZONE)
class TestTheRightZone:
    @pytest.mark.parametrize("ago_s", [60, 500, 24 * HOUR_S, 24 * HOUR_S - 300, 72 * HOUR_S])
    def test_an_older_message_is_told_from_it(
        self, sandbox: RunningSandbox, store: FileStore, service: str, ago_s: int
    ) -> None:
        sandbox.clock(-ago_s)
        older = send(service, "The same")
        sandbox.clock(0)
        lose(sandbox, service, "before")
        assert send(service, "The same", store)["id"] != older["id"]
        assert accepted(sandbox, service) == 2

    def test_of_one_just_as_old_as_zones_differ_nobody_can_tell(
        self, sandbox: RunningSandbox, store: FileStore, service: str
    ) -> None:
        sandbox.clock(-HOUR_S)
        send(service, "The same")
        sandbox.clock(0)
        lose(sandbox, service, "before")
        with pytest.raises(DeliveryUnknown, match="'timezone'"):
            send(service, "The same", store)
        assert accepted(sandbox, service) == 1

    def test_but_where_ours_is_there_it_is_found(self, sandbox: RunningSandbox, store: FileStore, service: str) -> None:
        sandbox.clock(-HOUR_S)
        older = send(service, "The same")
        sandbox.clock(0)
        lose(sandbox, service, "after")
        assert send(service, "The same", store)["id"] != older["id"]
        assert accepted(sandbox, service) == 2


class TestSendHubsTimeOfCreation:
    """It may be in another zone than all other times: five hours behind in the vendor's sample."""

    @pytest.mark.parametrize("scheduled_at", [None, "2037-02-17T20:29:40-0800", "2012-02-17T20:29:40-0800"])
    def test_a_lost_answer(self, sandbox: RunningSandbox, store: FileStore, scheduled_at: str | None) -> None:
        lose(sandbox, "sendhub", "after")
        receipt = send("sendhub", "Once", store, options={"scheduled_at": scheduled_at} if scheduled_at else {})
        assert [message["id"] for message in sandbox.messages("sendhub")["sent"]] == [receipt["id"]]

    @pytest.mark.parametrize("lost", [False, True])
    @pytest.mark.parametrize("scheduled_at", [None, "2037-02-17T20:29:40-0800", "2012-02-17T20:29:40-0800"])
    def test_no_receipt_lies_before_the_send(
        self, sandbox: RunningSandbox, store: FileStore, scheduled_at: str | None, lost: bool
    ) -> None:
        began = datetime.now(UTC)
        if lost:
            lose(sandbox, "sendhub", "after")
        receipt = send("sendhub", "Once", store, options={"scheduled_at": scheduled_at} if scheduled_at else {})
        sent_at = datetime.fromisoformat(receipt["sent_at"])
        assert began - timedelta(seconds=5) <= sent_at <= datetime.now(UTC)
