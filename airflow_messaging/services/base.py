"""What all services are made of: calls, flows, and the service itself.

Nothing in this folder opens a socket, reads a clock or knows Airflow. A service *describes* its endpoints; the two
transports carry the descriptions out. That is why each endpoint is written once for workers and triggerer alike.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    InvalidInput,
    MessagingError,
    NotFound,
    Overloaded,
    ProtocolError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    Shown,
    UnsupportedFeature,
    may_have_had_effect,
)
from airflow_messaging.messages import Attachment, Draft, JsonDict, Message, Receipt, Status
from airflow_messaging.services.http import MEBIBYTE, Request, Response, parse_http_date, parse_retry_after

T = TypeVar("T")
Clock = Callable[[], datetime]


class Refusal(NamedTuple):
    """What an error answer says: the vendor's code, words, support reference, and seconds to wait."""

    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    retry_after: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request to one endpoint, and how to read its answer.

    :param endpoint: The endpoint in the vendor's words, for errors and logs.
    :param request: The request, without credentials.
    :param parse: Turns a good answer into a result.
    :param repeatable: Whether sending the request twice does no harm.
    :param accept: Statuses beside 2xx that ``parse`` understands.
    :param body_limit: Bytes of the answer that may be held in memory.
    :param cut: Whether a larger body is cut (``Response.complete`` is False then) instead of refused.
    :param message_id: The client's id of the message that is sent, for ``DeliveryUnknown``.
    """

    endpoint: str
    request: Request
    parse: Callable[[Response], T]
    repeatable: bool = False
    accept: frozenset[int] = frozenset()
    body_limit: int = 32 * MEBIBYTE
    cut: bool = False
    message_id: str | None = None

    def mark(self, error: MessagingError) -> None:
        """Note in an error that ended this call whether what was asked for may have happened."""
        if not self.repeatable and may_have_had_effect(error):
            error.may_have_arrived = True


Flow = Generator[Call[Any], Any, T]
"""Several calls in order, each depending on the answers before it. Both transports drive the same generator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exclusive:
    """A request inside an auth flow that only one task at a time may make, such as a login.

    :param request: The request.
    :param needless: Asked once the lock is held: True if somebody else has just done it.
    """

    request: Request
    needless: Callable[[], bool]


AuthFlow = Generator[Request | Exclusive, Response | None, None]


