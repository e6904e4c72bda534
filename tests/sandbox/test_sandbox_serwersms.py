import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox

from .clients import eventually
from .recipes import sample_json


class Serwer:
    def __init__(self, sandbox: RunningSandbox, http: requests.Session) -> None:
        self.base = sandbox.url + "/serwersms/"
        self.credentials = sandbox.credentials["serwersms"]
        self.phone = self.credentials["phone"]
        self.login = {name: self.credentials[name] for name in ("username", "password")}
        self.http = http

    def post(self, action: str, **options: Any) -> dict[str, Any]:
        response = self.http.post(self.base + action, timeout=5, **options)
        assert response.status_code == 200
        return response.json()

    def __call__(self, action: str, **fields: Any) -> dict[str, Any]:
        return self.post(action, json={**self.login, **fields})

    def received(self, **fields: Any) -> list[dict[str, Any]]:
        return self("messages/recived", **fields)["items"]

    def send(self, phone: Any = None, **fields: Any) -> dict[str, Any]:
        return self("messages/send_sms", phone=phone or self.phone, **{"text": "hello", **fields})


@pytest.fixture
def serwer(sandbox: RunningSandbox, http: requests.Session) -> Serwer:
    return Serwer(sandbox, http)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def test_items_have_the_shape_of_the_sample(sandbox: RunningSandbox, serwer: Serwer) -> None:
    attachment = {"filename": "text_0002.txt", "content": b"Jak", "content_type": "text/plain"}
    sandbox.inbound("serwersms", text="Przyjade o 16", in_reply_to="eba39e4fe1")
    sandbox.inbound("serwersms", text="SerwerSMS.pl")
    sandbox.inbound("serwersms", text="Dziękuję", type="ndi")
    sandbox.inbound("serwersms", subject="Temat MMS", attachments=[attachment])
    expected = sample_json("serwersms/recived.json")["items"]
    answer = serwer("messages/recived", order="asc")
    assert answer["paging"] == {"page": 1, "count": 1}
    for wanted, item in zip(expected, answer["items"], strict=True):
        assert {name: type(value) for name, value in item.items()} == {
            name: type(value) for name, value in wanted.items()
        }
        assert item["type"] == wanted["type"]
        datetime.strptime(item["recived"], "%Y-%m-%d %H:%M:%S")
    file, wanted_file = answer["items"][3]["attachments"][0], expected[3]["attachments"][0]
    assert {name: type(value) for name, value in file.items()} == {n: type(v) for n, v in wanted_file.items()}
    assert base64.b64decode(file["data"]) == b"Jak"


@pytest.mark.parametrize("action", ["messages/recived", "messages/received", "messages/recived.json"])
def test_all_ways_to_call(sandbox: RunningSandbox, serwer: Serwer, action: str) -> None:
    sandbox.inbound("serwersms", text="x", sender="+48111222333")
    calls: list[dict[str, Any]] = [
        {"json": {**serwer.login, "phone": "+48111222333"}},
        {"json": {**serwer.login, "phone": ["48111222333", "+48000000000"]}},
        {"data": {**serwer.login, "phone": "+48111222333"}},
        {"data": {**serwer.login, "phone[]": "+48111222333"}},
        {"data": {**serwer.login, "phone[0]": "+48111222333", "phone[1]": "+48000000000"}},
        {"json": {}, "headers": {"Authorization": f"Bearer {serwer.credentials['token']}"}},
    ]
    assert [len(serwer.post(action, **call)["items"]) for call in calls] == [1] * len(calls)


def test_errors_come_with_status_200(serwer: Serwer) -> None:
    wrong: list[dict[str, Any]] = [
        {"json": {**serwer.login, "password": "x"}},
        {"json": {}},
        {"json": {"username": ["a"], "password": {}}},
        {"data": {}},
        {"json": {}, "headers": {"Authorization": "Bearer x"}},
    ]
    for call in wrong:
        assert serwer.post("messages/recived", **call)["error"]["type"] == "InvalidUser"
    error = serwer("messages/nothing")["error"]
    assert (error["code"], error["type"], list(error)) == (1000, "InvalidAction", ["code", "type", "message"])
    assert requests.get(serwer.base + "messages/recived", timeout=5).json()["error"]["code"] == 1000
    broken = serwer.post("messages/recived", data=b"{", headers={"Content-Type": "application/json"})
    assert broken["error"]["code"] == 1006


def test_reading_consumes_what_is_returned(sandbox: RunningSandbox, serwer: Serwer) -> None:
    ids = [int(sandbox.inbound("serwersms", text=str(number))) for number in range(3)]
    assert len(serwer.received()) == len(serwer.received(read=False)) == len(serwer.received(read="none")) == 3
    first = serwer("messages/recived", read=True, limit=2, order="asc")
    assert ([item["id"] for item in first["items"]], first["paging"]) == (ids[:2], {"page": 1, "count": 2})
    assert [item["id"] for item in serwer.received()] == ids[2:]
    assert serwer.received(read="true", page=2) == []
    assert [item["id"] for item in serwer.received(read="1")] == ids[2:]
    assert serwer.received() == []


