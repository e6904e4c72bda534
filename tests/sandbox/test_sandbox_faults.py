import socket
import threading
import time
from typing import Any

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox

from .clients import Go


@pytest.fixture
def ping(sandbox: RunningSandbox, http: requests.Session) -> Any:
    return lambda: http.get(f"{sandbox.url}/go-integrate/1/ping", timeout=5)


def test_status_headers_and_body(sandbox: RunningSandbox, ping: Any) -> None:
    headers = {"Retry-After": "7", "Content-Type": "text/html"}
    sandbox.faults([{"service": "go_integrate", "status": 503, "headers": headers, "body": "<h1>busy</h1>"}])
    for _ in range(2):
        response = ping()
        assert (response.status_code, response.text) == (503, "<h1>busy</h1>")
        assert (response.headers["Retry-After"], response.headers["Content-Type"]) == ("7", "text/html")
    sandbox.clear_faults()
    assert ping().status_code == 200


def test_status_alone_comes_in_the_vendors_form(sandbox: RunningSandbox, ping: Any) -> None:
    sandbox.faults([{"service": "go_integrate", "status": 500}])
    assert ping().headers["error"].startswith("code=")


def test_body_alone_replaces_a_good_answer(sandbox: RunningSandbox, ping: Any) -> None:
    sandbox.faults([{"service": "go_integrate", "body": "{garbage"}])
    assert (ping().status_code, ping().text) == (200, "{garbage")


def test_headers_alone_are_added_to_the_real_answer(sandbox: RunningSandbox, go: Go) -> None:
    sandbox.faults([{"service": "go_integrate", "headers": {"X-Test": "1"}}])
    response = go.get("list-messages")
    assert (response.json(), response.headers["X-Test"]) == ([], "1")


def test_times_path_and_order(sandbox: RunningSandbox, ping: Any, go: Go) -> None:
    sandbox.faults(
        [
            {"service": "mdi", "status": 500},
            {"service": "go_integrate", "path": "list-messages", "status": 501},
            {"service": "go_integrate", "path": "/go-integrate/*/ping", "status": 502, "times": 1},
            {"service": "go_integrate", "status": 503, "times": 1},
        ]
    )
    assert [ping().status_code for _ in range(3)] == [502, 503, 200]
    assert go.get("list-messages").status_code == 501
    left = requests.get(f"{sandbox.url}/_sandbox/faults", timeout=5).json()
    assert [fault["status"] for fault in left] == [500, 501]


def test_delay(sandbox: RunningSandbox, ping: Any) -> None:
    sandbox.faults([{"service": "go_integrate", "delay_s": 0.4}])
    begun = time.monotonic()
    assert ping().status_code == 200
    assert time.monotonic() - begun >= 0.4


def test_a_delayed_request_keeps_its_body(sandbox: RunningSandbox, go: Go) -> None:
    sandbox.faults([{"service": "go_integrate", "delay_s": 0.1}])
    assert go.send(b"x" * 100_000).status_code == 200
    [sent] = sandbox.messages("go_integrate")["sent"]
    assert sent["size"] == 100_000


def test_reset_before_does_not_process_and_after_does(sandbox: RunningSandbox, go: Go) -> None:
    for when, accepted in (("before", 0), ("after", 1)):
        sandbox.faults([{"service": "go_integrate", "reset": True, "times": 1, "when": when}])
        with pytest.raises(requests.exceptions.ConnectionError) as caught:
            go.send(b"x" * 100_000)
        assert "reset" in str(caught.value).lower()
        assert len(sandbox.messages("go_integrate")["sent"]) == accepted
    entry = sandbox.journal("go_integrate")[-1]
    assert (entry["status"], entry["fault"]) == (None, "reset")
    assert entry["body_size"] > 100_000


def test_reset_during_a_body_leaves_the_rest_unread(sandbox: RunningSandbox, go: Go) -> None:
    size = 24 << 20
    sandbox.faults([{"service": "go_integrate", "reset": True, "times": 1, "when": "during"}])
    with pytest.raises(requests.exceptions.ConnectionError):
        go.send(b"x" * size)
    assert sandbox.messages("go_integrate")["sent"] == []
    [entry] = sandbox.journal("go_integrate")
    assert (entry["status"], entry["fault"]) == (None, "reset")
    assert 0 < entry["body_size"] < size


def test_status_after_processing(sandbox: RunningSandbox, go: Go) -> None:
    sandbox.faults([{"service": "go_integrate", "status": 502, "times": 1, "when": "after"}])
    assert go.send().status_code == 502
    assert len(sandbox.messages("go_integrate")["sent"]) == 1


