"""Reads an Airflow connection: every field is checked, and named where it is wrong, before anything is sent."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, tzinfo
from typing import Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from airflow_messaging.exceptions import InvalidInput, Shown
from airflow_messaging.get_provider_info import ConnectionType, Field, extra_fields
from airflow_messaging.transport.options import TransportOptions, is_plain_http

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
HIGHEST_PORT = 65535
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A connection, read and checked.

    :param base_url: Root of the API.
    :param login: User name or route; empty where the service has none.
    :param password: The secret.
    :param zone: Zone of times without one.
    :param transport: How the service is reached.
    :param extra: The service's own fields, with their defaults.
    """

    base_url: str
    login: str
    password: str = dataclasses.field(repr=False)
    zone: tzinfo
    transport: TransportOptions
    extra: dict[str, Any]


def read_settings(row: ConnectionType, connection: Any, extra: dict[str, Any]) -> Settings:
    """Read a connection.

    :param row: The connection type's row in the table.
    :param connection: Airflow's connection.
    :param extra: Its ``extra``, parsed.
    :raises InvalidInput: If a field is missing or wrong.
    """
    if connection.conn_type != row.type:
        raise InvalidInput("connection type", connection.conn_type, row.type)
    values = _read_extra(row, extra)
    base_url = _base_url(row, connection, allow_insecure=values["allow_insecure"])
    needless = row.login_unless is not None and row.login_unless in values.items()
    if row.login is not None and not needless and not (connection.login or "").strip():
        raise InvalidInput("login", Shown("nothing"), row.login)
    transport = TransportOptions(
        connect_timeout=float(values["connect_timeout"]),
        read_timeout=float(values["read_timeout"]),
        max_per_second=values["max_per_second"],
        login=(connection.login or "").strip(),
        ca_file=values["ca_file"],
        allow_insecure=values["allow_insecure"],
    )
    return Settings(
        base_url=base_url,
        login=(connection.login or "").strip(),
        password=_password(row, connection.password),
        zone=_zone(values["timezone"]),
        transport=transport,
        extra={item.name: values[item.name] for item in row.fields},
    )


def _password(row: ConnectionType, password: str | None) -> str:
    if not password:
        raise InvalidInput("password", Shown("nothing"), row.password)
    if set(password) == {"*"}:
        raise InvalidInput("password", Shown("the mask '***'"), f"{row.password} itself, entered again")
    return password


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise InvalidInput("timezone", name, "a name such as Europe/Warsaw") from None


def _read_extra(row: ConnectionType, extra: dict[str, Any]) -> dict[str, Any]:
    fields = {item.name: item for item in extra_fields(row)}
    unknown = sorted(set(extra) - set(fields))
    if unknown:
        raise InvalidInput("extra", unknown, f"only {', '.join(fields)}")
    return {name: _read_field(item, extra.get(name)) for name, item in fields.items()}


def _read_field(item: Field, value: Any) -> Any:
    if value is None or value == "":
        return item.default
    read = _from_text(item, value) if isinstance(value, str) else value
    fits = isinstance(read, _KINDS[item.kind]) and (item.kind == "boolean" or not isinstance(read, bool))
    if not fits or (isinstance(read, float) and not math.isfinite(read)):
        raise InvalidInput(item.name, value, f"a value of type {item.kind}")
    if item.choices and read not in item.choices:
        raise InvalidInput(item.name, value, f"one of {', '.join(item.choices)}")
    if item.minimum is not None and read < item.minimum:
        raise InvalidInput(item.name, value, f"at least {item.minimum:g}")
    return read


def _from_text(item: Field, value: str) -> Any:
    """Read a value that came as text, as those of connections written as URIs do."""
    if item.kind == "boolean":
        return _WORDS.get(value.strip().lower(), value)
    convert = {"integer": int, "number": float}.get(item.kind, str)
    try:
        return convert(value)
    except ValueError:
        return value


def _base_url(row: ConnectionType, connection: Any, *, allow_insecure: bool) -> str:
    host = (connection.host or "").strip()
    if not host:
        if row.base_url is None:
            raise InvalidInput("host", Shown("nothing"), f"the address of your {row.title} server")
        return row.base_url
    schema = (connection.schema or "").strip().strip("/")
    scheme = schema if schema in ("http", "https") else "https"
    parts = _split(host if "://" in host else f"{scheme}://{host}")
    if connection.port and not 0 < connection.port <= HIGHEST_PORT:
        raise InvalidInput("port", connection.port, f"a number from 1 to {HIGHEST_PORT}")
    port = f":{connection.port}" if connection.port and parts.port is None else ""
    path = parts.path.rstrip("/") or (f"/{schema}" if schema and schema != scheme else row.path)
    url = f"{parts.scheme}://{parts.netloc}{port}{path}"
    if is_plain_http(url) and not allow_insecure:
        raise InvalidInput("host", Shown(f"plain http to {parts.hostname}"), "https, or 'allow_insecure' in extra")
    return url


def _split(url: str) -> SplitResult:
    expected = "a host name or base URL such as https://files.example.com"
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.scheme in ("http", "https") and (parts.port is None or parts.port > 0)
    except ValueError:
        raise InvalidInput("host", Shown("an address that cannot be read"), expected) from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidInput("host", Shown("an address with credentials, query or fragment"), expected)
    if not usable or any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidInput("host", Shown(parts.netloc or "nothing"), expected)
    return parts
