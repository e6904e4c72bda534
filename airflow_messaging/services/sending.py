"""Following a sent message."""

from __future__ import annotations

from airflow_messaging.exceptions import DeliveryFailed, InvalidInput, UnsupportedFeature
from airflow_messaging.messages import Status, has_reached
from airflow_messaging.services.base import Flow, Service


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
