import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox

from .clients import eventually
from .recipes import sample_json


class Hub:
    def __init__(self, sandbox: RunningSandbox, http: requests.Session) -> None:
        self.base = sandbox.url + "/sendhub/v1"
        self.credentials = sandbox.credentials["sendhub"]
        self.keys = {name: self.credentials[name] for name in ("username", "api_key")}
        self.contact, self.number = self.credentials["contact"], self.credentials["number"]
        self.http = http

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        params = {**options.pop("keys", self.keys), **options.pop("params", {})}
        return self.http.request(method, self.base + path, params=params, timeout=5, **options)

    def send(self, **fields: Any) -> requests.Response:
        return self("POST", "/messages/", json={"contacts": [self.contact], "text": "Testing", **fields})

    def inbox(self, **params: Any) -> list[dict[str, Any]]:
        return self("GET", "/inbox/", params=params).json()["objects"]

    def thread(self, number: int) -> list[dict[str, Any]]:
        return self("GET", f"/threads/{number}").json()["objects"]


@pytest.fixture
def hub(sandbox: RunningSandbox, http: requests.Session) -> Hub:
    return Hub(sandbox, http)


def types(message: dict[str, Any], *, but: str) -> dict[str, type]:
    return {name: type(value) for name, value in message.items() if name != but}


def test_messages_have_the_shape_of_the_samples(sandbox: RunningSandbox, hub: Hub) -> None:
    sent = hub.send()
    assert sent.status_code == 201
    assert types(sent.json(), but="sent") == types(sample_json("sendhub/send-message.json"), but="sent")
    assert (sent.json()["id"], sent.json()["sent"]) == ("25", None)
    assert sent.json()["acknowledgment"] == sample_json("sendhub/send-message.json")["acknowledgment"]
    sandbox.clock(1)
    status = hub("GET", f"/messages/{sent.json()['id']}/").json()
    assert types(status, but="") == types(sample_json("sendhub/status.json"), but="")
    for name in ("created_at", "sent"):
        datetime.strptime(status[name], "%Y-%m-%dT%H:%M:%S.%f")

    scheduled = hub("POST", "/messages", json=sample_json("sendhub/schedule.request.json")).json()
    expected = sample_json("sendhub/schedule.json")
    assert types(scheduled, but="sent") == types(expected, but="sent")
    assert (scheduled["acknowledgment"], scheduled["scheduled_at"]) == (
        expected["acknowledgment"],
        expected["scheduled_at"],
    )


def test_the_key_is_checked(hub: Hub) -> None:
    wrong: list[dict[str, Any]] = [
        {"keys": {}},
        {"keys": {**hub.keys, "api_key": "x"}},
        {"keys": {**hub.keys, "username": "x"}},
        {"auth": (hub.keys["username"], "x")},
        {"keys": {}, "headers": {"Authorization": "Basic !"}},
    ]
    for options in wrong:
        response = hub("GET", "/inbox/", **options)
        assert (response.status_code, response.content) == (401, b"")
    assert hub("GET", "/inbox/", keys={}, auth=(hub.keys["username"], hub.keys["api_key"])).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"contacts": []},
        {"contacts": None},
        {"contacts": 1111},
        {"contacts": [9999]},
        {"contacts": ["nobody"]},
        {"contacts": [{}]},
        {"contacts": [True]},
        {"contacts": [1111] * 21},
        {"groups": [1000] * 4},
        {"groups": [1]},
        {"text": "x" * 501},
        {"text": ""},
        {"text": None},
        {"scheduled_at": "2011-02-17T20:29:40"},
        {"scheduled_at": "2011-02-17T20:29:40+08:00"},
        {"scheduled_at": "2011-02-17 20:29:40-0800"},
        {"scheduled_at": "2011-02-37T20:29:40-0800"},
        {"scheduled_at": 1},
    ],
)
def test_wrong_messages_are_refused(hub: Hub, fields: dict[str, Any]) -> None:
    response = hub.send(**fields)
    assert response.status_code == 400
    assert {"message", "code", "error"} == response.json().keys()


def test_the_limits_themselves_are_allowed(hub: Hub) -> None:
    numbers = [f"+1650555{number:04}" for number in range(20)]
    assert hub.send(contacts=numbers, groups=[1000, 1001, 1000], text="x" * 500).status_code == 201


