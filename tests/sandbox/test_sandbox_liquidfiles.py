import hashlib
import socket
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox

from .clients import eventually
from .recipes import sample_json

PICTURE = {"filename": "picture.gif", "content": b"GIF89a", "content_type": "image/gif"}


class Liquid:
    def __init__(self, sandbox: RunningSandbox, http: requests.Session) -> None:
        self.base = sandbox.url + "/liquidfiles"
        self.key = sandbox.credentials["liquidfiles"]["api_key"]
        self.recipient = sandbox.credentials["liquidfiles"]["recipient"]
        self.http = http

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Accept": "application/json", **options.pop("headers", {})}
        options.setdefault("auth", (self.key, "x"))
        return self.http.request(method, self.base + path, headers=headers, timeout=10, **options)

    def inbox(self, query: str = "") -> list[dict[str, Any]]:
        return self("GET", "/messages/inbox" + query).json()["messages"]

    def send(self, **fields: Any) -> requests.Response:
        return self("POST", "/message", json={"message": {"recipients": [self.recipient], **fields}})

    def upload(self, content: bytes, query: str) -> requests.Response:
        return self("POST", "/message/attachments/upload?" + query, data=content)


@pytest.fixture
def liquid(sandbox: RunningSandbox, http: requests.Session) -> Liquid:
    return Liquid(sandbox, http)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def test_messages_have_the_shape_of_the_samples(sandbox: RunningSandbox, liquid: Liquid) -> None:
    message_id = sandbox.inbound("liquidfiles", text="Test Message", subject="test subject", attachments=[PICTURE])
    [expected] = sample_json("liquidfiles/inbox.json")["messages"]
    [listed] = liquid.inbox()
    newer = {"bccs": "list"}  # newer documents have it, the sample does not
    assert shape(expected).keys() | newer.keys() == shape(listed).keys()
    assert {name: shape(listed)[name] for name in expected if name != "ccs"} == {
        name: kind for name, kind in shape(expected).items() if name != "ccs"
    }
    shown = liquid("GET", f"/message/{message_id}").json()
    assert shown["message"] == shown["messages"]
    assert shape(shown["messages"]) == shape(listed)
    created = datetime.fromisoformat(listed["created_at"])
    assert listed["expires_at"] == str((created + timedelta(days=14)).date())


def test_digests_are_those_of_the_vendor(sandbox: RunningSandbox, liquid: Liquid) -> None:
    content = next(data for data in (str(n).encode() for n in range(10_000)) if zlib.crc32(data) < 1 << 24)
    sandbox.inbound("liquidfiles", attachments=[{"filename": "a", "content": content}])
    [attachment] = liquid.inbox()[0]["attachments"]
    assert attachment["checksum"] == hashlib.sha256(content).hexdigest()
    assert attachment["crc32"] == f"{zlib.crc32(content):x}"
    assert len(attachment["crc32"]) < 8


def test_the_key_is_checked(liquid: Liquid) -> None:
    refused = liquid("GET", "/messages/inbox", auth=("wrong", "x"))
    assert (refused.status_code, refused.headers["Content-Type"]) == (401, "text/plain; charset=utf-8")
    no_auth = requests.get(f"{liquid.base}/messages/inbox", headers={"Accept": "application/json"}, timeout=5)
    assert no_auth.status_code == 401
    for scheme in ("Bearer", "bearer"):
        bearer = {"Authorization": f"{scheme} {liquid.key}", "Accept": "application/json"}
        assert requests.get(f"{liquid.base}/messages/inbox", headers=bearer, timeout=5).status_code == 200
    garbage = {"Authorization": "Basic !!!", "Accept": "application/json"}
    assert requests.get(f"{liquid.base}/messages/inbox", headers=garbage, timeout=5).status_code == 401


def test_login_gives_the_key(sandbox: RunningSandbox, liquid: Liquid) -> None:
    credentials = sandbox.credentials["liquidfiles"]
    user = {"email": credentials["email"], "password": credentials["password"]}
    assert liquid("POST", "/login", json={"user": user}, auth=None).json() == {"user": {"api_key": liquid.key}}
    refused = liquid("POST", "/login", json={"user": {**user, "password": "x"}}, auth=None)
    assert (refused.status_code, list(refused.json())) == (401, ["errors"])


