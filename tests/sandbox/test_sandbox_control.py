import hashlib
import json
import socket
import time
from typing import Any

import pytest
import requests

from airflow_messaging.sandbox import ControlError, RunningSandbox, running

from .clients import Go, eventually

SERVICES = ["go_integrate", "liquidfiles", "mdi", "serwersms", "sendhub"]
SECRET_FIELDS = {
    "go_integrate": ["key_secret", "peer_key_secret"],
    "liquidfiles": ["api_key", "password"],
    "mdi": ["password"],
    "serwersms": ["password", "token"],
    "sendhub": ["api_key"],
}


def control(sandbox: RunningSandbox, method: str, path: str, document: Any = None) -> requests.Response:
    return requests.request(method, f"{sandbox.url}/_sandbox/{path}", json=document, timeout=5)


def test_credentials_and_connections(sandbox: RunningSandbox) -> None:
    credentials = sandbox.credentials
    assert list(credentials) == SERVICES
    assert {"route", "key_secret", "peer_route", "peer_key_secret"} <= credentials["go_integrate"].keys()
    assert {"api_key", "recipient"} <= credentials["liquidfiles"].keys()
    assert {"username", "password", "client", "unitid", "channelid"} <= credentials["mdi"].keys()
    assert {"username", "password", "token", "phone"} <= credentials["serwersms"].keys()
    assert {"username", "api_key", "contact", "number"} <= credentials["sendhub"].keys()
    found = [credentials[service][name] for service, names in SECRET_FIELDS.items() for name in names]
    assert len(set(found)) == len(found)
    assert min(map(len, found)) >= 16

    connections = sandbox.connections
    assert list(connections) == [f"{service}_default" for service in SERVICES]
    assert connections["mdi_default"] == {
        "conn_type": "mdi",
        "host": sandbox.url + "/mdi/api/v2",
        "login": credentials["mdi"]["username"],
        "password": credentials["mdi"]["password"],
        "extra": {"client": credentials["mdi"]["client"]},
    }
    assert connections["liquidfiles_default"].keys() == {"conn_type", "host", "password"}
    assert connections["go_integrate_default"]["host"] == sandbox.url + "/go-integrate/1"


@pytest.mark.parametrize("service", SERVICES)
def test_inbound_message_waits_until_reset(sandbox: RunningSandbox, service: str) -> None:
    attachment = {"filename": "a.txt", "content": b"a", "content_type": "text/plain"}
    message_id = sandbox.inbound(
        service,
        text="text",
        sender=None,
        subject="subject",
        in_reply_to="123",
        attachments=[attachment],
        expires_after=60,
    )
    assert message_id
    [waiting] = sandbox.messages(service)["waiting"]
    assert waiting["id"] == message_id
    sandbox.reset()
    assert sandbox.messages(service) == {"sent": [], "waiting": []}


def test_reset_restores_everything(sandbox: RunningSandbox, go: Go) -> None:
    go.send()
    sandbox.clock(1000)
    sandbox.faults([{"service": "mdi", "status": 503}])
    sandbox.reset()
    assert sandbox.journal() == []
    assert control(sandbox, "GET", "faults").json() == []
    assert control(sandbox, "GET", "clock").json()["offset_s"] == 0
    time.sleep(0.5)
    assert go.links() == [], "the echo of a message sent before the reset"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "inbound/sms"), ("GET", "journal?service=sms"), ("GET", "messages?service=sms"), ("PUT", "faults")],
)
def test_unknown_services_are_named(sandbox: RunningSandbox, method: str, path: str) -> None:
    response = control(sandbox, method, path, [{"service": "sms"}] if path == "faults" else {})
    assert response.status_code == 404
    assert response.json()["services"] == sorted(SERVICES)


@pytest.mark.parametrize(
    ("path", "document", "field"),
    [
        ("inbound/mdi", [], "body"),
        ("inbound/mdi", {"text": 1}, "text"),
        ("inbound/mdi", {"txet": "x"}, "txet"),
        ("inbound/mdi", {"sender": "a\nb"}, "sender"),
        ("inbound/mdi", {"expires_after": 0}, "expires_after"),
        ("inbound/mdi", {"expires_after": True}, "expires_after"),
        ("inbound/mdi", {"attachments": {}}, "attachments"),
        ("inbound/mdi", {"attachments": [1]}, "attachments"),
        ("inbound/mdi", {"attachments": [{}]}, "filename"),
        ("inbound/mdi", {"attachments": [{"filename": "a\r\nb"}]}, "filename"),
        ("inbound/mdi", {"attachments": [{"filename": "a", "content_base64": "?"}]}, "content_base64"),
        ("inbound/mdi", {"attachments": [{"filename": "a", "content_type": "ü"}]}, "content_type"),
        ("faults", {}, "body"),
        ("faults", [1], "body"),
        ("faults", [{}], "service"),
        ("faults", [{"service": "mdi", "statsu": 1}], "statsu"),
        ("faults", [{"service": "mdi", "status": 99}], "status"),
        ("faults", [{"service": "mdi", "times": 0}], "times"),
        ("faults", [{"service": "mdi", "delay_s": -1}], "delay_s"),
        ("faults", [{"service": "mdi", "delay_s": "1"}], "delay_s"),
        ("faults", [{"service": "mdi", "headers": {"a": "b\r\nc"}}], "headers"),
        ("faults", [{"service": "mdi", "headers": []}], "headers"),
        ("faults", [{"service": "mdi", "truncate_at": -1}], "truncate_at"),
        ("faults", [{"service": "mdi", "reset": 1}], "reset"),
        ("faults", [{"service": "mdi", "when": "never"}], "when"),
        ("clock", {"offset_s": "1"}, "offset_s"),
        ("clock", {"offset_s": 10**400}, "offset_s"),
        ("clock", {"offset_s": 1e15}, "offset_s"),
        ("clock", {"offset": 1}, "offset"),
        ("clock", {"frozen": "no"}, "frozen"),
        ("sessions", {"expire": False}, "expire"),
        ("sessions", {}, "expire"),
    ],
)
def test_malformed_input_names_the_field(sandbox: RunningSandbox, path: str, document: Any, field: str) -> None:
    response = control(sandbox, "POST" if path.startswith("inbound") else "PUT", path, document)
    assert response.status_code == 400
    assert response.json()["field"] == field


