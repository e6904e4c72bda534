"""Moves a flow from one call to the next; the transports only have to carry the calls out."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.services.base import Call, Flow

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """The end of a flow, with its result."""

    value: T


def advance(flow: Flow[T], result: Any = None, *, error: MessagingError | None = None) -> Call[Any] | Finished[T]:
    """Give a flow the outcome of its last call and get the next one.

    :param flow: The flow; a new one is started with no result.
    :param result: What the last call returned.
    :param error: What the last call raised in place of a result; the flow may catch it.
    :return: The next call, or the end.
    """
    try:
        return flow.throw(error) if error is not None else flow.send(result)
    except StopIteration as end:
        return Finished(end.value)
