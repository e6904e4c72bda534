"""A SerwerSMS client and canned answers for its tests."""

from datetime import UTC, datetime

from airflow_messaging.messages import Draft, Message, as_recipients
from airflow_messaging.services.serwersms import SerwerSms

from .play import NOW, SetClock, answer, sample

PHONE = "+48500600700"
RECIVED = sample("serwersms/recived.json")


def make(zone=UTC, now=NOW, password="p&ss wörd"):
    base = "https://api2.serwersms.pl/"
    return SerwerSms(base, username="demo", password=password, clock=SetClock(now), zone=zone)


def item(id_, recived="2024-10-28 20:00:00", phone=PHONE, **more):
    return {"id": id_, "type": "nd", "phone": phone, "recived": recived, "blacklist": False, "text": "hi", **more}


def page(*items, number=1, count=1):
    return answer({"items": list(items), "paging": {"page": number, "count": count}})


def message(id_, when="2024-10-28T20:00:00+00:00", sender=PHONE):
    return Message(service="serwersms", id=id_, sender=sender, received_at=datetime.fromisoformat(when))


def neutral(service, *, to=PHONE, **given):
    return service.send(Draft(**{"to": as_recipients(to), "text": "hi", "message_id": "dag-run-1", **given}))
