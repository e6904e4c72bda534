"""What a sandbox service is: the one interface which the application, the control routes and the page know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.world import World


@dataclass(frozen=True)
class InboundAttachment:
    """A file that arrives with a message."""

    filename: str
    content: bytes
    content_type: str


@dataclass(frozen=True)
class Inbound:
    """A message that arrives from outside; a service ignores what it has no field for."""

    text: str = ""
    sender: str | None = None
    subject: str | None = None
    in_reply_to: str | None = None
    attachments: tuple[InboundAttachment, ...] = ()
    expires_after: int | None = None
    type: str | None = None


class SandboxService(ABC):
    """One vendor: seeded credentials, routes under a prefix, and a state of its own."""

    name: ClassVar[str]
    prefix: ClassVar[str]
    title: ClassVar[str]
    not_imitated: ClassVar[tuple[str, ...]]
    """What this sandbox invents or leaves out, in sentences for the page and the docs."""

    credentials: ClassVar[dict[str, Any]]
    login_field: ClassVar[str | None]
    password_field: ClassVar[str]
    extra_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, world: World) -> None:
        self.world = world
        self.reset()

    @classmethod
    def connection(cls, base_url: str) -> dict[str, Any]:
        """Return the Airflow connection that reaches this service."""
        connection: dict[str, Any] = {"conn_type": cls.name, "host": base_url.rstrip("/") + cls.prefix}
        if cls.login_field:
            connection["login"] = cls.credentials[cls.login_field]
        connection["password"] = cls.credentials[cls.password_field]
        if cls.extra_fields:
            connection["extra"] = {name: cls.credentials[name] for name in cls.extra_fields}
        return connection

    @abstractmethod
    def reset(self) -> None:
        """Go back to the seeded state."""

    @abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """Define the vendor's endpoints; paths begin with the prefix."""

    @abstractmethod
    def receive(self, inbound: Inbound) -> str:
        """Let a message arrive and return its id."""

    @abstractmethod
    def sent(self) -> list[dict[str, Any]]:
        """Tell what clients sent, oldest first, as plain JSON."""

    @abstractmethod
    def waiting(self) -> list[dict[str, Any]]:
        """Tell what waits to be read, oldest first, as plain JSON."""

    @abstractmethod
    def refusal(self, status: int, reason: str) -> web.StreamResponse:
        """Say no in the vendor's form: unknown path, malformed body."""

    def release(self) -> None:  # noqa: B027
        """Let held requests end, before a reset and at the end."""

    def fault_answer(self, status: int) -> web.Response:
        """Answer for an injected status which brings no body of its own."""
        return web.Response(status=status)

    def expire_sessions(self) -> int:
        """End all logins, where the vendor has logins; return how many."""
        return 0

    def route(self, method: str, path: str, handler: Handler) -> web.RouteDef:
        """Define one endpoint below the prefix."""
        return web.route(method, self.prefix + path, handler)


class Refused(Exception):
    """Raised anywhere below a handler to answer right away."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__(response.status)
        self.response = response