def test_json_must_be_asked_for(liquid: Liquid) -> None:
    response = liquid("GET", "/messages/inbox", headers={"Accept": "*/*"})
    assert (response.status_code, response.headers["Content-Type"]) == (406, "text/html; charset=utf-8")


def test_inbox_filters(sandbox: RunningSandbox, liquid: Liquid) -> None:
    sandbox.clock(-3 * 86400)
    old = sandbox.inbound("liquidfiles", text="old")
    sandbox.clock(0)
    new = sandbox.inbound("liquidfiles", text="new")
    today = datetime.now(UTC).date()
    assert [message["id"] for message in liquid.inbox()] == [new, old]
    assert [message["id"] for message in liquid.inbox("?sent_in_the_last=24")] == [new]
    assert [message["id"] for message in liquid.inbox("?sent_in_the_last=73")] == [new, old]
    assert [message["id"] for message in liquid.inbox(f"?sent_after={today - timedelta(days=1)}")] == [new]
    for bad in ("sent_after=yesterday", "sent_after=2024-02-31", "sent_in_the_last=x"):
        refused = liquid("GET", f"/messages/inbox?{bad}")
        assert (refused.status_code, len(refused.json()["errors"])) == (422, 1)


def test_expiry_is_real(sandbox: RunningSandbox, liquid: Liquid) -> None:
    gone = sandbox.inbound("liquidfiles", text="gone", expires_after=60)
    stays = sandbox.inbound("liquidfiles", text="stays")
    sandbox.clock(61)
    assert [message["id"] for message in liquid.inbox()] == [stays]
    assert liquid("GET", f"/message/{gone}").status_code == 404
    sandbox.clock(15 * 86400)
    assert liquid.inbox() == []


def test_urls_work_once(sandbox: RunningSandbox, liquid: Liquid) -> None:
    message_id = sandbox.inbound("liquidfiles", attachments=[PICTURE])

    def url() -> str:
        return liquid("GET", f"/message/{message_id}").json()["message"]["attachments"][0]["url"]

    first = url()
    get: Callable[[str], requests.Response] = lambda link: liquid("GET", link.removeprefix(liquid.base))  # noqa: E731
    assert requests.get(first, timeout=5).status_code == 401
    downloaded = get(first)
    assert (downloaded.content, downloaded.headers["Content-Type"]) == (b"GIF89a", "image/gif")
    assert get(first).status_code == 404
    second = url()
    assert second != first
    assert get(second).content == b"GIF89a"


def test_an_interrupted_download_does_not_use_the_url_up(sandbox: RunningSandbox, liquid: Liquid) -> None:
    sandbox.inbound("liquidfiles", attachments=[PICTURE])
    url = liquid.inbox()[0]["attachments"][0]["url"]
    sandbox.faults([{"service": "liquidfiles", "path": "picture.gif", "truncate_at": 3, "times": 1}])
    with pytest.raises(requests.exceptions.RequestException):
        liquid("GET", url.removeprefix(liquid.base))
    assert liquid("GET", url.removeprefix(liquid.base)).content == b"GIF89a"


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b.txt", "ü#?.txt", "..", "%2e%2e"])
def test_any_file_name_can_be_downloaded(sandbox: RunningSandbox, liquid: Liquid, name: str) -> None:
    sandbox.inbound("liquidfiles", attachments=[{**PICTURE, "filename": name}])
    [attachment] = liquid.inbox()[0]["attachments"]
    assert attachment["filename"] == name
    if name != "..":  # clients resolve dots themselves
        assert liquid("GET", attachment["url"].removeprefix(liquid.base)).content == b"GIF89a"


