"""The typed errors: one tree for all five services.

Every error is built from data that may be shown: no credentials, no message body, no phone number. Numbers that look
like phone numbers are blanked out of texts that come from a service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DATE_OR_PHONE = re.compile(r"(?P<date>(?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d(?!\d))|\+?\d[\d\s()-]{6,}\d")
_LONGEST_SHOWN = 300
_MOST_SHOWN = 20


def without_phone_numbers(text: str) -> str:
    """Return ``text`` with everything that looks like a phone number replaced by ``<number>``.

    :param text: Any text, such as a service's own error message.
    :return: The text, safe to log.
    """
    return _DATE_OR_PHONE.sub(lambda found: found["date"] or "<number>", text)


class MessagingError(Exception):
    """Root of all errors that this package raises on purpose."""

    may_have_arrived: bool = False
    """Whether it ended a call that must not be repeated blindly, since what it asked for may have happened."""

    def __reduce__(self) -> tuple[object, ...]:
        """Cross process borders whole: the subclasses' constructors take more than a text."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[MessagingError], args: tuple[object, ...], fields: dict[str, object]) -> MessagingError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(fields)
    return error


class InvalidInput(MessagingError, ValueError):
    """An argument or a connection field breaks a documented rule; nothing was sent.

    :param field: Name of the argument or connection field, in the service's own words.
    :param got: What came, in a form that may be shown: never a secret, never a message body.
    :param expected: The rule that was broken.
    """

    def __init__(self, field: str, got: object, expected: str) -> None:
        written = str(got) if isinstance(got, Shown) else repr(got)
        shown = without_phone_numbers(written)
        self.field = field
        self.got = got if shown == written else Shown(shown)
        self.expected = expected
        super().__init__(f"{field}: got {shown[:_LONGEST_SHOWN]}, expected {expected}")


class Shown(str):
    """A description such as ``501 characters`` that stands for a value and is printed without quotes."""

    __slots__ = ()


class UnsupportedFeature(MessagingError):
    """The service cannot express what was asked for; nothing was sent.

    :param service: Connection type of the service.
    :param feature: What it cannot do, and where there is one, the way round.
    """

    def __init__(self, service: str, feature: str) -> None:
        self.service = service
        self.feature = feature
        super().__init__(f"{service} does not support {feature}")


