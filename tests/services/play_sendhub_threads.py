"""SendHub's address book, conversations and files, for the tests of its longer flows."""

from airflow_messaging.messages import upload_from_bytes

from .play import run_flow
from .play_sendhub import NUMBER

OTHER = "+16505551235"
FILE = upload_from_bytes("plan żółty.png", b"\x89PNG", content_type="image/png")
URL = "https://cdn.example.com/secret-token/a%20b.png?x=1"
BOOK = ({"id": 1111, "name": "Alice", "number": NUMBER}, {"id": 1112, "name": "Bob", "number": OTHER})


def play(service, flow, *responses):
    return run_flow(flow, responses, service).result


def inbound(id_="5", **more):
    record = {"id": id_, "contacts": [1111], "direction": "from", "sent": "2024-10-28T20:00:00", "text": "see"}
    return {**record, "type": "message-in", "unread": True, **more}


def conversation(id_=9, contact=1111, sent="2024-10-28T20:00:00", **more):
    return {"threadId": id_, "contacts": [contact], "sent": sent, "created_at": sent, "unread": True, **more}