def test_circle_with_attachments(sandbox: RunningSandbox, liquid: Liquid) -> None:
    uploaded = liquid.upload(b"content", "filename=report.csv").json()["attachment"]
    assert (uploaded["filename"], uploaded["content_type"], uploaded["size"]) == ("report.csv", "text/csv", 7)
    assert uploaded["assembled"] is True
    answer = liquid.send(subject="Report", message="see file", attachments=[uploaded["id"]])
    assert answer.status_code == 200
    assert [entry["id"] for entry in liquid("GET", "/messages/sent").json()["sent"]] == [answer.json()["message"]["id"]]
    [echo] = eventually(liquid.inbox)
    assert (echo["sender"], echo["subject"], echo["message"]) == (liquid.recipient, "Re: Report", "see file")
    [attachment] = echo["attachments"]
    assert attachment["id"] != uploaded["id"]
    assert liquid("GET", attachment["url"].removeprefix(liquid.base)).content == b"content"


def test_uploads_in_chunks(liquid: Liquid) -> None:
    query = "filename=big.bin&chunks=3&chunk="
    parts = [b"a" * (2 << 20), b"b" * 10, b"c"]
    blank = [liquid.upload(part, f"{query}{number}") for number, part in enumerate(parts[:2])]
    assert [(response.status_code, response.content) for response in blank] == [(200, b"")] * 2
    assert liquid.upload(parts[1], query + "1").status_code == 200  # its answer may have been lost
    assert liquid.upload(b"x", "filename=other.bin&chunks=3&chunk=1").status_code == 422
    done = liquid.upload(parts[2], query + "2").json()["attachment"]
    assert done["checksum"] == hashlib.sha256(b"".join(parts)).hexdigest()
    assert liquid.upload(parts[2], query + "2").status_code == 422
    assert liquid.upload(b"x", "filename=big.bin&chunks=3&chunk=3").status_code == 422
    assert liquid.upload(b"x", "content_type=text/plain").status_code == 422


def test_upload_with_chunked_transfer_and_old_form(liquid: Liquid) -> None:
    streamed = liquid("POST", "/message/attachments/upload?filename=s.txt&content_type=x/y", data=iter([b"ab", b"c"]))
    assert (streamed.json()["attachment"]["size"], streamed.json()["attachment"]["content_type"]) == (3, "x/y")
    form = liquid("POST", "/attachments", data={"name": "named.txt"}, files={"Filedata": ("f.txt", b"old")})
    listed = {entry["id"]: entry["filename"] for entry in liquid("GET", "/attachments").json()["attachments"]}
    assert listed[form.text] == "named.txt"
    assert liquid.send(attachments=[form.text]).json()["message"]["size"] == 3


def test_deletions(sandbox: RunningSandbox, liquid: Liquid) -> None:
    message_id = sandbox.inbound("liquidfiles", attachments=[PICTURE, PICTURE])
    first = liquid.inbox()[0]["attachments"][0]["id"]
    assert liquid("DELETE", f"/message/attachments/{first}").content == b""
    assert len(liquid.inbox()[0]["attachments"]) == 1
    assert liquid("DELETE", f"/message/{message_id}/delete_attachments").status_code == 200
    assert liquid.inbox()[0]["attachments"] == []
    assert liquid("DELETE", f"/attachments/{first}").status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"recipients": []},
        {"recipients": "robin@peer.example"},
        {"recipients": ["nobody"]},
        {"recipients": [1]},
        {"attachments": ["unknown"]},
        {"attachments": {"a": 1}},
        {"authorization": 7},
        {"authorization": True},
        {"expires_at": "tomorrow"},
        {"expires_at": "2011-07-23"},
        {"subject": 1},
        {"expires_after": "soon"},
    ],
)
def test_invalid_messages_are_refused_with_a_list(liquid: Liquid, fields: dict[str, Any]) -> None:
    response = liquid.send(**fields)
    assert response.status_code == 422
    assert all(isinstance(error, str) for error in response.json()["errors"])


def test_malformed_bodies_and_paths(liquid: Liquid) -> None:
    json_type = {"Content-Type": "application/json"}
    assert liquid("POST", "/message", data=b"{", headers=json_type).status_code == 400
    assert liquid("POST", "/message", data=b"[]", headers=json_type).status_code == 400
    assert liquid("POST", "/message", json={"message": 1}).status_code == 422
    assert liquid("GET", "/nowhere").json()["errors"]


def test_absolute_request_targets_work(sandbox: RunningSandbox, liquid: Liquid) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    target = f"{liquid.base}/messages/inbox"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
            f"Authorization: Bearer {liquid.key}\r\nConnection: close\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