class Service(abc.ABC):
    """One of the remote APIs.

    :param base_url: Root of the API, with version, without a trailing slash.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of those times that the service writes without one.
    :param on_secret: Told every derived secret as it comes up (a signature, a session cookie).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    has_read_flag: ClassVar[bool]
    keeps_read: ClassVar[bool] = True
    """Whether messages and their attachments can be fetched once they are marked read."""
    long_poll: ClassVar[bool] = False
    tells_delivery: ClassVar[bool] = True
    has_subject: ClassVar[bool] = False
    names_answered: ClassVar[bool] = False
    """Whether a received message names the one that it answers."""
    longest_text: int | None = None
    """The most characters that a text may have; None where the service names no limit."""
    most_recipients: int | None = 1
    """The most recipients that one message of :meth:`send` may have; None where the service names no limit."""

    def __init__(
        self, base_url: str, *, clock: Clock, zone: tzinfo = UTC, on_secret: Callable[[str], None] | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.clock = clock
        self.zone = zone
        self.on_secret = on_secret or _ignore
        self.skew_s = 0.0
        self.skew_known = False
        self.listed: list[str] = []
        """Ids that the last look into the inbox found, oldest first, where the service has long polls."""

    @abc.abstractmethod
    def auth_flow(self, request: Request) -> AuthFlow:
        """Yield ``request`` with credentials, receive the response, and yield again where that helps."""

    @abc.abstractmethod
    def check(self) -> Call[Any]:
        """Return one harmless authenticated read, for testing a connection."""

    @abc.abstractmethod
    def refusal(self, response: Response) -> Refusal:
        """Read an error answer."""

    def derived_secrets(self) -> Iterable[str]:
        """Return all forms in which the credentials travel, to be masked in logs."""
        return ()

    # -- the vendor-neutral face ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def send(self, draft: Draft) -> Flow[Receipt]:
        """Send a message; refuse with ``UnsupportedFeature`` what the service cannot express."""

    def find_sent(self, draft: Draft, *, since: datetime) -> Flow[Receipt | None]:
        """Look for a message that an attempt since then may have sent; None if it is surely not there."""
        raise UnsupportedFeature(self.name, "looking for what was sent")
        yield

    def kept(self, draft: Draft, receipt: Receipt) -> JsonDict:
        """Return what another try has to know of a receipt's ``raw``: no text, and nobody's name or number."""
        return {}

    def split(self, draft: Draft, *, most: int | None = None) -> Flow[list[Draft]]:
        """Return a message as several, none with more than ``most`` recipients (default: what one may have)."""
        most = most or self.most_recipients or len(draft.to) or 1
        parts = [draft.to[begin : begin + most] for begin in range(0, len(draft.to), most)]
        return [dataclasses.replace(draft, to=part) for part in parts] or [draft]
        yield

    def recipients(self, draft: Draft) -> list[Any]:
        """Return all recipients of a message."""
        return list(draft.to)

    def check_answerable(self, draft: Draft) -> None:
        """Refuse a message whose reply could not be told from other messages."""
        count = len(self.recipients(draft))
        require(count == 1, "to", Shown(f"{count} recipients"), "one, since one is to answer")

    def repliers(self, draft: Draft) -> Flow[list[str]]:
        """Return all forms in which a reply may name its sender, in any case; none if the service names no senders."""
        return [str(one) for one in draft.to]
        yield

    @abc.abstractmethod
    def message(self, message_id: str) -> Flow[Message]:
        """Look one message up by its id."""

    @abc.abstractmethod
    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[list[Message]]:
        """Return received messages, oldest first, from the last ``since`` on, leaving out those in ``seen``.

        For a service with a read flag these are the unread ones. May return more than ``limit``, never a later
        message in the place of an earlier one. Acknowledges nothing.
        """

    def wait_next(self, after: str) -> Flow[list[Message]]:
        """Hold the connection until a message newer than ``after`` comes; empty if the service ends the wait."""
        raise UnsupportedFeature(self.name, "long polls")
        yield

    def status(self, message_id: str) -> Flow[Status]:
        """Say how far a sent message has come."""
        raise UnsupportedFeature(self.name, "the status of sent messages")
        yield

    def mark_read(self, messages: list[Message]) -> Flow[list[Message]]:
        """Set the service's read flag; return messages that the acknowledging calls handed out on top."""
        raise UnsupportedFeature(self.name, "a read flag")
        yield

    def read_along(self, message: Message) -> Flow[list[Message]]:
        """Return those unread messages that could not but be marked read together with one.

        This only looks, and may be asked again: nothing is marked. The message itself is not returned, whether it is
        unread or not. What arrives after the look is not known, and may be marked along all the same.
        """
        return []
        yield

    def attachment(self, message: Message, attachment: Attachment) -> Flow[Call[None] | bytes]:
        """Return the call that downloads an attachment, or its bytes where they came with the message."""
        raise UnsupportedFeature(self.name, "attachments")
        yield

    # -- for the transports -----------------------------------------------------------------------------------------

    def url(self, request: Request) -> str:
        """Return the absolute URL of a request, without its query parameters."""
        return request.url if "://" in request.url else f"{self.base_url}/{request.url.lstrip('/')}"

    def is_own_request(self, request: Request) -> bool:
        """Say whether a request goes to the origin of this connection."""
        return "://" not in request.url or self.is_own(request.url)

    def is_own(self, url: str) -> bool:
        """Say whether an absolute URL has the origin of this connection, so that credentials may go there."""
        try:
            return _origin(url) == _origin(self.base_url)
        except ValueError:
            # A stranger's address that cannot be read is not ours.
            return False

    def observe(self, response: Response) -> None:
        """Learn from the answer's ``Date`` how far the service's clock is from ours."""
        if (date := parse_http_date(response.header("Date"))) is not None:
            self.skew_s = (date - self.clock()).total_seconds()
            self.skew_known = True

    def result(self, call: Call[T], response: Response) -> T:
        """Turn an answer into the call's result or a typed error.

        :raises ServiceError: If the service refused.
        :raises ProtocolError: If the answer is not what the documents describe, whatever its bytes.
        """
        try:
            if not 200 <= response.status < 300 and response.status not in call.accept:
                raise self.error(call.endpoint, response)
            return call.parse(response)
        except MessagingError as error:
            call.mark(error)
            raise
        except _UNREADABLE as error:
            problem = type(error).__name__
        # Outside the handler: the error may hold a part of the body.
        unreadable = ProtocolError(self.name, call.endpoint, f"unexpected answer ({problem})")
        call.mark(unreadable)
        raise unreadable

    def error(self, endpoint: str, response: Response) -> MessagingError:
        """Return the typed error for a refused request."""
        status = response.status
        if 300 <= status < 400:
            return ProtocolError(self.name, endpoint, f"unexpected redirect (HTTP {status})")
        refusal = self._refusal(response)
        kind = self.error_class(status, refusal.code)
        if kind is ServiceUnavailable and status == 503 and refusal.retry_after is not None:
            kind = Overloaded
        return kind(self.name, endpoint, status=status, **refusal._asdict())

    def asked_to_wait(self, response: Response) -> float | None:
        """Return the seconds for which an answer asks to be left alone, or None if it does not."""
        return self._refusal(response).retry_after if response.status >= 400 else None

    def _refusal(self, response: Response) -> Refusal:
        try:
            refusal = self.refusal(response)
        except (ProtocolError, *_UNREADABLE):
            # A proxy's page instead of the vendor's own words: the status still tells.
            refusal = Refusal()
        if refusal.retry_after is not None:
            return refusal
        return refusal._replace(retry_after=parse_retry_after(response.header("Retry-After"), self.now()))

    def error_class(self, status: int, code: str | None) -> type[ServiceError]:
        """Choose the error for a status and the vendor's own code."""
        if status in (401, 403):
            return AuthenticationFailed
        if status in (404, 410):
            return NotFound
        if status in (420, 429):
            return RateLimited
        return ServiceUnavailable if status >= 500 else ServiceError

    def now(self) -> datetime:
        """Return the present time by the service's clock, as far as it is known."""
        return datetime.fromtimestamp(self.clock().timestamp() + self.skew_s, UTC)


_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


def _ignore(_secret: str) -> None:
    """Take a secret that nobody has to be told of."""


def require(condition: object, field: str, got: object, expected: str) -> None:
    """Refuse an argument before anything is sent.

    :param condition: What must hold.
    :param field: Name of the argument in the vendor's words.
    :param got: What came, in a form that may be shown.
    :param expected: The rule.
    :raises InvalidInput: If ``condition`` does not hold.
    """
    if not condition:
        raise InvalidInput(field, got, expected)


def without(record: JsonDict, *names: str) -> JsonDict:
    """Return a copy of a vendor's record without some fields."""
    return {key: value for key, value in record.items() if key not in names}
