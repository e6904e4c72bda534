"""MDI g8teway (CloudConnect API v2): messages between users and the units in vehicles, behind a cookie session.

A message goes from a user to a unit or back. Lists come in pages of 25 unless asked otherwise, so that whoever wants
all messages has to page by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import quote_plus

from airflow_messaging.exceptions import ProtocolError, Shown, UnsupportedFeature
from airflow_messaging.messages import Draft, Message, Receipt, Status
from airflow_messaging.services import mdi_answers as answers
from airflow_messaging.services.base import AuthFlow, Call, Clock, Flow, Refusal, Service, require
from airflow_messaging.services.cookie_session import CookieSession, parse_cookie_jar
from airflow_messaging.services.http import FormBody, Request, Response
from airflow_messaging.services.parsing import Reader, as_utc, error_words, only_known, well_before, whole_number
from airflow_messaging.services.sending import one_recipient, refuse

__all__ = ["NEVER", "Mdi", "parse_cookie_jar"]

ALL_FIELDS = ("id", "unitid", "userid", "fromto", "time", "channelid", "content", "replyto", "timeout", "status")
DIRECTIONS = ("unittouser", "usertounit")
NEVER = "null"
"""A ``timeout`` that never ends."""

MAX_TIMEOUT_MIN = 32767
PAGE_SIZE = 100
DEFAULT_LIMIT = 25
"""The service's own page size. It may hold to it whatever is asked, so only a shorter page is surely the last."""
MAX_PAGES = 1000
ONE = "messages/{id}"
OPTIONS = {"userid", "timeout", "direction", "channelid"}
"""What :meth:`Mdi.send` takes as options: arguments of :meth:`Mdi.create_message`."""

Ids = int | str | Sequence[int | str]