def test_filters(sandbox: RunningSandbox, serwer: Serwer) -> None:
    now = datetime.now(UTC)
    sandbox.clock(-7200)
    old = int(sandbox.inbound("serwersms", text="old"))
    sandbox.clock(0)
    ndi = int(sandbox.inbound("serwersms", text="new", type="ndi", sender="+48111222333"))
    hour_ago = stamp(now - timedelta(hours=1))
    queries: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [ndi, old]),
        ({"order": "asc"}, [old, ndi]),
        ({"date_from": hour_ago}, [ndi]),
        ({"date_to": hour_ago}, [old]),
        ({"type": "ndi"}, [ndi]),
        ({"type": "eco"}, []),
        ({"ndi": "+48664078059"}, [ndi]),
        ({"ndi": "+48000000000"}, []),
        ({"page": 2, "limit": 1}, [old]),
        ({"page": 3, "limit": 1}, []),
    ]
    for query, expected in queries:
        assert [item["id"] for item in serwer.received(**query)] == expected, query


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "x"},
        {"read": "maybe"},
        {"date_from": "today"},
        {"date_to": "2014-13-01 00:00:00"},
        {"page": 0},
        {"limit": "x"},
        {"order": "up"},
        {"phone": {"a": 1}},
        {"phone": [[]]},
        {"type": []},
    ],
)
def test_wrong_fields_are_refused(serwer: Serwer, fields: dict[str, Any]) -> None:
    assert serwer("messages/recived", **fields)["error"]["code"] == 2000


def test_contacts_are_shown_on_request(sandbox: RunningSandbox, serwer: Serwer) -> None:
    sandbox.inbound("serwersms", text="x")
    assert "contact" not in serwer.received(show_contact=False)[0]
    assert {"first_name", "last_name", "phone", "email"} <= serwer.received(show_contact=True)[0]["contact"].keys()


def test_circle(sandbox: RunningSandbox, serwer: Serwer) -> None:
    answer = serwer.send(details=True, unique_id="order-1")
    [item] = answer["items"]
    assert {name: answer[name] for name in ("success", "queued", "unsent")} == {
        "success": True,
        "queued": 1,
        "unsent": 0,
    }
    assert isinstance(item["id"], str)
    [echo] = eventually(serwer.received)
    assert (echo["type"], echo["message_id"], echo["text"], echo["phone"]) == ("eco", item["id"], "hello", serwer.phone)


def test_reports_follow_the_message(sandbox: RunningSandbox, serwer: Serwer) -> None:
    sandbox.clock(0, frozen=True)
    sent = serwer.send(details=True, unique_id="order-1", phone=[serwer.phone, "+48111222333"])["items"]
    seen = []
    for offset in range(3):
        sandbox.clock(offset)
        seen.append(serwer("messages/reports", id=sent[0]["id"])["items"][0]["status"])
    assert seen == ["pending", "sent", "delivered"]
    by_unique_id = serwer("messages/reports", unique_id="order-1", phone="+48111222333")["items"]
    assert [report["id"] for report in by_unique_id] == [sent[1]["id"]]
    assert len(serwer("messages/reports", status="delivered", show_contact=True)["items"]) == 2
    sandbox.clock(15 * 86400)
    assert serwer("messages/reports")["items"] == []


def test_some_recipients_fail_while_the_call_succeeds(sandbox: RunningSandbox, serwer: Serwer) -> None:
    phones = ["+48000000404", "+48000000429", "12", "+48111222333"]
    answer = serwer.send(phones, details="true")
    assert {name: answer[name] for name in ("success", "queued", "unsent")} == {
        "success": True,
        "queued": 1,
        "unsent": 3,
    }
    assert [item["error_code"] for item in answer["items"]] == [4100, 3005, 4100, None]
    assert [item["status"] for item in answer["items"]] == ["unsent", "unsent", "unsent", "pending"]
    assert "items" not in serwer.send(phones)


def test_scheduled_messages_wait_and_can_be_deleted(sandbox: RunningSandbox, serwer: Serwer) -> None:
    in_an_hour = stamp(datetime.now(UTC) + timedelta(hours=1))
    kept, deleted = (serwer.send(details=True, date=in_an_hour, text=text)["items"][0]["id"] for text in "ab")
    assert serwer("messages/reports", id=kept)["items"][0]["status"] == "saved"
    assert serwer("messages/delete", id=deleted) == {"success": True}
    sandbox.clock(3601)
    [echo] = eventually(serwer.received)
    assert (echo["message_id"], echo["text"]) == (kept, "a")
    assert serwer("messages/delete", id=kept)["error"]["type"] == "InvalidID"
    assert serwer("messages/delete", unique_id="none")["error"]["type"] == "InvalidID"


def test_test_messages_go_nowhere(sandbox: RunningSandbox, serwer: Serwer) -> None:
    assert serwer.send(test=True)["queued"] == 1
    assert sandbox.messages("serwersms")["sent"] == []


@pytest.mark.parametrize(
    "fields", [{"text": ""}, {"text": 1.5}, {"unique_id": "ab"}, {"unique_id": "x" * 51}, {"date": "x"}]
)
def test_wrong_messages_are_refused(serwer: Serwer, fields: dict[str, Any]) -> None:
    assert serwer.send(**fields)["error"]["code"] == 2000


def test_a_message_needs_a_recipient(serwer: Serwer) -> None:
    assert serwer("messages/send_sms", text="x")["error"]["code"] == 2000


def test_limits(serwer: Serwer) -> None:
    assert {"type", "chars_limit", "value"} == serwer("account/limits")["items"][0].keys()
