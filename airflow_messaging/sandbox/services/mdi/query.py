"""The parameters of MDI's list of messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from airflow_messaging.sandbox.services.mdi.state import FIELDS, Message

DEFAULT_FIELDS = ("id", "time")
DEFAULT_LIMIT = 25
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")


class QueryError(ValueError):
    """A parameter which the vendor would refuse."""


def parse_fields(text: str) -> tuple[str, ...]:
    """Parse `ret`."""
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in FIELDS]
    if unknown:
        raise QueryError(f"Ret contains unknown fields: {', '.join(unknown)}")
    return names


def _number(name: str, text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,18}", text.strip()):
        raise QueryError(f"{name.capitalize()} is not a number")
    return int(text)


def _moment(name: str, text: str) -> datetime:
    try:
        # In a query a bare `+` of an offset is read as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise QueryError(f"{name.capitalize()} is not a valid date") from None
    if moment.tzinfo is None:
        raise QueryError(f"{name.capitalize()} needs a time zone")
    return moment


@dataclass(frozen=True)
class ListQuery:
    """What a client wants to see."""

    fields: tuple[str, ...]
    limit: int
    status: int | None
    timedout: bool
    direction: str | None
    earliest: datetime | None
    latest: datetime | None
    id_min: int | None
    id_max: int | None
    among: Mapping[str, frozenset[int]]

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> ListQuery:
        """Check all parameters."""
        lists = {"unitids": "unitid", "userids": "userid", "messageids": "id", "replyto": "replyto"}
        lists["channelids"] = "channelid"
        among = {
            attribute: frozenset(_number(name, number) for number in query[name].split(","))
            for name, attribute in lists.items()
            if query.get(name)
        }
        numbers = {
            name: _number(name, query[name]) for name in ("limit", "status", "id_min", "id_max") if name in query
        }
        if numbers.get("status") not in (None, 0, 1, 2, 3):
            raise QueryError("Status is not included in the list")
        if numbers.get("limit", 1) < 1:
            raise QueryError("Limit must be greater than 0")
        direction = query.get("direction") or None
        if direction not in (None, "unittouser", "usertounit"):
            raise QueryError("Direction is not included in the list")
        timedout = query.get("timedout", "").lower()
        if timedout not in _TRUE + _FALSE:
            raise QueryError("Timedout is not a boolean")
        return cls(
            fields=parse_fields(query["ret"]) if query.get("ret") else DEFAULT_FIELDS,
            limit=numbers.get("limit", DEFAULT_LIMIT),
            status=numbers.get("status"),
            timedout=timedout in _TRUE,
            direction=direction,
            earliest=_moment("from", query["from"]) if query.get("from") else None,
            latest=_moment("to", query["to"]) if query.get("to") else None,
            id_min=numbers.get("id_min"),
            id_max=numbers.get("id_max"),
            among=among,
        )

    def select(self, messages: Iterable[Message], now: datetime) -> list[Message]:
        """Return one page, in the order of ids."""
        found = (message for message in messages if self._wants(message, now))
        return list(islice(found, min(self.limit, 10**6)))

    def _wants(self, message: Message, now: datetime) -> bool:
        moment = message.time.replace(microsecond=0)  # as precise as clients see it
        return (
            (self.status is None or message.status(now) == self.status)
            and (self.timedout or not message.timed_out(now))
            and (self.direction is None or message.fromto == (self.direction == "unittouser"))
            and (self.earliest is None or moment >= self.earliest)
            and (self.latest is None or moment <= self.latest)
            and (self.id_min is None or message.id >= self.id_min)
            and (self.id_max is None or message.id <= self.id_max)
            and all(getattr(message, attribute) in allowed for attribute, allowed in self.among.items())
        )
