import hashlib
import re
import threading
import time
from datetime import UTC, datetime

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox

from .clients import Go, eventually, shifted
from .recipes import header_names, sample

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length"}


def names(response: requests.Response) -> set[str]:
    return {name.lower() for name in response.headers} - HOP_BY_HOP


def error_of(response: requests.Response) -> int:
    assert response.content == b""
    found = re.fullmatch(r"code=(\d+); message=.+", response.headers["error"])
    assert found
    return int(found[1])


def test_answers_have_the_headers_of_the_samples(go: Go) -> None:
    sent = go.send()
    assert (sent.status_code, sent.content) == (200, b"")
    assert names(sent) == header_names("go_integrate/send-message.ok.headers") - HOP_BY_HOP
    assert re.fullmatch(r"\d{14}-[0-9a-f]{16}", sent.headers["request-id"])
    assert sent.headers["Transfer-Encoding"] == "chunked"

    refused = go.send(to="ef01@1234abcd")
    assert refused.status_code == 404
    assert names(refused) == header_names("go_integrate/send-message.404.headers") - HOP_BY_HOP
    assert f"error: {refused.headers['error']} " in sample("go_integrate/send-message.404.headers")

    [link] = eventually(go.links)
    got = go.get(f"get-message/{link}")
    assert names(got) == header_names("go_integrate/get-message.headers") - HOP_BY_HOP
    assert got.headers["Content-Disposition"] == "attachment; filename=file.txt"
    assert (got.headers["Message-Link"], got.content) == (link, b"hello")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9A-Za-z]{10}", link)


def test_list_has_the_shape_of_the_sample(sandbox: RunningSandbox, go: Go) -> None:
    link = sandbox.inbound("go_integrate", text="x", expires_after=120)
    [listed] = go.get("list-messages").json()
    assert sample("go_integrate/list-messages.json").startswith("[ { " + '"link":"')
    assert list(listed) == ["link", "received_date", "expiration_date"]
    received, expires = (datetime.fromisoformat(listed[name]) for name in ("received_date", "expiration_date"))
    assert listed["link"] == link
    assert (expires - received).total_seconds() == 120


def test_both_routes_send_and_receive(sandbox: RunningSandbox, go: Go) -> None:
    go.send(b"to the peer", at=shifted(-1))
    go.as_peer()
    assert [go.get(f"get-message/{link}").content for link in go.links()] == [b"to the peer"]
    go.send(b"back")
    go.as_peer()
    [link] = eventually(go.links)
    assert go.get(f"get-message/{link}").content == b"back"


@pytest.mark.parametrize("offset", [-300, 300])
def test_time_may_deviate_by_five_minutes(sandbox: RunningSandbox, go: Go, offset: int) -> None:
    sandbox.clock(offset, frozen=True)
    now = requests.get(f"{sandbox.url}/_sandbox/clock", timeout=5).json()["now"]
    moment = datetime.fromisoformat(now)
    assert go.get("list-messages", at=shifted(-offset, moment)).status_code == 200
    beyond = -offset - 1 if offset > 0 else -offset + 1
    refused = go.get("list-messages", at=shifted(beyond, moment))
    assert (refused.status_code, error_of(refused)) == (401, 103)
    assert refused.headers["Date"] == moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


def test_timestamp_without_offset_is_utc(go: Go) -> None:
    assert go.get("list-messages", at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")).status_code == 200
    assert go.get("list-messages", at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")).status_code == 200


@pytest.mark.parametrize(
    "timestamp", ["0", "yesterday", "2024-10-24", "2024-13-24T22:51:00", "20241024T225100", "1729810260"]
)
def test_malformed_timestamps_are_refused(go: Go, timestamp: str) -> None:
    response = go.get("list-messages", at=timestamp)
    assert (response.status_code, error_of(response)) == (400, 104)


def test_the_string_signed_must_be_the_string_sent(go: Go) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    response = go.get("list-messages", at=now, sign_at=now + "+00:00")
    assert (response.status_code, error_of(response)) == (401, 102)


def test_a_wrong_signature_or_route_is_refused(go: Go) -> None:
    assert error_of(go.get("list-messages", signed="x")) == 102
    upper = {name: value.upper() if name == "request-key" else value for name, value in go.headers().items()}
    assert error_of(go.http.get(f"{go.base}/list-messages", headers=upper, timeout=5)) == 102
    go.route = "0000@00000000"
    refused = go.get("list-messages")
    assert (refused.status_code, error_of(refused)) == (401, 101)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"message-priority": "high"}, 104),
        ({"pay-for-reply": "0"}, 104),
        ({"message-expires-after": "0"}, 104),
        ({"message-expires-after": "soon"}, 104),
        ({"message-expires-after": str(31 * 86400)}, 104),
        ({"message-md5": "zz"}, 104),
        ({"message-md5": "d41d8cd98f00b204e9800998ecf8427e"}, 203),
    ],
)
def test_wrong_fields_are_refused(go: Go, changed: dict[str, str], code: int) -> None:
    response = go.send(**changed)
    assert (response.status_code, error_of(response)) == (400, code)


