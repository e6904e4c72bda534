"""What every service promises alike, through its hook, in a worker and on an event loop."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    InvalidInput,
    MessagingError,
    NotFound,
    UnsupportedFeature,
)
from airflow_messaging.messages import Message, Receipt, Status, upload_from_bytes
from airflow_messaging.services.receiving import Cursor, acknowledged

from .cases import CANARY_TEXT, Case, Driver

PAGES = 130


def through_json(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(record))
    return found


class TestService:
    def test_the_connection_is_accepted(self, driver: Driver) -> None:
        driver.run(driver.hook.service.check())
        assert driver.journal()

    def test_what_is_sent_comes_back_from_the_peer(self, driver: Driver) -> None:
        """One circle: send, wait behind the receipt, look up, acknowledge, and it is not there any more."""
        earlier = driver.inbound("too early")
        driver.sandbox.clock(5)
        before = datetime.now(UTC)
        receipt = driver.send()
        assert receipt.id
        assert receipt.service == driver.case.service
        assert receipt.sent_at
        assert abs(receipt.sent_at - before - timedelta(seconds=5)) < timedelta(seconds=4)
        assert Receipt.from_dict(through_json(receipt.to_dict())) == receipt

        batch = driver.wait(driver.begin(through_json(receipt.to_dict())))
        [echo] = batch.messages
        assert echo.id != earlier
        assert echo.service == driver.case.service
        body = echo.text if echo.text is not None else (echo.content or b"").decode()
        assert CANARY_TEXT in body
        assert echo.received_at
        assert echo.received_at >= receipt.sent_at
        assert Message.from_dict(through_json(echo.to_dict())) == echo

        found = driver.run(driver.hook.service.message(echo.id))
        assert (found.id, found.text, found.content) == (echo.id, echo.text, echo.content)

        assert driver.poll(batch.cursor).messages == []
        assert driver.poll(Cursor.from_dict(through_json(batch.cursor.to_dict()))).messages == []
        assert driver.poll(driver.begin(through_json(echo.to_dict()))).messages == []

    def test_nothing_is_acknowledged_by_looking(self, driver: Driver) -> None:
        ids = [driver.inbound(f"number {number}") for number in range(3)]
        for _ in range(2):
            assert sorted(message.id for message in driver.poll(Cursor()).messages) == sorted(ids)

    def test_what_is_acknowledged_does_not_come_again(self, driver: Driver) -> None:
        first, second = driver.inbound("first"), driver.inbound("second")
        messages = {message.id: message for message in driver.poll(Cursor()).messages}
        service = driver.hook.service
        if driver.case.reads:
            # Where the service can only mark by sender and second, it hands out what it marked on top.
            extra = driver.run(service.mark_read([messages[first]]))
            left = [message.id for message in driver.poll(Cursor()).messages]
            assert sorted([*left, *(message.id for message in extra)]) == [second]
            driver.run(service.mark_read([messages[second]]))
            assert driver.poll(Cursor()).messages == []
        else:
            with pytest.raises(UnsupportedFeature):
                driver.run(service.mark_read([messages[first]]))
            cursor = driver.run(acknowledged(service, Cursor(), [messages[first]]))
            assert [message.id for message in driver.poll(cursor).messages] == [second]
            cursor = driver.run(acknowledged(service, cursor, [messages[second]]))
            assert driver.poll(cursor).messages == []

    def test_the_second_alone_can_be_acknowledged(self, driver: Driver) -> None:
        if driver.case.reads:
            pytest.skip("the service keeps the read flag itself")
        first, second = driver.inbound("first"), driver.inbound("second")
        messages = {message.id: message for message in driver.poll(Cursor()).messages}
        cursor = driver.run(acknowledged(driver.hook.service, Cursor(), [messages[second]]))
        assert [message.id for message in driver.poll(cursor).messages] == [first]

    def test_many_messages_all_come_once_and_in_order(self, driver: Driver) -> None:
        """More than any page, many in one second, some a second later."""
        expected = []
        driver.sandbox.clock(-60, frozen=True)
        for number in range(PAGES):
            if number == PAGES // 2:
                driver.sandbox.clock(-30, frozen=True)
            expected.append(driver.inbound(f"number {number}"))
        driver.sandbox.clock(0)
        messages = driver.poll(Cursor()).messages
        assert len(messages) == PAGES
        assert {message.id for message in messages} == set(expected)
        times = [message.received_at for message in messages]
        assert times == sorted(times)  # type: ignore[type-var]
        half = PAGES // 2
        assert {message.id for message in messages[:half]} == set(expected[:half])

    def test_a_limit_leaves_the_rest_for_later(self, driver: Driver) -> None:
        expected = {driver.inbound(f"number {number}") for number in range(7)}
        cursor, seen = Cursor(), []
        for size in (3, 3, 1, 0):
            batch = driver.poll(cursor, limit=3)
            assert len(batch.messages) == size
            seen += [message.id for message in batch.messages]
            cursor = Cursor.from_dict(through_json(batch.cursor.to_dict()))
        assert (len(seen), set(seen)) == (7, expected)

    def test_two_messages_of_one_second_both_come(self, driver: Driver) -> None:
        driver.sandbox.clock(0, frozen=True)
        first = driver.inbound("first")
        batch = driver.poll(Cursor())
        assert [message.id for message in batch.messages] == [first]
        second = driver.inbound("second")
        assert [message.id for message in driver.poll(batch.cursor).messages] == [second]

    @pytest.mark.parametrize("skew_s", [-3600, 240, 3600])
    def test_a_wrong_clock_loses_nothing(self, skew_s: int, driver: Driver) -> None:
        """What comes after the reader began is found, whatever the service's clock shows; what came before is not."""
        driver.sandbox.clock(skew_s - 10)
        driver.inbound("before")
        driver.sandbox.clock(skew_s)
        cursor = driver.begin("now")
        expected = driver.inbound("after")
        assert [message.id for message in driver.poll(cursor).messages] == [expected]
        receipt = driver.send()
        assert driver.wait(driver.begin(receipt.to_dict())).messages

    def test_wrong_credentials_are_told_as_such(
        self, make: Callable[[], Driver], connections: dict[str, Any], case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = {**connections[f"{case.service}_default"], "password": "wr0ng-Passw0rd-canary"}
        monkeypatch.setenv(f"AIRFLOW_CONN_{case.service.upper()}_DEFAULT", json.dumps(wrong))
        driver = make()
        for work in (
            lambda: driver.run(driver.hook.service.check()),
            lambda: driver.poll(Cursor()),
            driver.send,
        ):
            with pytest.raises(AuthenticationFailed) as caught:
                work()
            assert caught.value.service == case.service
            assert "wr0ng" not in str(caught.value)
        ok, text = driver.hook.test_connection() if driver._loop is None else (False, "")
        assert not ok
        assert "wr0ng" not in text

    def test_what_it_cannot_express_is_refused_before_anything_is_sent(self, driver: Driver) -> None:
        for change in driver.case.unsupported:
            with pytest.raises(MessagingError) as caught:
                driver.send(**change)
            # Two contacts that are no ids break a rule of the documents instead.
            assert isinstance(caught.value, UnsupportedFeature), change
            assert CANARY_TEXT not in str(caught.value)
        with pytest.raises(InvalidInput, match="options"):
            driver.send(options={**driver.case.options, "no_such_option": 1})
        if not driver.case.has_status:
            with pytest.raises(UnsupportedFeature):
                driver.run(driver.hook.service.status("order-0001"))
        if not driver.case.reads:
            with pytest.raises(UnsupportedFeature):
                driver.run(driver.hook.service.mark_read([]))
        assert driver.journal() == []

    def test_no_recipient_and_no_text_are_refused_before_anything_is_sent(self, driver: Driver) -> None:
        for change in ({"to": ""}, {"to": []}, {"to": None}):
            with pytest.raises((InvalidInput, UnsupportedFeature)):
                driver.send(**change)
        assert driver.journal() == []

    def test_an_unknown_recipient_is_a_typed_error(self, driver: Driver) -> None:
        unknown = {"go_integrate": "none@00000000", "mdi": "424242", "sendhub": "424242"}
        if driver.case.service not in unknown:
            pytest.skip("the sandbox takes every address")
        with pytest.raises(MessagingError) as caught:
            driver.send(to=unknown[driver.case.service])
        assert CANARY_TEXT not in f"{caught.value!r}{caught.value}"

    def test_an_unknown_message_is_not_found(self, driver: Driver) -> None:
        with pytest.raises(NotFound):
            driver.run(driver.hook.service.message("424242"))

    def test_the_status_of_a_sent_message_moves_on(self, driver: Driver) -> None:
        if not driver.case.has_status:
            pytest.skip("the service does not say")
        receipt = driver.send()
        assert driver.run(driver.hook.service.status(receipt.id)) in tuple(Status)
        driver.sandbox.clock(120)
        assert driver.run(driver.hook.service.status(receipt.id)) in (Status.SENT, Status.DELIVERED)

    def test_results_show_neither_text_nor_people(self, driver: Driver) -> None:
        """What is printed ends up in logs."""
        receipt = driver.send()
        batch = driver.wait(driver.begin(receipt.to_dict()))
        [echo] = batch.messages
        people = [who for who in (echo.sender, *echo.recipients, driver.peer) if who and len(who) > 3]
        for shown in (repr(echo), str(echo), repr(receipt), str(receipt), repr(batch), repr(batch.cursor)):
            assert CANARY_TEXT not in shown
            for who in people:
                assert who not in shown

    def test_attachments_arrive_whole(self, driver: Driver, tmp_path: Path) -> None:
        if not driver.case.received_files or driver._loop is not None:
            pytest.skip("downloads belong into workers" if driver._loop else "the service has no attachments")
        files = {"one.bin": bytes(range(256)) * 4000, "../../two.bin": b"\0second\xff"}
        if driver.case.service == "go_integrate":
            files.pop("../../two.bin")
        driver.inbound(
            "with files",
            attachments=[{"filename": name, "content": content} for name, content in files.items()],
            **({"type": "mms"} if driver.case.service == "serwersms" else {}),
        )
        [message] = driver.poll(Cursor()).messages
        assert len(message.attachments) == len(files)
        assert len(json.dumps(message.to_dict())) < 20_000
        downloaded = driver.hook.download_attachments(message, str(tmp_path), max_bytes=10**7)
        assert [Path(file["filename"]).name for file in downloaded] == [Path(name).name for name in files]
        for file, content in zip(downloaded, files.values(), strict=True):
            path = Path(file["path"].removeprefix("file://"))
            assert path.is_relative_to(tmp_path)
            assert path.read_bytes() == content
            assert (file["size"], file["message_id"]) == (len(content), message.id)
        again = driver.hook.download_attachments(message, str(tmp_path), max_bytes=10**7)
        assert again == downloaded

    def test_a_file_makes_the_circle(self, driver: Driver, tmp_path: Path) -> None:
        if driver.case.service not in ("go_integrate", "liquidfiles", "sendhub"):
            pytest.skip("the service sends no files")
        content = hashlib.sha512(b"seed").digest() * 20_000
        receipt = driver.send(
            text=None if driver.case.service == "go_integrate" else CANARY_TEXT,
            attachments=(upload_from_bytes("raport żółty.bin", content),),
        )
        [echo] = driver.wait(driver.begin(receipt.to_dict())).messages
        if driver._loop is None:
            [file] = driver.hook.download_attachments(echo, str(tmp_path), max_bytes=10**7)
            assert Path(file["path"].removeprefix("file://")).read_bytes() == content

    def test_the_loss_of_an_answer_to_a_send_is_unknown(self, driver: Driver) -> None:
        from airflow_messaging.exceptions import DeliveryUnknown

        driver.run(driver.hook.service.check())
        before = len(driver.journal())
        driver.sandbox.faults([{"service": driver.case.service, "reset": True, "when": "after"}])
        with pytest.raises(DeliveryUnknown):
            driver.send()
        assert len(driver.journal()) == before + 1