def test_json_is_required(hub: Hub) -> None:
    assert hub("POST", "/messages/", data={"text": "x"}).status_code == 400
    assert hub("POST", "/messages/", data=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert hub("POST", "/messages/", json=[1]).status_code == 400


@pytest.mark.parametrize("to", ["contact", "number", "group"])
def test_circle(sandbox: RunningSandbox, hub: Hub, to: str) -> None:
    recipients = {
        "contact": {"contacts": [hub.contact]},
        "number": {"contacts": [hub.number]},
        "group": {"groups": [1000]},
    }
    hub.send(**{"contacts": None, **recipients[to]})
    [thread] = eventually(lambda: hub.inbox(unread="true"))
    assert (thread["text"], thread["direction"], thread["type"]) == ("Testing", "from", "message-in")
    assert thread["contacts"][0]["number"] == hub.number


def test_inbox_threads_and_reading(sandbox: RunningSandbox, hub: Hub) -> None:
    first = sandbox.inbound("sendhub", text="one")
    second = sandbox.inbound("sendhub", text="two")
    other = sandbox.inbound("sendhub", text="three", sender="+16505559999")
    threads = hub.inbox()
    assert [(thread["id"], thread["unread"]) for thread in threads] == [(int(other), True), (int(second), True)]
    messages = hub.thread(threads[1]["threadId"])
    assert [(message["text"], message["unread"]) for message in messages] == [("two", True), ("one", True)]

    for message_id in (first, second):
        assert hub("PUT", f"/messages/{message_id}/", json={"unread": False}).json()["unread"] is False
    assert hub("PUT", f"/messages/{first}/", json={"unread": True}).status_code == 400
    assert hub("PUT", f"/messages/{first}/", json={}).status_code == 400
    assert hub("GET", f"/messages/{first}").json()["unread"] is False
    assert [thread["id"] for thread in hub.inbox(unread="true")] == [int(other)]
    assert len(hub.inbox()) == 2
    assert [message["id"] for message in sandbox.messages("sendhub")["waiting"]] == [other]


def test_inbox_pages(sandbox: RunningSandbox, hub: Hub) -> None:
    for number in range(3):
        sandbox.inbound("sendhub", text=str(number), sender=f"+1650555000{number}")
    page = hub("GET", "/inbox/", params={"limit": 2}).json()
    assert [thread["text"] for thread in page["objects"]] == ["2", "1"]
    assert page["meta"] == {"limit": 2, "offset": 0, "next": "/v1/inbox?limit=2&offset=2", "previous": None}
    last = hub("GET", "/inbox", params={"limit": 2, "offset": 2}).json()
    assert ([thread["text"] for thread in last["objects"]], last["meta"]["next"]) == (["0"], None)
    for bad in ({"limit": "x"}, {"limit": "0"}, {"offset": "-1"}):
        assert hub("GET", "/inbox/", params=bad).headers["Content-Type"].startswith("text/html")


def test_attachments_of_inbound_messages(sandbox: RunningSandbox, hub: Hub) -> None:
    sandbox.inbound("sendhub", text="mms", attachments=[{"filename": "a.png", "content": b"\x89PNG"}])
    [message] = hub.thread(hub.inbox()[0]["threadId"])
    assert requests.get(message["attachments"][0]["url"], timeout=5).content == b"\x89PNG"


def test_a_thread_comes_in_pages(sandbox: RunningSandbox, hub: Hub) -> None:
    for number in range(25):
        sandbox.inbound("sendhub", text=str(number))
    [thread] = hub.inbox()
    path = f"/threads/{thread['threadId']}"
    first, last = hub("GET", path).json(), hub("GET", path, params={"limit": 10, "offset": 20}).json()
    assert [message["text"] for message in first["objects"]] == [str(number) for number in range(24, 4, -1)]
    assert first["meta"]["next"] == f"/v1{path}?limit=20&offset=20"
    assert [message["text"] for message in last["objects"]] == ["4", "3", "2", "1", "0"]
    assert last["meta"]["next"] is None


def test_the_file_of_an_mms_is_shown_and_echoed(hub: Hub) -> None:
    data = base64.b64encode(b"\x89PNG").decode()
    assert hub.send(text="", mms={"filename": "a.png", "data": data}).status_code == 201
    [thread] = eventually(lambda: hub.inbox(unread="true"))
    for message in hub.thread(thread["threadId"]):
        [file] = message["attachments"]
        assert (file["filename"], file["content_type"], file["size"]) == ("a.png", "image/png", 4)
        assert requests.get(file["url"], timeout=5).content == b"\x89PNG"


def test_the_file_of_an_mms_may_lie_on_the_web(hub: Hub) -> None:
    url = "https://files.example.com/a.png"
    assert hub.send(mms={"filename": "a.png", "url": url}).status_code == 201
    [message] = hub.thread(hub.inbox()[0]["threadId"])
    assert message["attachments"][0]["url"] == url


@pytest.mark.parametrize(
    "mms",
    [
        "a.png",
        {},
        {"filename": "a.png"},
        {"filename": "a.png", "url": "https://e.com/a", "data": "AAAA"},
        {"filename": "a.png", "url": "ftp://e.com/a"},
        {"filename": "a.png", "url": 5},
        {"filename": "a.png", "data": "*"},
        {"filename": "", "data": "AAAA"},
        {"filename": "a.png", "data": "AAAA", "more": 1},
    ],
)
def test_wrong_files_are_refused(hub: Hub, mms: Any) -> None:
    assert hub.send(mms=mms).status_code == 400


def test_scheduled_messages_wait(sandbox: RunningSandbox, hub: Hub) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S+0000")
    kept, deleted = (hub.send(scheduled_at=at, text=text).json() for text in ("kept", "deleted"))
    waiting = hub("GET", "/messages/scheduled").json()["objects"]
    assert [message["id"] for message in waiting] == [kept["id"], deleted["id"]]
    removed = hub("DELETE", f"/messages/{deleted['id']}")
    assert removed.json() == {"message": "Record successfully deleted"}
    assert hub("GET", f"/messages/{deleted['id']}/").json() == {"error": "Message not found", "status": 404}
    assert hub("GET", f"/messages/{kept['id']}/").json()["sent"] is None
    assert hub.inbox() == []
    sandbox.clock(3601)
    assert hub("GET", f"/messages/{kept['id']}/").json()["sent"].startswith(kept["scheduled_at"])
    assert hub("GET", "/messages/scheduled/").json()["objects"] == []
    eventually(lambda: sandbox.messages("sendhub")["waiting"])
    assert [message["text"] for message in sandbox.messages("sendhub")["waiting"]] == ["kept"]


def test_contacts_and_groups(hub: Hub) -> None:
    created = hub("POST", "/contacts/", json={"name": "Jo", "number": "+16505550000"})
    assert created.status_code == 201
    contact = created.json()["id"]
    assert hub("GET", f"/contacts/{contact}/").json()["name"] == "Jo"
    assert contact in [entry["id"] for entry in hub("GET", "/contacts").json()["objects"]]
    group = hub("POST", "/groups", json={"name": "All", "contacts": [contact]})
    assert (group.status_code, group.json()["contact_count"]) == (201, 1)
    assert hub.send(contacts=None, groups=[group.json()["id"]]).status_code == 201
    for path, body in {"/contacts": {"name": "x"}, "/groups": {"contacts": []}}.items():
        assert hub("POST", path, json=body).status_code == 400
    assert hub("POST", "/groups", json={"name": "x", "contacts": [1]}).status_code == 400


@pytest.mark.parametrize("path", ["/messages/999/", "/messages/x", "/threads/1", "/contacts/x", "/nowhere"])
def test_unknown_things_are_not_found(hub: Hub, path: str) -> None:
    response = hub("GET", path)
    assert (response.status_code, response.json()["status"]) == (404, 404)


def test_rate_limit_tells_the_wait_in_the_body(sandbox: RunningSandbox, hub: Hub) -> None:
    sandbox.faults([{"service": "sendhub", "status": 429, "times": 1}])
    limited = hub("GET", "/inbox/")
    assert (limited.status_code, limited.json()["timeLeft"]) == (429, "0:00:30")
    assert "Retry-After" not in limited.headers
    assert hub("GET", "/inbox/").status_code == 200
