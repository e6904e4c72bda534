"""What SerwerSMS.pl and SendHub offer beyond sending and receiving, over real sockets, in a worker and on a loop."""

import base64
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    DeliveryUnknown,
    InvalidInput,
    NotFound,
    UnsupportedFeature,
)
from airflow_messaging.messages import Draft, Receipt, Status, upload_from_bytes
from airflow_messaging.sandbox import RunningSandbox

from .cases import CASES, Driver

BY_NAME = {case.service: case for case in CASES}
PEER, OTHER, BLOCKED = "+48500600700", "+48111222333", "+48000000403"
FILE = upload_from_bytes("plan żółty.png", bytes(range(256)) * 40, content_type="image/png")
DRAFTS = {
    "serwersms": Draft(to=(PEER,), text="Zażółć gęślą jaźń", message_id="6a2c7f0e-3a0b-5d6e-9c55-2f8f6f6e1c11"),
    "sendhub": Draft(to=("1111",), text="Zażółć gęślą jaźń", message_id="m1"),
}
OTHERS: dict[str, list[dict[str, Any]]] = {
    "serwersms": [{"message_id": "6a2c7f0e-3a0b-5d6e-9c55-2f8f6f6e1c12"}],
    "sendhub": [
        {"to": ("1112",)},
        {"to": ("1111", "1112")},
        {"to": (), "options": {"groups": [1000]}},
        {"text": "Zażółć gęślą jaźń!"},
        {"attachments": (FILE,)},
        {"options": {"scheduled_at": "2030-02-17T20:29:40-0800"}},
    ],
}


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


def in_an_hour() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


