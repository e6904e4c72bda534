"""Sending: what a service refuses beforehand, and how far a sent message has come."""

from __future__ import annotations

from airflow_messaging.exceptions import DeliveryFailed, InvalidInput, Shown, UnsupportedFeature
from airflow_messaging.messages import Draft, Status, has_reached
from airflow_messaging.services.base import Flow, Service, require


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