@pytest.mark.parametrize("size", [10, 3 << 20])
@pytest.mark.parametrize("keep", [0, 7])
def test_truncated_answers_keep_their_headers(sandbox: RunningSandbox, go: Go, size: int, keep: int) -> None:
    attachment = {"filename": "a.bin", "content": b"x" * size}
    link = sandbox.inbound("go_integrate", attachments=[attachment])
    sandbox.faults([{"service": "go_integrate", "truncate_at": keep, "times": 1}])
    with requests.get(f"{go.base}/get-message/{link}", headers=go.headers(), stream=True, timeout=5) as response:
        assert (response.status_code, response.headers["Content-Length"]) == (200, str(size))
        assert response.headers["Message-Link"] == link
        received = b""
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for chunk in response.iter_content(1):
                received += chunk
        assert len(received) == keep
    assert go.get(f"get-message/{link}").status_code == 200


def test_truncated_json(sandbox: RunningSandbox, go: Go) -> None:
    sandbox.inbound("go_integrate", text="x")
    whole = len(go.get("list-messages").content)
    sandbox.faults([{"service": "go_integrate", "truncate_at": 5}])
    with requests.get(f"{go.base}/list-messages", headers=go.headers(), stream=True, timeout=5) as response:
        assert response.headers["Content-Length"] == str(whole)
        assert response.raw.read(5) == b'[{"li'


def test_large_bodies_are_read_before_an_early_answer(sandbox: RunningSandbox, go: Go) -> None:
    sandbox.faults([{"service": "go_integrate", "status": 413}])
    assert go.send(b"x" * (4 << 20)).status_code == 413
    sandbox.clear_faults()
    go.secret = "wrong"
    assert go.send(b"x" * (4 << 20)).status_code == 401
    assert [entry["body_size"] > 4 << 20 for entry in sandbox.journal()] == [True, True]


def test_a_client_that_gives_up_leaves_nothing_behind(sandbox: RunningSandbox, go: Go) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    headers = {**go.send_headers(b"x"), "Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1000000"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    part = '--b\r\nContent-Disposition: form-data; name="data"; filename="f"\r\n\r\n'
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"POST /go-integrate/1/send-message HTTP/1.1\r\nHost: x\r\n{head}\r\n{part}xxx".encode())
        time.sleep(0.2)
    assert go.get("list-messages").status_code == 200
    assert sandbox.messages("go_integrate")["sent"] == []


GARBAGE = [
    "null",
    "[]",
    "{}",
    "1e400",
    "-1",
    '"\\ud800"',
    "[[[]]]",
    '{"a": {"b": []}}',
    "1" * 4000,
    '"' + "x" * 5000 + '"',
]
FIELDS = [
    "contacts",
    "groups",
    "text",
    "scheduled_at",
    "message",
    "phone",
    "unique_id",
    "date",
    "read",
    "limit",
    "page",
]


@pytest.mark.parametrize(
    "target",
    [
        "/sendhub/v1/messages/?username={username}&api_key={api_key}",
        "/sendhub/v1/contacts/?username={username}&api_key={api_key}",
        "/sendhub/v1/groups/?username={username}&api_key={api_key}",
        "/liquidfiles/message",
        "/liquidfiles/login",
        "/mdi/api/v2/messages.json",
        "/mdi/api/v2/session.json",
        "/serwersms/messages/recived",
        "/serwersms/messages/send_sms",
        "/serwersms/messages/reports",
        "/serwersms/messages/delete",
    ],
)
def test_garbage_never_makes_a_server_error(sandbox: RunningSandbox, http: requests.Session, target: str) -> None:
    credentials = sandbox.credentials
    login = {name: credentials["mdi"][name] for name in ("username", "password", "client")}
    http.post(f"{sandbox.url}/mdi/api/v2/session.json", data=login, timeout=5)
    url = sandbox.url + target.format_map(credentials["sendhub"])
    token = credentials["liquidfiles"]["api_key"] if "liquidfiles" in target else credentials["serwersms"]["token"]
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers |= {} if "sendhub" in target else {"Authorization": f"Bearer {token}"}
    for value in GARBAGE:
        everywhere = ", ".join(f'"{name}": {value}' for name in FIELDS)
        in_text = f'"contacts": [1111], "phone": "+48500600700", "text": {value}, "name": {value}, "number": {value}'
        for body in (value, f"{{{everywhere}}}", f'{{{in_text}, "message": {{{everywhere}}}}}'):
            response = http.post(url, data=body, headers=headers, timeout=5)
            assert response.status_code < 500, (body[:200], response.text)
            assert response.status_code != 401 or "session" in target or "login" in target
    assert requests.get(f"{sandbox.url}/_sandbox/", timeout=5).status_code == 200
    assert requests.get(f"{sandbox.url}/_sandbox/messages", timeout=5).status_code == 200


def test_many_requests_can_be_held(sandbox: RunningSandbox, go: Go) -> None:
    link = sandbox.inbound("go_integrate", text="x")
    statuses: list[int] = []
    waiters = [
        threading.Thread(
            target=lambda: statuses.append(Go(sandbox, requests.Session()).get(f"wait-next-message/{link}").status_code)
        )
        for _ in range(30)
    ]
    for waiter in waiters:
        waiter.start()
    time.sleep(0.3)
    sandbox.inbound("go_integrate", text="y")
    for waiter in waiters:
        waiter.join()
    assert statuses == [200] * 30