class ServiceError(MessagingError):
    """The service answered and refused.

    :param service: Connection type of the service.
    :param endpoint: The endpoint in the vendor's words, such as ``send-message``.
    :param status: HTTP status of the answer.
    :param code: The vendor's own error code, if it gave one.
    :param message: The vendor's own words, if it gave some.
    :param request_id: The vendor's reference for support cases, if it gave one.
    :param retry_after: Seconds after which the service said it may be asked again, if it said so.
    """

    def __init__(
        self,
        service: str,
        endpoint: str,
        *,
        status: int,
        code: str | None = None,
        message: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.service = service
        self.endpoint = endpoint
        self.status = status
        self.code = code
        self.message = without_phone_numbers(message)[:_LONGEST_SHOWN] if message else None
        self.request_id = request_id
        self.retry_after = retry_after
        details = [f"HTTP {status}"]
        if code is not None:
            details.append(f"code {code}")
        if self.message:
            details.append(self.message)
        if retry_after is not None:
            details.append(f"retry after {retry_after:g} s")
        if request_id is not None:
            details.append(f"request id {request_id}")
        super().__init__(f"{service} {endpoint}: {', '.join(details)}")


class AuthenticationFailed(ServiceError):
    """The service does not accept the connection's credentials."""


class NotFound(ServiceError):
    """The service does not know what was asked for: an expired message, a used-up URL, an unknown recipient."""


class MessageGone(NotFound):
    """A received message that was too large to be handed over cannot be fetched any more.

    :param refused: What the service answered.
    :param message_id: The service's id of the message.
    """

    def __init__(self, refused: ServiceError, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(refused.service, refused.endpoint, status=refused.status, code=refused.code)
        self.args = (
            f"{self.service}: message {message_id} was too large to be handed over and cannot be fetched any more: "
            "it has expired or was read. With the argument 'spool' such messages are stored when they come",
        )


class RateLimited(ServiceError):
    """The service asks to slow down; ``retry_after`` says for how many seconds, where the service says it.

    With ``status`` 429 and the words "not asked" it is our own: the service was left alone because it asked for a
    pause before, or because of ``max_per_second``.
    """


class ServiceUnavailable(ServiceError):
    """The service answered with a server error (HTTP 5xx)."""


class Overloaded(RateLimited, ServiceUnavailable):
    """The service asks for a pause with HTTP 503; unlike after 429, what it was asked for may have taken effect."""


class ProtocolError(MessagingError):
    """The service's answer is not what its documents describe.

    :param service: Connection type of the service.
    :param endpoint: The endpoint in the vendor's words.
    :param problem: What is wrong with the answer, without the answer's content.
    """

    def __init__(self, service: str, endpoint: str, problem: str) -> None:
        self.service = service
        self.endpoint = endpoint
        self.problem = problem
        super().__init__(f"{service} {endpoint}: {problem}")


class CorruptDownload(ProtocolError):
    """What was downloaded is not what the service announced: size or checksum differ. Nothing was left behind."""


class TransportError(MessagingError):
    """No complete answer came: the network, not the service, failed.

    :param service: Connection type of the service.
    :param endpoint: The endpoint in the vendor's words.
    :param problem: What happened, without URL and credentials.
    """

    def __init__(self, service: str, endpoint: str, problem: str) -> None:
        self.service = service
        self.endpoint = endpoint
        self.problem = problem
        super().__init__(f"{service} {endpoint}: {problem}")


class ConnectFailed(TransportError):
    """The connection could not be made: the request never left, so it is safe to repeat."""


class ConnectionLost(TransportError):
    """The answer did not arrive. Harmless: the request may be repeated, or did not leave whole and had no effect."""


class DeliveryUnknown(TransportError):
    """A send left and its answer did not arrive: it may or may not have happened. It is not repeated by itself.

    :param service: Connection type of the service.
    :param endpoint: The endpoint in the vendor's words.
    :param problem: What happened, without URL and credentials.
    :param message_id: The client's message id, where the service knows one.
    :param retry_after: Seconds after which the service said it may be asked again, if it said so.
    """

    may_have_arrived = True

    def __init__(
        self,
        service: str,
        endpoint: str,
        problem: str,
        message_id: str | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        self.message_id = message_id
        self.retry_after = retry_after
        super().__init__(service, endpoint, problem)
        reference = f" (message id {message_id})" if message_id else ""
        self.args = (f"{service} {endpoint}: {problem}; it may have taken effect{reference}",)


class MessageTooLarge(MessagingError):
    """An answer is larger than the limit for what may be held in memory.

    :param service: Connection type of the service.
    :param endpoint: The endpoint in the vendor's words.
    :param limit: The limit in bytes.
    """

    def __init__(self, service: str, endpoint: str, limit: int) -> None:
        self.service = service
        self.endpoint = endpoint
        self.limit = limit
        super().__init__(f"{service} {endpoint}: the answer is larger than {limit} bytes")


class DeliveryFailed(MessagingError):
    """A message that the service had accepted could not be delivered.

    :param service: Connection type of the service.
    :param message_id: The service's id of the message.
    """

    def __init__(self, service: str, message_id: str) -> None:
        self.service = service
        self.message_id = message_id
        super().__init__(f"{service}: message {message_id} was not delivered")


class FilesWouldBeLost(MessagingError):
    """Other messages would be marked read along, whose files can be had only while these are unread. None was marked.

    :param service: Connection type of the service.
    :param message_ids: The service's ids of those messages.
    """

    def __init__(self, service: str, message_ids: Sequence[str]) -> None:
        self.service = service
        self.message_ids = list(message_ids)
        super().__init__(
            f"{service}: nothing was marked read, because messages with files would be marked along and their files be "
            f"gone: {', '.join(self.message_ids)}; keep their files first, or mark all of them at once"
        )


class PartiallySent(MessagingError):
    """Some recipients or messages were not accepted. The others are on their way: they are not to be sent again.

    :param service: Connection type of the service.
    :param results: One per recipient or message, in the order in which they were given: a dictionary with ``accepted``
        and, where the service says it, ``id``, ``status`` and ``error_code``; never the recipient itself.
    :param what: What they are. Default ``"recipients"``.
    """

    def __init__(self, service: str, results: Sequence[Mapping[str, Any]], *, what: str = "recipients") -> None:
        self.service = service
        self.results = [dict(result) for result in results]
        missing = [(place, result) for place, result in enumerate(results, 1) if not result["accepted"]]
        shown = [f"{place} (code {result.get('error_code') or 'unknown'})" for place, result in missing]
        more = ", …" if len(shown) > _MOST_SHOWN else ""
        super().__init__(
            f"{service}: {len(missing)} of {len(results)} {what} were not accepted, by their place in the list: "
            f"{', '.join(shown[:_MOST_SHOWN])}{more}"
        )


def is_passing(error: BaseException) -> bool:
    """Say whether an error may go away by itself, so that a wait goes on in spite of it.

    :param error: Any error.
    :return: True for a service that is out of reach, overloaded or asks to slow down.
    """
    return isinstance(error, ConnectFailed | ConnectionLost | RateLimited | ServiceUnavailable)


def may_have_had_effect(error: MessagingError) -> bool:
    """Say whether what a call asked for may have happened although it ended with this error.

    :param error: What it ended with.
    """
    if isinstance(error, ServiceUnavailable):
        return True
    return not isinstance(error, InvalidInput | UnsupportedFeature | ConnectFailed | ConnectionLost | ServiceError)


def to_dict(error: MessagingError) -> dict[str, object]:
    """Return an error as plain JSON, to cross from the triggerer to a worker."""
    plain = {name: _plain(value) for name, value in vars(error).items()}
    return {"type": type(error).__name__, "args": [str(argument) for argument in error.args], "fields": plain}


def _plain(value: object) -> object:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, int | float) else repr(value)


def from_dict(data: Mapping[str, Any]) -> MessagingError:
    """Bring an error back from :func:`to_dict`.

    :param data: The dictionary.
    :return: An error of the same type, with the same text.
    """
    kinds = {kind.__name__: kind for kind in _all_kinds(MessagingError)}
    return _rebuild(kinds.get(data["type"], MessagingError), tuple(data["args"]), dict(data["fields"]))


def _all_kinds(kind: type[MessagingError]) -> Iterator[type[MessagingError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all_kinds(below)
