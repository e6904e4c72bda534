"""Reading SerwerSMS.pl's parameters, which come as JSON or as a form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

DEFAULT_LIMIT = 100
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?")
_TRUE, _FALSE = ("true", "1"), ("false", "0", "", "none", "null")

Item = TypeVar("Item")


class InvalidField(ValueError):
    """A parameter that cannot be understood."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Field {name} is invalid")


class Fields:
    """The parameters of one call."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """Return one text; empty when absent."""
        value = self._fields.get(name)
        if value is None:
            return ""
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
        raise InvalidField(name)

    def texts(self, name: str) -> list[str]:
        """Return a text or a list of texts as a list."""
        value = self._fields.get(name)
        values = value if isinstance(value, list) else [value]
        if not all(item is None or (isinstance(item, (str, int)) and not isinstance(item, bool)) for item in values):
            raise InvalidField(name)
        return [str(item) for item in values if item not in (None, "")]

    def flag(self, name: str) -> bool:
        """Return a boolean; absent is false."""
        value = self._fields.get(name)
        written = "" if value is None else str(value).lower()
        if written in _TRUE:
            return True
        if written in _FALSE:
            return False
        raise InvalidField(name)

    def number(self, name: str, default: int) -> int:
        """Return a positive integer."""
        written = self.text(name) or str(default)
        if not re.fullmatch("[0-9]{1,9}", written) or int(written) < 1:
            raise InvalidField(name)
        return int(written)

    def moment(self, name: str) -> datetime | None:
        """Return a time, which is UTC here."""
        written = self.text(name)
        if not written:
            return None
        if not _DATE_TIME.fullmatch(written):
            raise InvalidField(name)
        try:
            return datetime.fromisoformat(written).replace(tzinfo=UTC)
        except ValueError:
            raise InvalidField(name) from None


def paged(items: Sequence[Item], fields: Fields) -> tuple[Sequence[Item], dict[str, int]]:
    """Cut one page out of what was found (oldest first), in the order asked for."""
    order = fields.text("order").lower() or "desc"
    if order not in ("asc", "desc"):
        raise InvalidField("order")
    ordered = items if order == "asc" else items[::-1]
    page, limit = fields.number("page", 1), fields.number("limit", DEFAULT_LIMIT)
    begin = (page - 1) * limit
    return ordered[begin : begin + limit], {"page": page, "count": max(1, -(-len(ordered) // limit))}