def test_a_file_is_required(go: Go) -> None:
    headers = go.send_headers(b"hello")
    bodies = {
        "no multipart": {"data": b"hello"},
        "other name": {"files": {"file": ("file.txt", b"hello")}},
        "no filename": {"files": {"data": (None, b"hello")}},
    }
    for body in bodies.values():
        response = go.http.post(f"{go.base}/send-message", headers=headers, timeout=5, **body)
        assert (response.status_code, error_of(response)) == (400, 104)


def test_a_request_key_sends_only_once_but_gets_often(sandbox: RunningSandbox, go: Go) -> None:
    headers = go.send_headers(b"hello")
    assert go.post(headers, b"hello").status_code == 200
    repeated = go.post(headers, b"hello")
    assert (repeated.status_code, error_of(repeated)) == (409, 105)
    now = shifted(0)
    assert [go.get("list-messages", at=now).status_code for _ in range(3)] == [200] * 3


def test_a_refused_message_does_not_use_its_key_up(go: Go) -> None:
    headers = go.send_headers(b"hello")
    assert error_of(go.post(headers, b"other")) == 203
    assert go.post(headers, b"hello").status_code == 200


def test_expiry_is_real(sandbox: RunningSandbox, go: Go) -> None:
    first = sandbox.inbound("go_integrate", text="gone soon", expires_after=60)
    second = sandbox.inbound("go_integrate", text="stays", expires_after=600)
    sandbox.clock(61)
    now = shifted(61)
    assert [message["link"] for message in go.get("list-messages", at=now).json()] == [second]
    assert error_of(go.get(f"get-message/{first}", at=now)) == 202
    following = go.get(f"get-next-message/{first}", at=now)
    assert following.headers["Message-Link"] == second
    assert sandbox.messages("go_integrate")["waiting"][0]["id"] == second


def test_next_goes_by_order_of_arrival_even_when_the_clock_goes_back(sandbox: RunningSandbox, go: Go) -> None:
    first = sandbox.inbound("go_integrate", text="1")
    sandbox.clock(-100)
    second = sandbox.inbound("go_integrate", text="2")
    assert go.get(f"get-next-message/{first}", at=shifted(-100)).headers["Message-Link"] == second
    last = go.get(f"get-next-message/{second}", at=shifted(-100))
    assert (last.status_code, error_of(last)) == (404, 202)


@pytest.mark.parametrize("method", ["get-message", "get-next-message", "wait-next-message"])
def test_unknown_links_are_refused_at_once(go: Go, method: str) -> None:
    response = go.get(f"{method}/1f393c2d-23e3-JZ0TstJk39")
    assert (response.status_code, error_of(response)) == (404, 202)


def test_wait_holds_until_a_message_comes(sandbox: RunningSandbox, go: Go) -> None:
    link = sandbox.inbound("go_integrate", text="before")
    timer = threading.Timer(0.4, lambda: sandbox.inbound("go_integrate", text="after"))
    begun = time.monotonic()
    timer.start()
    response = go.get(f"wait-next-message/{link}")
    assert 0.35 < time.monotonic() - begun < 1.4
    assert response.content == b"after"
    assert go.get(f"wait-next-message/{link}").content == b"after"


def test_wait_ends_cleanly_without_a_message(sandbox: RunningSandbox, go: Go) -> None:
    link = sandbox.inbound("go_integrate", text="before")
    begun = time.monotonic()
    response = go.get(f"wait-next-message/{link}")
    assert time.monotonic() - begun > 1.4  # the fixture's hold is 1.5 s
    assert (response.status_code, response.content) == (204, b"")


def test_hostile_names_and_contents_pass_through(sandbox: RunningSandbox, go: Go) -> None:
    content = bytes(range(256)) + b"\r\n--boundary\r\n--" * 3
    go.post(go.send_headers(content), content, filename='../ü"x.bin')
    [link] = eventually(go.links)
    response = go.get(f"get-message/{link}")
    assert response.content == content
    assert response.headers["Message-File-Name"].encode("latin-1").decode() == '../ü"x.bin'


def test_large_messages_are_spooled_and_come_back_whole(sandbox: RunningSandbox, go: Go) -> None:
    content = b"0123456789abcdef" * (5 << 16)
    assert go.send(content).status_code == 200
    [link] = eventually(go.links)
    assert hashlib.sha256(go.get(f"get-message/{link}").content).digest() == hashlib.sha256(content).digest()
    entry = next(record for record in sandbox.journal("go_integrate") if record["method"] == "POST")
    assert entry["body_size"] > len(content)


def test_ping_needs_no_signature_but_checks_one(go: Go) -> None:
    assert go.http.get(f"{go.base}/ping", timeout=5).status_code == 200
    assert go.get("ping").status_code == 200
    assert go.get("ping", signed="x").status_code == 401


def test_unknown_methods_are_refused_in_the_header(go: Go) -> None:
    assert error_of(go.http.get(f"{go.base}/delete-message", timeout=5)) == 104
    assert go.http.get(f"{go.base}/send-message", timeout=5).status_code == 405