class TestSerwerSms:
    @pytest.fixture
    def driver(self, make: Callable[[str], Driver]) -> Driver:
        return make("serwersms")

    def test_one_recipient_fails_and_the_call_succeeds(self, driver: Driver) -> None:
        service = driver.hook.service
        phones = [PEER, BLOCKED, OTHER]
        receipt = driver.run(service.messages_send_sms(phone=phones, text="hi", unique_id="order-1"))
        assert receipt.raw["success"] is True
        assert [one.accepted for one in receipt.recipients] == [True, False, True]
        assert [(one.phone, one.error_code) for one in receipt.unsent] == [(BLOCKED, "4600")]
        reports = driver.run(service.messages_reports_all(unique_id="order-1"))
        assert {report.raw["phone"]: report.id for report in reports} == {
            one.phone: one.id for one in receipt.recipients
        }

    def test_reports_by_all_that_they_can_be_asked_for(self, driver: Driver) -> None:
        service = driver.hook.service
        driver.sandbox.clock(-3600)
        old = driver.run(service.messages_send_sms(phone=PEER, text="old", unique_id="one"))
        driver.sandbox.clock(0)
        new = driver.run(service.messages_send_sms(phone=OTHER, text="new", sender="INFO", unique_id="two"))
        driver.sandbox.clock(10)
        ago = datetime.now(UTC) - timedelta(minutes=30)
        for narrowing, expected in (
            ({"id": old.id}, {old.id}),
            ({"id": [old.id, new.id]}, {old.id, new.id}),
            ({"unique_id": "two"}, {new.id}),
            ({"phone": PEER}, {old.id}),
            ({"date_from": ago}, {new.id}),
            ({"date_to": ago}, {old.id}),
            ({"type": "full"}, {new.id}),
            ({"status": "delivered"}, {old.id, new.id}),
            ({"status": "saved"}, set()),
            ({"limit": 1, "show_contact": True}, {old.id, new.id}),
        ):
            reports = driver.run(service.messages_reports_all(**narrowing))
            assert {report.id for report in reports} == expected, narrowing
        [report] = driver.run(service.messages_reports(page=2, limit=1)).items
        assert (report.id, report.status) == (old.id, Status.DELIVERED)

    def test_a_scheduled_message_is_called_back(self, driver: Driver) -> None:
        service = driver.hook.service
        receipts = [
            driver.run(service.messages_send_sms(phone=PEER, text="later", date=in_an_hour(), unique_id=own))
            for own in ("one", "two", "three")
        ]
        driver.run(service.messages_delete(id=receipts[0].id))
        driver.run(service.messages_delete(unique_id="two"))
        assert [sent["id"] for sent in driver.sandbox.messages("serwersms")["sent"]] == [receipts[2].id]
        for gone in ({"id": receipts[0].id}, {"unique_id": "two"}):
            with pytest.raises(NotFound):
                driver.run(service.messages_delete(**gone))
        driver.sandbox.clock(3605)
        with pytest.raises(NotFound):
            driver.run(service.messages_delete(id=receipts[2].id))

    def test_limits(self, driver: Driver) -> None:
        limits = driver.run(driver.hook.service.account_limits())
        assert {limit.type for limit in limits} == {"eco", "full", "mms", "voice"}
        assert all(limit.value == 1000 for limit in limits)

    def test_a_token_in_place_of_name_and_password(
        self,
        make: Callable[[str], Driver],
        connections: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        connection = {key: value for key, value in connections["serwersms_default"].items() if key != "login"}

        def with_password(password: str) -> Driver:
            changed = {**connection, "password": password, "extra": {"auth_scheme": "bearer"}}
            monkeypatch.setenv("AIRFLOW_CONN_SERWERSMS_DEFAULT", json.dumps(changed))
            return make("serwersms")

        driver = with_password(make("serwersms").sandbox.credentials["serwersms"]["token"])
        receipt = driver.send()
        assert driver.wait(driver.begin(receipt.to_dict())).messages
        assert driver.run(driver.hook.service.status(receipt.id))
        refused = with_password("wr0ng-token-canary")
        with pytest.raises(AuthenticationFailed) as caught:
            refused.run(refused.hook.service.check())
        assert "canary" not in str(caught.value)
        assert "canary" not in caplog.text
        assert driver.sandbox.credentials["serwersms"]["token"] not in caplog.text


class TestSendHub:
    @pytest.fixture
    def driver(self, make: Callable[[str], Driver]) -> Driver:
        return make("sendhub")

    def test_scheduled_messages_are_listed_and_deleted(self, driver: Driver) -> None:
        service = driver.hook.service
        at = in_an_hour()
        receipts = [
            driver.run(service.send_message(contacts=[1111], text=f"number {number}", scheduled_at=at))
            for number in range(105)
        ]
        listed = driver.run(service.scheduled_messages_all())
        assert {message.id for message in listed} == {receipt.id for receipt in receipts}
        driver.run(service.delete_message(receipts[3].id))
        with pytest.raises(NotFound):
            driver.run(service.delete_message(receipts[3].id))
        assert len(driver.run(service.scheduled_messages_all())) == 104
        driver.sandbox.clock(3605)
        assert driver.run(service.scheduled_messages_all()) == []

    def test_an_mms_makes_the_circle(self, driver: Driver) -> None:
        service = driver.hook.service
        data = base64.b64encode(b"hello").decode()
        mms = {"filename": "a.txt", "data": data}
        receipt = driver.run(service.send_message(contacts=[1111], text="see", mms=mms))
        [echo] = driver.wait(driver.begin(receipt.to_dict())).messages
        [file] = echo.attachments
        assert (file.filename, file.content_type, file.size) == ("a.txt", "text/plain", 5)
        call = driver.run(service.attachment(echo, file))
        assert service.is_own(call.request.url)
        driver.run(call)
        by_id = driver.run(service.message(echo.id))
        assert by_id.attachments == echo.attachments
        assert driver.run(service.attachment(dataclasses.replace(by_id, raw={}), file)) is not None
        assert "/attachments/" not in json.dumps([echo.to_dict(), by_id.to_dict()])

    def test_a_file_on_the_web_is_passed_on_by_its_address(self, driver: Driver) -> None:
        mms = {"filename": "a.png", "url": "https://files.example.com/a.png"}
        driver.run(driver.hook.service.send_message(contacts=[1111], mms=mms))
        [sent] = driver.sandbox.messages("sendhub")["sent"]
        assert sent["attachments"] == ["a.png"]

    def test_the_address_book(self, driver: Driver) -> None:
        service = driver.hook.service
        alice = driver.run(service.create_contact(name="Alice", number="+16505550001"))
        group = driver.run(service.create_group(name="On call", contacts=[alice.id]))
        for number in range(120):
            driver.run(service.create_contact(name="Twin" if number % 60 == 0 else f"N{number}", number=f"+1{number}"))
        assert len(driver.run(service.contacts_all())) == 124
        assert driver.run(service.contact_ids(["N119", "Alice"]))[1] == alice.id
        assert driver.run(service.group_ids("On call")) == [group.id]
        assert group.id in {one.id for one in driver.run(service.groups_all())}

        receipt = driver.send(to=[], options={"contact_names": ["Alice"], "group_names": ["On call"]})
        assert receipt.raw["contacts"] == [int(alice.id)]
        assert receipt.raw["groups"] == [int(group.id)]
        before = len(driver.sandbox.messages("sendhub")["sent"])
        for names, has in ((["Twin"], "2 have"), (["Alice", "Nobody"], "0 have")):
            with pytest.raises(InvalidInput, match=has):
                driver.send(options={"contact_names": names})
        assert len(driver.sandbox.messages("sendhub")["sent"]) == before


@pytest.mark.parametrize("name", list(DRAFTS))
class TestFoundAgain:
    @pytest.fixture
    def driver(self, make: Callable[[str], Driver], name: str) -> Driver:
        return make(name)

    def send(self, driver: Driver, draft: Draft) -> Receipt:
        receipt: Receipt = driver.run(driver.hook.service.send(draft))
        return receipt

    def look(self, driver: Driver, draft: Draft, since: datetime) -> Receipt | None:
        receipt: Receipt | None = driver.run(driver.hook.service.find_sent(draft, since=since))
        return receipt

    @pytest.mark.parametrize("options", [{}, {"later": True}], ids=["now", "later"])
    def test_a_send_without_an_answer_is_found(self, driver: Driver, name: str, options: dict[str, Any]) -> None:
        field = {"serwersms": "date", "sendhub": "scheduled_at"}[name]
        draft = dataclasses.replace(DRAFTS[name], options={field: in_an_hour()} if options else {})
        driver.run(driver.hook.service.check())
        since = datetime.now(UTC) - timedelta(seconds=2)
        driver.sandbox.faults([{"service": name, "reset": True, "when": "after", "times": 1}])
        with pytest.raises(DeliveryUnknown):
            self.send(driver, draft)
        [there] = driver.sandbox.messages(name)["sent"]

        receipt = self.look(driver, draft, since)
        assert receipt is not None
        assert receipt.id == there["id"]
        assert receipt.sent_at
        assert since <= receipt.sent_at <= datetime.now(UTC)
        assert (receipt.status is Status.SCHEDULED) == bool(options)
        assert (receipt.scheduled_at or None) == draft.options.get(field)
        assert Receipt.from_dict(json.loads(json.dumps(receipt.to_dict()))) == receipt
        if not options:
            assert driver.wait(driver.begin(receipt.to_dict())).messages

    def test_a_send_that_never_arrived_is_not_found(self, driver: Driver, name: str) -> None:
        driver.run(driver.hook.service.check())
        since = datetime.now(UTC) - timedelta(seconds=2)
        driver.sandbox.faults([{"service": name, "reset": True, "when": "before", "times": 1}])
        with pytest.raises(DeliveryUnknown):
            self.send(driver, DRAFTS[name])
        assert driver.sandbox.messages(name)["sent"] == []
        assert self.look(driver, DRAFTS[name], since) is None

    def test_other_messages_are_not_taken_for_it(self, driver: Driver, name: str) -> None:
        since = datetime.now(UTC) - timedelta(seconds=2)
        for change in OTHERS[name]:
            self.send(driver, dataclasses.replace(DRAFTS[name], **change))
        assert self.look(driver, DRAFTS[name], since) is None
        receipt = self.send(driver, DRAFTS[name])
        found = self.look(driver, DRAFTS[name], since)
        assert found is not None
        assert found.id == receipt.id
        for change in OTHERS[name]:
            another = self.look(driver, dataclasses.replace(DRAFTS[name], **change), since)
            assert another is not None
            assert another.id != receipt.id

    def test_an_older_one_is_not_taken_for_it(self, driver: Driver, name: str) -> None:
        driver.sandbox.clock(-60)
        self.send(driver, DRAFTS[name])
        driver.sandbox.clock(0)
        since = datetime.now(UTC) - timedelta(seconds=30)
        assert self.look(driver, DRAFTS[name], since) is None
        receipt = self.send(driver, DRAFTS[name])
        found = self.look(driver, DRAFTS[name], since)
        assert found is not None
        assert found.id == receipt.id

    def test_it_is_found_among_many(self, driver: Driver, name: str) -> None:
        """More than a page, before and after it, in its own conversation and in others."""
        since = datetime.now(UTC) - timedelta(seconds=2)
        draft = DRAFTS[name]
        if name == "serwersms":
            # One id may belong to many messages: a task that is run anew uses it again.
            driver.sandbox.clock(-3600)
            noise = [draft] * 60
        else:
            noise = [dataclasses.replace(draft, text=f"number {number}") for number in range(55)]
            noise += [dataclasses.replace(draft, to=(f"+165055500{number:02}",)) for number in range(15)]
        for other in noise:
            self.send(driver, other)
        driver.sandbox.clock(0)
        receipt = self.send(driver, draft)
        driver.sandbox.clock(-3600 if name == "serwersms" else 0)
        for other in noise:
            self.send(driver, other)
        driver.sandbox.clock(0)
        found = self.look(driver, draft, since)
        assert found is not None
        assert found.id == receipt.id

    def test_where_it_cannot_be_known_nobody_guesses(self, driver: Driver, name: str) -> None:
        since = datetime.now(UTC) - timedelta(seconds=2)
        if name == "serwersms":
            draft, since = DRAFTS[name], since - timedelta(days=15)
        else:
            self.send(driver, DRAFTS[name])
            draft = dataclasses.replace(DRAFTS[name], to=("1111", "1112"))
        with pytest.raises(UnsupportedFeature):
            self.look(driver, draft, since)

    def test_what_the_service_refused_is_not_there(self, driver: Driver, name: str) -> None:
        unknown = {"serwersms": BLOCKED, "sendhub": "424242"}[name]
        draft = dataclasses.replace(DRAFTS[name], to=(unknown,))
        with pytest.raises(Exception, match=f"{name} messages"):
            self.send(driver, draft)
        assert self.look(driver, draft, datetime.now(UTC) - timedelta(seconds=2)) is None