def test_bodies_that_are_not_json_are_refused(sandbox: RunningSandbox) -> None:
    for body in (b"", b"{", b"\xff", b'{"text": NaN}', b"[" * 100_000):
        response = requests.post(f"{sandbox.url}/_sandbox/inbound/mdi", data=body, timeout=5)
        assert (response.status_code, response.json()["field"]) == (400, "body")


def test_journal_records_without_secrets(sandbox: RunningSandbox, http: requests.Session) -> None:
    hub, mdi = sandbox.credentials["sendhub"], sandbox.credentials["mdi"]
    keys = {"username": hub["username"], "api_key": hub["api_key"], "limit": "1"}
    http.get(f"{sandbox.url}/sendhub/v1/inbox/", params=keys, timeout=5)
    body = json.dumps({name: mdi[name] for name in ("username", "password", "client")}).encode()
    json_type = {"Content-Type": "application/json"}
    http.post(f"{sandbox.url}/mdi/api/v2/session.json", data=body, headers=json_type, timeout=5)
    http.get(f"{sandbox.url}/mdi/api/v2/messages.json", timeout=5)
    http.get(f"{sandbox.url}/liquidfiles/messages/inbox?a=1&a=2", auth=("k" * 20, "x"), timeout=5)
    Go(sandbox, http).get("list-messages")

    entries = sandbox.journal()
    assert [entry["service"] for entry in entries] == ["sendhub", "mdi", "mdi", "liquidfiles", "go_integrate"]
    assert [entry["status"] for entry in entries] == [200, 201, 200, 401, 200]
    assert entries[0]["query"] == {"username": hub["username"], "api_key": "***", "limit": "1"}
    assert entries[1]["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert (entries[1]["body_size"], entries[1]["method"], entries[1]["path"]) == (
        len(body),
        "POST",
        "/mdi/api/v2/session.json",
    )
    assert entries[2]["headers"]["cookie"] == "***"
    assert (entries[3]["headers"]["authorization"], entries[3]["query"]) == ("***", {"a": ["1", "2"]})
    assert entries[4]["headers"]["request-key"] == "***"
    assert sandbox.journal("mdi") == entries[1:3]
    text = json.dumps(entries)
    for service, names in SECRET_FIELDS.items():
        assert not [name for name in names if sandbox.credentials[service][name] in text]


def test_journal_shows_requests_that_are_held(sandbox: RunningSandbox, go: Go) -> None:
    link = sandbox.inbound("go_integrate", text="x")
    host, port = sandbox.url.removeprefix("http://").split(":")
    lines = [f"GET /go-integrate/1/wait-next-message/{link} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in go.headers().items()]
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        [held] = eventually(lambda: sandbox.journal("go_integrate"))
        assert held["status"] is None
        eventually(lambda: sandbox.journal("go_integrate")[0]["status"] == 204)


def test_page_shows_messages_escaped_and_says_what_is_not_imitated(sandbox: RunningSandbox, go: Go) -> None:
    go.send(b"<script>alert(1)</script>")
    sandbox.inbound("mdi", text="<i>earlier</i>")
    sandbox.inbound("mdi", text="<b>second</b> \udcff")
    response = requests.get(sandbox.url, timeout=5)
    assert response.url == sandbox.url + "/_sandbox/"
    page = response.content.decode()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert page.index("&lt;b&gt;second") < page.index("&lt;i&gt;earlier")
    assert page.count("not imitated") >= len(SERVICES)


def test_unknown_paths_are_not_found(sandbox: RunningSandbox) -> None:
    assert control(sandbox, "GET", "nothing").status_code == 404
    assert requests.get(f"{sandbox.url}/favicon.ico", timeout=5).status_code == 404


def test_dates_follow_the_clock(sandbox: RunningSandbox) -> None:
    sandbox.clock(-86400 * 365 * 20)
    year = int(control(sandbox, "GET", "clock").json()["now"][:4])
    for path in ("/go-integrate/1/ping", "/liquidfiles/messages/inbox", "/mdi/api/v2/messages", "/serwersms/x"):
        assert f" {year} " in requests.get(sandbox.url + path, timeout=5).headers["Date"]


def test_control_helpers_raise_on_refusals(sandbox: RunningSandbox) -> None:
    with pytest.raises(ControlError, match="sms"):
        sandbox.inbound("sms", text="x")


def test_without_echo_peers_stay_silent(http: requests.Session) -> None:
    with running(echo=False, echo_delay_s=0.1) as sandbox:
        go = Go(sandbox, http)
        go.send()
        time.sleep(0.4)
        assert go.links() == []
        assert len(sandbox.messages("go_integrate")["sent"]) == 1
