"""The documents' curl recipes work against the sandbox."""

import json
from pathlib import Path

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox

from .clients import eventually
from .recipes import run, sample, sample_json

GO_HOST = "https://eu-nl.api.go-integrate.me/1/"


@pytest.fixture
def go_variables(sandbox: RunningSandbox) -> dict[str, str]:
    credentials = sandbox.credentials["go_integrate"]
    return {"ROUTE": credentials["route"], "KEY_SECRET": credentials["key_secret"], "ID": "12345"}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Warsaw", "XXX-3"])
def test_go_integrate_sends_and_receives(
    sandbox: RunningSandbox, go_variables: dict[str, str], tmp_path: Path, zone: str
) -> None:
    host = {GO_HOST: f"{sandbox.url}/go-integrate/1/"}
    peer = sandbox.credentials["go_integrate"]["peer_route"]
    (tmp_path / "file.txt").write_bytes(b"the file\n")
    variables = {**go_variables, "TZ": zone}
    first = sandbox.inbound("go_integrate", text="first")

    assert run(sample("go_integrate/send-message.curl"), host, tmp_path, "file.txt", peer, **variables) == ""
    assert sandbox.journal("go_integrate")[-1]["status"] == 200

    run(
        sample("go_integrate/wait-next-message.curl"), {**host, "-o data": "-m 5 -o data"}, tmp_path, first, **variables
    )
    assert (tmp_path / "data").read_bytes() == b"the file\n"
    assert "Message-File-Name: file.txt" in (tmp_path / "headers").read_text()

    run(sample("go_integrate/list-messages.curl"), host, tmp_path, **variables)
    links = [message["link"] for message in json.loads((tmp_path / "data").read_text())]
    assert links[0] == first
    run(sample("go_integrate/get-message.curl"), host, tmp_path, links[1], **variables)
    assert (tmp_path / "data").read_bytes() == b"the file\n"
    run(sample("go_integrate/get-next-message.curl"), host, tmp_path, first, **variables)
    assert f"Message-Link: {links[1]}" in (tmp_path / "headers").read_text()


def test_go_integrate_unknown_recipient(sandbox: RunningSandbox, go_variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"x")
    host = {GO_HOST: f"{sandbox.url}/go-integrate/1/"}
    run(sample("go_integrate/send-message.curl"), host, tmp_path, "file.txt", "ef01@1234abcd", **go_variables)
    assert sandbox.journal("go_integrate")[-1]["status"] == 404


def test_liquidfiles_lists_shows_and_downloads_once(sandbox: RunningSandbox, tmp_path: Path) -> None:
    attachment = {"filename": "secret_image.jpg", "content": b"\xff\xd8jpeg", "content_type": "image/jpeg"}
    message_id = sandbox.inbound("liquidfiles", text="Test Message", subject="test subject", attachments=[attachment])
    host = {"https://test.host": f"{sandbox.url}/liquidfiles"}
    key = {"api_key": sandbox.credentials["liquidfiles"]["api_key"]}

    [listed] = json.loads(run(sample("liquidfiles/inbox.curl"), host, tmp_path, **key))["messages"]
    assert listed["id"] == message_id
    with_id = {**host, "1p4EHkeNzM5b2qO7kyNEIy": message_id}
    shown = json.loads(run(sample("liquidfiles/message.curl"), with_id, tmp_path, **key))["messages"]
    assert shown["subject"] == "test subject"

    _, attachment_id, token, _ = shown["attachments"][0]["url"].rsplit("/", 3)
    download = {**with_id, "ZfYoatTMcYQLX0qUutOate": attachment_id, "A3ohjLyybRyFMj9x65KbzE": token}
    assert run(sample("liquidfiles/attachment.curl") + " | base64", download, tmp_path, **key) == "/9hqcGVn\n"
    assert json.loads(run(sample("liquidfiles/attachment.curl"), download, tmp_path, **key))["errors"]


def test_mdi_with_a_cookie_jar(sandbox: RunningSandbox, tmp_path: Path) -> None:
    base = f"{sandbox.url}/mdi/api/v2"
    credentials = sandbox.credentials["mdi"]
    fields = " ".join(f"-F '{name}={credentials[name]}'" for name in ("username", "password", "client"))
    run(f"curl -s {base}/session.json {fields} -c mdi.cookie", {}, tmp_path)
    host = {"http://g8teway.com/api/v2": base}

    created = json.loads(run(sample("mdi/create-message.curl"), host, tmp_path))["message"]
    assert created["content"] == "test"
    listed = json.loads(run(sample("mdi/list-messages.curl"), host, tmp_path))
    assert [entry["message"]["content"] for entry in listed] == ["test"]


def test_sendhub_sends(sandbox: RunningSandbox, tmp_path: Path) -> None:
    credentials = sandbox.credentials["sendhub"]
    replace = {
        "https://api.sendhub.com/v1": f"{sandbox.url}/sendhub/v1",
        "USERNAME": credentials["username"],
        "APIKEY": credentials["api_key"],
    }
    answer = json.loads(run(sample("sendhub/send-message.curl"), replace, tmp_path))
    assert answer["contacts"] == [1111]
    eventually(lambda: sandbox.messages("sendhub")["waiting"])


@pytest.mark.parametrize("name", ["send-message", "send-many", "schedule"])
def test_sendhub_takes_the_sample_bodies(sandbox: RunningSandbox, http: requests.Session, name: str) -> None:
    credentials = sandbox.credentials["sendhub"]
    answer = http.post(
        f"{sandbox.url}/sendhub/v1/messages/",
        params={"username": credentials["username"], "api_key": credentials["api_key"]},
        json=sample_json(f"sendhub/{name}.request.json"),
        timeout=10,
    )
    assert answer.status_code == 201