class Mdi(Service):
    """The MDI g8teway API, version 2.

    :param base_url: For example ``http://g8teway.com/api/v2``.
    :param username: Name of the user.
    :param password: The user's password.
    :param client: The client (account) that the user belongs to.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of those times that come without one. Default UTC.
    :param cookies: Cookies of a session that is already held, see :func:`parse_cookie_jar`. Default: log in.
    :param channelid: Channel of sent messages that name none. Default: each message must name one.
    """

    name = "mdi"
    title = "MDI g8teway"
    has_read_flag = False
    names_answered = True

    def __init__(
        self,
        base_url: str,
        *,
        username: str,
        password: str,
        client: str,
        clock: Clock,
        zone: tzinfo = UTC,
        cookies: Mapping[str, str] | None = None,
        channelid: int | None = None,
    ) -> None:
        super().__init__(base_url, clock=clock, zone=zone)
        self.channelid = None if channelid is None else whole_number("channelid", channelid, 0)
        self._password = password
        form = FormBody((("username", username), ("password", password), ("client", client)))
        self._session = CookieSession(
            self.name,
            Request(method="POST", url="session.json", body=form),
            cookies=cookies or {},
            now=self.now,
            on_secret=lambda secret: self.on_secret(secret),  # noqa: PLW0108 - who listens may be set later
        )

    # -- endpoints --------------------------------------------------------------------------------------------------

    def session_delete(self) -> Call[None]:
        """End the session (``DELETE session``); the next call logs in again."""
        return Call(
            endpoint="session",
            request=Request(method="DELETE", url="session.json"),
            parse=lambda _: self._session.forget(),
            repeatable=True,
            # What an ended session is answered with.
            accept=frozenset({302, 303, 401}),
        )

    def messages(
        self,
        *,
        ret: str | Sequence[str] = ALL_FIELDS,
        status: int | None = None,
        timedout: bool | None = None,
        unitids: Ids | None = None,
        date_from: datetime | str | None = None,
        date_to: datetime | str | None = None,
        userids: Ids | None = None,
        direction: str | None = None,
        messageids: Ids | None = None,
        replyto: Ids | None = None,
        channelids: Ids | None = None,
        id_min: int | None = None,
        id_max: int | None = None,
        limit: int | None = None,
    ) -> Call[list[Message]]:
        """List messages, one page (``GET messages``). Arguments left out do not narrow the list.

        :param ret: Fields to return, as a list or separated by commas. Default: all. Without ``id`` the messages
            have empty ids.
        :param status: Only 0 new, 1 sent, 2 received or 3 failed ones.
        :param timedout: Whether timed-out messages are listed too. Default: the service's own, which is False.
        :param unitids: Only of these units: an id or a list of ids, as are all plurals here.
        :param date_from: Only from this time on: a datetime or ISO 8601 text; without a zone, the connection's. Cut
            to whole seconds. The vendor's ``from``.
        :param date_to: Only up to this time. The vendor's ``to``.
        :param userids: Only of these users.
        :param direction: Only ``unittouser`` or ``usertounit``.
        :param messageids: Only these messages.
        :param replyto: Only replies to these messages.
        :param channelids: Only on these channels.
        :param id_min: Only ids from this one on.
        :param id_max: Only ids up to this one.
        :param limit: The most messages to return. Default: the service's own, which is 25.
        :return: A call for the messages, in the service's order.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        fields = _listed(ret)
        require(fields and all(field in ALL_FIELDS for field in fields), "ret", ret, f"only {', '.join(ALL_FIELDS)}")
        require(timedout is None or isinstance(timedout, bool), "timedout", timedout, "True or False")
        require(direction is None or direction in DIRECTIONS, "direction", direction, " or ".join(DIRECTIONS))
        params = {
            "ret": ",".join(fields),
            "status": None if status is None else whole_number("status", status, 0, 3),
            "timedout": None if timedout is None else str(timedout).lower(),
            "unitids": _ids("unitids", unitids),
            "from": self._time("date_from", date_from),
            "to": self._time("date_to", date_to),
            "userids": _ids("userids", userids),
            "direction": direction,
            "messageids": _ids("messageids", messageids),
            "replyto": _ids("replyto", replyto),
            "channelids": _ids("channelids", channelids),
            "id_min": None if id_min is None else whole_number("id_min", id_min, 0),
            "id_max": None if id_max is None else whole_number("id_max", id_max, 0),
            "limit": None if limit is None else whole_number("limit", limit, 1),
        }
        given = tuple((name, str(value)) for name, value in params.items() if value is not None)
        return Call(
            endpoint="messages",
            request=Request(method="GET", url="messages.json", params=given),
            parse=lambda response: answers.message_list(self.name, response, self.zone, with_ids="id" in fields),
            repeatable=True,
        )

    def messages_all(self, **narrowing: Any) -> Flow[list[Message]]:
        """List messages, all pages (``GET messages``).

        :param narrowing: Arguments of :meth:`messages` except ``ret``, ``limit``.
        :return: A flow for the messages by rising id.
        :raises ProtocolError: If the pages have no order to page by, or do not end.
        """
        found: dict[int, Message] = {}
        for _ in range(MAX_PAGES):
            page: list[Message] = yield self.messages(**narrowing, ret=ALL_FIELDS, limit=PAGE_SIZE)
            ids = [answers.number_of(message) for message in page]
            if not found.keys().isdisjoint(ids):
                raise ProtocolError(self.name, "messages", "a page repeats the one before")
            found.update(zip(ids, page, strict=True))
            if len(ids) < DEFAULT_LIMIT:
                return [found[number] for number in sorted(found)]
            if ids == sorted(ids):
                narrowing["id_min"] = ids[-1] + 1
            elif ids == sorted(ids, reverse=True):
                narrowing["id_max"] = ids[-1] - 1
            else:
                raise ProtocolError(self.name, "messages", "a full page is not in the order of ids")
        raise ProtocolError(self.name, "messages", f"more than {MAX_PAGES} pages")

    def create_message(
        self,
        *,
        unitid: int | str,
        channelid: int | str,
        content: str | bytes,
        userid: int | str | None = None,
        replyto: int | str | None = None,
        timeout: int | str | None = None,
        direction: str | None = None,
    ) -> Call[Receipt]:
        """Send a message to a unit (``POST messages``).

        :param unitid: The unit.
        :param channelid: The channel.
        :param content: The content, any text or bytes.
        :param userid: The user it comes from. Default: the one who is logged in.
        :param replyto: Id of the message that it answers. Default: none.
        :param timeout: Minutes after which it is given up, 0 to 32767; 0 reaches the unit only if it is online now;
            :data:`NEVER` waits for ever. Default: the channel's own setting.
        :param direction: ``usertounit`` or, as if the unit had sent it, ``unittouser``. Default: the former.
        :return: A call for the receipt with the message's id.
        :raises InvalidInput: If an argument breaks a rule of the documents.
        """
        require(isinstance(content, str | bytes), "content", Shown(type(content).__name__), "a text or bytes")
        require(direction is None or direction in DIRECTIONS, "direction", direction, " or ".join(DIRECTIONS))
        rule = f"whole minutes from 0 to {MAX_TIMEOUT_MIN}, or '{NEVER}' for no timeout"
        if timeout is not None and timeout != NEVER:
            timeout = whole_number("timeout", timeout, 0, MAX_TIMEOUT_MIN, expected=rule)
        fields = {
            "unitid": whole_number("unitid", unitid, 0),
            "channelid": whole_number("channelid", channelid, 0),
            "content": content,
            "userid": None if userid is None else whole_number("userid", userid, 0),
            "replyto": None if replyto is None else whole_number("replyto", replyto, 0),
            "timeout": timeout,
            "direction": direction,
        }
        given = ((f"message[{name}]", value) for name, value in fields.items() if value is not None)
        form = tuple((name, value if isinstance(value, bytes) else str(value)) for name, value in given)
        return Call(
            endpoint="messages",
            request=Request(method="POST", url="messages.json", body=FormBody(form)),
            parse=self._receipt,
        )

    def get_message(self, message_id: str | int) -> Call[Message]:
        """Look one message up (``GET messages/{id}``).

        :param message_id: The message's id.
        :return: A call for the message; raises ``NotFound`` if it is unknown.
        :raises InvalidInput: If ``message_id`` is not a whole number.
        """
        number = whole_number("message_id", message_id, 0)
        return Call(
            endpoint=ONE,
            request=Request(method="GET", url=f"messages/{number}.json", params=(("ret", ",".join(ALL_FIELDS)),)),
            parse=lambda response: answers.message_of(answers.wrapped_message(self.name, ONE, response), self.zone),
            repeatable=True,
        )

    # -- the vendor-neutral face ------------------------------------------------------------------------------------

    def check(self) -> Call[Any]:
        """Return ``messages`` for one message."""
        return self.messages(limit=1)

    def send(self, draft: Draft) -> Flow[Receipt]:
        """Send a text to one unit, ``to`` being its id. ``options``: see :data:`OPTIONS`."""
        receipt: Receipt = yield self.create_message(**self._fields(draft))
        return receipt

    def find_sent(self, draft: Draft, *, since: datetime) -> Flow[Receipt | None]:
        """List what went to the unit on the channel, all pages; compare direction, content and the message answered.

        :param draft: The draft.
        :param since: From when on it may have been sent, by the service's clock, aware; cut to whole seconds, as the
            service writes its times.
        :return: The receipt of the first such message, or None.
        :raises UnsupportedFeature: If the timeout is 0: the service does not keep such a message.
        """
        fields = self._fields(draft)
        timeout = fields.get("timeout")
        if timeout not in (None, NEVER) and int(timeout) == 0:
            raise UnsupportedFeature(self.name, "looking for a message with a timeout of 0: it keeps none")
        start = since.replace(microsecond=0)
        listed = yield from self.messages_all(
            unitids=fields["unitid"],
            channelids=fields["channelid"],
            userids=fields.get("userid"),
            direction=fields.get("direction") or "usertounit",
            timedout=True,
            date_from=well_before(start, timedelta(seconds=1)),
        )
        for message in listed:
            if message.sent_at and message.sent_at >= start and answers.is_the_one(message, fields):
                return answers.receipt_of(Reader(self.name, "messages", message.raw), self.zone, otherwise_at=start)
        return None

    def check_answerable(self, draft: Draft) -> None:
        """Refuse, beside several units, a message in a unit's name: users answer that, and to the unit."""
        super().check_answerable(draft)
        if draft.options.get("direction") == "unittouser":
            raise UnsupportedFeature(self.name, "waiting for the reply to a message in a unit's name")

    def message(self, message_id: str) -> Flow[Message]:
        """Look one message up."""
        message: Message = yield self.get_message(message_id)
        return message

    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[list[Message]]:
        """List what units sent to users, all pages, and keep what is new."""
        # Not documented: whether "from" takes in its own second.
        start = well_before(since, timedelta(seconds=1))
        # A timed-out message has been sent all the same, and would be lost to a reader that was down meanwhile.
        listed = yield from self.messages_all(direction="unittouser", timedout=True, date_from=start)
        new = [m for m in listed if m.id not in seen and m.raw.get("fromto") is not False]
        new = [m for m in new if not since or not m.received_at or m.received_at >= since]
        return sorted(new, key=lambda message: message.received_at or datetime.min.replace(tzinfo=UTC))

    def status(self, message_id: str) -> Flow[Status]:
        """Look the message up and translate its ``status``."""
        message: Message = yield self.get_message(message_id)
        return answers.status_of(Reader(self.name, ONE, message.raw))

    # -- session ----------------------------------------------------------------------------------------------------

    def auth_flow(self, request: Request) -> AuthFlow:
        """Send the session's cookies; log in where there is no session, and once more where it has ended."""
        if request.method == "DELETE":
            # To end a session is no reason to begin one.
            yield self._session.with_cookies(request)
        else:
            yield from self._session.flow(request)

    def derived_secrets(self) -> Iterable[str]:
        """Return the password as a form carries it where that differs, and the cookies held at the beginning."""
        encoded = quote_plus(self._password)
        return (*([encoded] if encoded != self._password else []), *self._session.cookies.values())

    # -- answers ----------------------------------------------------------------------------------------------------

    def refusal(self, response: Response) -> Refusal:
        """Read an object with ``error``, a list of texts, or plain text."""
        return Refusal(message=error_words(self.name, response))

    def _fields(self, draft: Draft) -> dict[str, Any]:
        only_known("options", draft.options, OPTIONS)
        refuse(self, draft, attachments="attachments", subject="a subject")
        fields = {"channelid": self.channelid, **draft.options}
        require(fields["channelid"] is not None, "channelid", None, "a channel, as an option or from the connection")
        unitid = one_recipient(self, tuple(str(unit) if isinstance(unit, int) else unit for unit in draft.to))
        require(draft.text is not None, "text", draft.text, "a text")
        fields |= {"unitid": unitid, "content": draft.text, "replyto": draft.in_reply_to}
        self.create_message(**fields)
        return fields

    def _receipt(self, response: Response) -> Receipt:
        # The Date header is cut to whole seconds: one second earlier is surely not too late.
        accepted = self.now().replace(microsecond=0) - timedelta(seconds=1)
        return answers.receipt_of(
            answers.wrapped_message(self.name, "messages", response), self.zone, otherwise_at=accepted
        )

    def _time(self, field: str, value: datetime | str | None) -> str | None:
        return None if value is None else answers.written(as_utc(field, value, self.zone))


def _listed(values: Any) -> list[Any]:
    if isinstance(values, str):
        return [value.strip() for value in values.split(",")]
    return list(values) if isinstance(values, Iterable) else [values]


def _ids(field: str, values: Ids | None) -> str | None:
    if values is None:
        return None
    numbers = [str(whole_number(field, value, 0, expected="ids, whole numbers from 0")) for value in _listed(values)]
    require(numbers, field, values, "at least one id")
    return ",".join(numbers)
