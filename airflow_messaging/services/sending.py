"""Sending: what a service refuses beforehand, which message an attempt has sent, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from airflow_messaging.exceptions import DeliveryFailed, InvalidInput, Shown, UnsupportedFeature
from airflow_messaging.messages import Draft, Status, has_reached
from airflow_messaging.services.base import Flow, Service, T, require

ZONES_DIFFER_BY = timedelta(minutes=15)
"""Zones lie a multiple of this apart."""

ZONES_DIFFER_UP_TO = timedelta(hours=14)
"""How far a mistaken zone may be from the right one. A message of every day at the same time is surely another."""

LONGEST_SEND = timedelta(minutes=10)
"""How long after the first attempt began a message may have been accepted, where only a zone could explain its time."""

CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""How far a service's times may be ahead of its ``Date`` header."""

_ZONE_UNSURE = (
    "telling whether a message was sent: the same one is there, earlier or later by about as much as zones differ. "
    "Is 'timezone' right in the connection?"
)


def refuse(service: Service, draft: Draft, **lacking: str) -> None:
    """Refuse a draft that needs what a service cannot express.

    :param service: The service.
    :param draft: The draft.
    :param lacking: For each field that has to be empty, what the service lacks, in words.
    :raises UnsupportedFeature: If one of them is not empty.
    """
    for field, feature in lacking.items():
        if getattr(draft, field):
            raise UnsupportedFeature(service.name, feature)


def one_recipient(service: Service, to: tuple[str, ...]) -> str:
    """Return the only recipient, for services that address one at a time.

    :param service: The service.
    :param to: The draft's recipients.
    :raises InvalidInput: If there is none, or one is empty or no text.
    :raises UnsupportedFeature: If there are several.
    """
    usable = to and all(isinstance(recipient, str) and recipient for recipient in to)
    require(usable, "to", Shown("nothing usable"), "a recipient, as a text")
    if len(to) > 1:
        raise UnsupportedFeature(service.name, f"{len(to)} recipients in one message")
    return to[0]


def right_behind(when: datetime, since: datetime) -> datetime:
    """Return a time as it is in that zone in which it comes next after another.

    :param when: The time, read in any zone.
    :param since: The other.
    """
    return since + (when - since) % ZONES_DIFFER_BY


def in_another_zone(when: datetime, *, since: datetime, until: datetime) -> bool:
    """Say whether a time that is too early would lie between two others if it was meant in another zone.

    :param when: The time, read in the connection's zone.
    :param since: The earlier of the others.
    :param until: The later of them.
    """
    elsewhere = right_behind(when, since)
    return elsewhere - when <= ZONES_DIFFER_UP_TO and elsewhere <= until


def is_since(when: datetime, *, since: datetime, now: datetime) -> bool | None:
    """Say whether a message may be what an attempt has sent, by its time.

    :param when: The message's time, which the service wrote without a zone, read in the connection's zone.
    :param since: When the first attempt began, by the service's clock.
    :param now: The present time by the service's clock.
    :return: None if the connection's ``timezone`` may be mistaken: it lies in the future, or is older by about as much
        as zones differ.
    """
    latest = now + CLOCKS_DIFFER_BY
    if when >= since:
        return None if when > latest else True
    return None if in_another_zone(when, since=since, until=min(latest, since + LONGEST_SEND)) else False


def the_sent_one(service: str, alike: Iterable[tuple[bool | None, T]]) -> T | None:
    """Return the first message that is what an attempt has sent; None if there is surely none.

    :param service: Connection type of the service.
    :param alike: Messages that agree in everything but their times, with what :func:`is_since` says of these.
    :raises UnsupportedFeature: If there is none, but one may be if the connection's ``timezone`` is mistaken.
    """
    in_doubt = False
    for fits, message in alike:
        if fits:
            return message
        in_doubt = in_doubt or fits is None
    if in_doubt:
        raise UnsupportedFeature(service, _ZONE_UNSURE)
    return None


def reached(service: Service, message_id: str, wait_for: str) -> Flow[str | None]:
    """Ask once whether a sent message has come far enough.

    :param service: The service.
    :param message_id: Id of the message.
    :param wait_for: The status that is waited for.
    :return: The present status once it is reached, else None.
    :raises DeliveryFailed: If the message has failed for good.
    :raises InvalidInput: If ``wait_for`` is not a status.
    :raises UnsupportedFeature: If the service never tells that status.
    """
    try:
        wanted = Status(wait_for)
    except ValueError:
        raise InvalidInput("wait_for", wait_for, f"one of {', '.join(Status)}") from None
    if wanted is Status.DELIVERED and not service.tells_delivery:
        raise UnsupportedFeature(service.name, "the status 'delivered': it knows nothing beyond 'sent'")
    status = yield from service.status(message_id)
    if has_reached(status, wanted):
        return status.value
    if status is Status.FAILED:
        raise DeliveryFailed(service.name, message_id)
    return None
