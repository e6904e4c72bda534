"""A Go Integrate Me client and canned answers for its tests."""

import subprocess
from email.utils import format_datetime

from airflow_messaging.messages import Draft, as_recipients, upload_from_bytes
from airflow_messaging.services.go_integrate import GoIntegrate

from .play import NOW, SetClock, answer, sample

ROUTE = "abcd@abcdef01"
PEER = "ef01@1234abcd"
SECRET = "s3cret/KEY"
FILE = upload_from_bytes("file.txt", b"hello", content_type="text/plain")
LINK = "1f393c2d-23e3-7T7GjLMBbU"
GET_HEAD = sample("go_integrate/get-message.headers")
LIST = sample("go_integrate/list-messages.json")


def make(now=NOW, **options):
    base = "https://eu-nl.api.go-integrate.me/1/"
    service = GoIntegrate(base, **{"route": ROUTE, "key_secret": SECRET, "clock": SetClock(now), **options})
    service.secrets = []
    service.on_secret = service.secrets.append
    return service


def sha512sum(text):
    """The oracle: the same tool as in the documents' scripts, and none of Python's."""
    return subprocess.run(["sha512sum"], input=text.encode(), capture_output=True, check=True).stdout[:128].decode()


def md5sum(data):
    return subprocess.run(["md5sum"], input=data, capture_output=True, check=True).stdout[:32].decode()


def fetched(link=LINK, name="a.txt", body=b"hello"):
    return answer(body, Message_Link=link, Message_File_Name=name, Content_Length=str(len(body)))


def dated(when, status=200):
    return answer("[]", status, Date=format_datetime(when, usegmt=True))


def listing(*links):
    return answer(
        [{"link": link, "received_date": when, "expiration_date": "2024-10-29 00:00:00"} for link, when in links]
    )


def neutral(service, *, to=PEER, **given):
    return service.send(Draft(**{"to": as_recipients(to), "text": "hi", "message_id": "12345", **given}))
