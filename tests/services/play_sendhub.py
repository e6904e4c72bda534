"""A SendHub client and canned answers for its tests."""

from datetime import UTC, datetime

from airflow_messaging.messages import Draft, as_recipients
from airflow_messaging.services.sendhub import SendHub

from .play import SetClock, answer, sample

NUMBER = "+16505551234"
SENT = sample("sendhub/send-message.json")


def make(**options):
    base = "https://api.sendhub.com/v1/"
    return SendHub(base, **{"username": "USER", "api_key": "K/E Y", "clock": SetClock(), **options})


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def entry(id_, sent="2024-10-28T20:00:00", unread=True, **more):
    record = {"id": id_, "contacts": [1111], "direction": "from", "sent": sent, "text": f"text {id_}", "unread": unread}
    return {**record, "type": "message-in", **more}


def outbound(id_, sent="2024-10-28T20:00:00"):
    return entry(id_, sent, None, direction="to", type="message-out")


def conversation(id_, sent="2024-10-28T20:00:00", unread=True, **more):
    return {"id": 9, "threadId": id_, "contacts": [2222], "sent": sent, "unread": unread, **more}


def listing(*objects, following=None):
    return answer({"meta": {"limit": 100, "next": following, "offset": 0, "previous": None}, "objects": list(objects)})


def neutral(service, *, to="1111", **given):
    return service.send(Draft(**{"to": as_recipients(to), "text": "Testing", "message_id": "m", **given}))
