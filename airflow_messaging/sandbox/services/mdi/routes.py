"""MDI g8teway's CloudConnect API over HTTP. What a list may ask for is in `query.py`."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from typing import Any, ClassVar

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.forms import FormError, as_bytes, as_text, read_fields
from airflow_messaging.sandbox.service import Inbound, Refused, SandboxService
from airflow_messaging.sandbox.services.mdi.query import ListQuery, QueryError, parse_fields
from airflow_messaging.sandbox.services.mdi.state import (
    DEFAULT_TIMEOUT_MIN,
    FIELDS,
    NOBODY,
    MdiState,
    Message,
)

COOKIE = "_g8teway_session"
MAX_TIMEOUT_MIN = 32767
USER_ID = 2
# The documents' own examples write to units 1 and 3.
ONLINE_UNITS = (1, 3, 17)
OFFLINE_UNIT = 18
CHANNELS = (11, 32)
_INTEGER = re.compile(r"-?[0-9]{1,9}")


class MdiSandbox(SandboxService):
    """One user, one unit that is online and one that is not."""

    name = "mdi"
    prefix = "/mdi/api/v2"
    title = "MDI g8teway"
    not_imitated = (
        "The cookie is called _g8teway_session here, changes with every answer, and the one before stays good for 5 s.",
        "Units 1, 3 and 17 are online: messages to them are sent after 1 s and received after 2 s. Unit 18 is offline: "
        "its messages stay new until their timeout and then fail. Other units, and channels other than 11 and 32, are "
        "refused (422).",
        "fromto is true for unit to user. What units send stays at status 0, there being no call that acknowledges.",
        "Pages begin at id_min (inclusive), in the order of ids. Content that is not UTF-8 comes back as Latin-1.",
        "Without .json in the path or application/json in Accept the answer is 406. A login is answered with 201.",
        "Units, users, channels and all other resources of the API are not imitated; DELETE of a message is 403.",
    )
    credentials: ClassVar[dict[str, Any]] = {
        "username": "dispatcher",
        "password": "mJ8vKq2XtR5nWz7LbG4c",
        "client": "airflow-fleet",
        "unitid": 17,
        "channelid": 11,
    }
    login_field = "username"
    password_field = "password"  # noqa: S105
    extra_fields = ("client",)

    def reset(self) -> None:
        """Forget messages and sessions."""
        self.state = MdiState(self.world, ONLINE_UNITS)

    def routes(self) -> Iterable[web.RouteDef]:
        """Sessions and messages, each with and without `.json`."""
        guarded: list[tuple[str, str, Handler]] = [
            ("DELETE", "/session", self.logout),
            ("DELETE", "/sessions", self.logout),
            ("GET", "/messages", self.list_messages),
            ("POST", "/messages", self.create_message),
            ("GET", "/messages/{id:[^/.]+}", self.show_message),
            ("DELETE", "/messages/{id:[^/.]+}", self.delete_message),
        ]
        routes = []
        for suffix in ("", ".json"):
            routes += [self.route("POST", path + suffix, self.login) for path in ("/session", "/sessions")]
            routes += [self.route(method, path + suffix, self._with_session(do)) for method, path, do in guarded]
        return routes

    def _with_session(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            cookie = self.state.sessions.renew(request.cookies.get(COOKIE, ""))
            if cookie is None:
                return self.refusal(401, "You must be logged in to access this resource")
            if not request.path.endswith(".json") and "application/json" not in request.headers.get("Accept", ""):
                return web.Response(status=406, text="Not Acceptable")
            try:
                response = await handler(request)
            except Refused as refused:
                response = refused.response
            except FormError as error:
                response = self.refusal(400, str(error))
            if request.method != "DELETE":
                self._set_cookie(response, cookie)
            return response

        return guarded

    def _set_cookie(self, response: web.StreamResponse, cookie: str) -> None:
        response.set_cookie(COOKIE, cookie, path="/", httponly=True)

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Begin a session."""
        fields = await read_fields(request)
        given = (fields.get("username", fields.get("login")), fields.get("password"), fields.get("client"))
        right = [self.credentials[name] for name in ("username", "password", "client")]
        matches = [
            isinstance(value, str) and hmac.compare_digest(as_bytes(value), str(expected).encode())
            for value, expected in zip(given, right, strict=True)
        ]
        if not all(matches):
            return self.refusal(401, "Invalid username, password or client")
        response = web.json_response({"session": {"username": right[0], "userid": USER_ID}}, status=201)
        self._set_cookie(response, self.state.sessions.begin())
        return response

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """End the session."""
        self.state.sessions.end(request.cookies[COOKIE])
        response = web.json_response({})
        response.del_cookie(COOKIE, path="/")
        return response

    async def list_messages(self, request: web.Request) -> web.StreamResponse:
        """List messages, filtered."""
        try:
            query = ListQuery.parse(request.query)
        except QueryError as error:
            return self._invalid(str(error))
        now = self.world.now()
        found = query.select(self.state.messages.values(), now)
        return web.json_response([{"message": message.to_json(now, query.fields)} for message in found])

    async def show_message(self, request: web.Request) -> web.StreamResponse:
        """Show one message with all its fields, unless told which."""
        number = request.match_info["id"]
        message = self.state.messages.get(int(number)) if re.fullmatch("[0-9]{1,9}", number) else None
        if message is None:
            return self.refusal(404, "Message not found")
        try:
            fields = parse_fields(request.query["ret"]) if "ret" in request.query else FIELDS
        except QueryError as error:
            return self._invalid(str(error))
        return web.json_response({"message": message.to_json(self.world.now(), fields)})

    async def delete_message(self, request: web.Request) -> web.StreamResponse:
        """Refuse: the vendor has disabled this."""
        return self.refusal(403, "Messages cannot be deleted")

    async def create_message(self, request: web.Request) -> web.StreamResponse:
        """Send a message to a unit, or in a unit's name."""
        fields = (await read_fields(request)).get("message")
        if not isinstance(fields, dict):
            return self._invalid("Message can't be blank")
        message = self._created(fields)
        if not message.fromto and message.unitid == self.credentials["unitid"]:
            self._echo(message)
        return web.json_response({"message": message.to_json(self.world.now())}, status=201)

    def _created(self, fields: dict[str, Any]) -> Message:
        problems: list[str] = []
        unitid = _integer(fields.get("unitid"), "Unitid", problems)
        if unitid is not None and unitid not in (*ONLINE_UNITS, OFFLINE_UNIT):
            problems.append("Unitid does not exist")
        channelid = _integer(fields.get("channelid"), "Channelid", problems)
        if channelid is not None and channelid not in CHANNELS:
            problems.append("Channelid does not exist")
        userid = _integer(fields.get("userid", USER_ID), "Userid", problems)
        replyto = _integer(fields.get("replyto", NOBODY), "Replyto", problems)
        direction = fields.get("direction", "usertounit")
        if direction not in ("usertounit", "unittouser"):
            problems.append("Direction is not included in the list")
        timeout = fields.get("timeout", DEFAULT_TIMEOUT_MIN)
        timeout = None if timeout in (None, "null") else _integer(timeout, "Timeout", problems)
        if timeout is not None and not 0 <= timeout <= MAX_TIMEOUT_MIN:
            problems.append("Timeout must be between 0 and 32767")
        content = fields.get("content")
        if not isinstance(content, str):
            problems.append("Content can't be blank")
        if problems or unitid is None or channelid is None or userid is None or replyto is None:
            raise Refused(self._invalid(*problems))
        return self.state.add(
            unitid=unitid,
            userid=userid,
            fromto=direction == "unittouser",
            channelid=channelid,
            content=as_bytes(str(content)),
            replyto=replyto,
            timeout=timeout,
        )

    def _echo(self, message: Message) -> None:
        state = self.state
        self.world.echo_soon(
            lambda: state.add(
                unitid=message.unitid,
                userid=message.userid,
                fromto=True,
                channelid=message.channelid,
                content=message.content,
                replyto=message.id,
            )
        )

    def receive(self, inbound: Inbound) -> str:
        """Let a unit send a message."""
        sender, reply = inbound.sender or "", inbound.in_reply_to or ""
        seconds = inbound.expires_after
        message = self.state.add(
            unitid=int(sender) if re.fullmatch("[0-9]{1,9}", sender) else self.credentials["unitid"],
            userid=NOBODY,
            fromto=True,
            channelid=self.credentials["channelid"],
            content=as_text(inbound.text).encode(),
            replyto=int(reply) if re.fullmatch("[0-9]{1,9}", reply) else NOBODY,
            timeout=DEFAULT_TIMEOUT_MIN if seconds is None else -(-seconds // 60),
        )
        return str(message.id)

    def sent(self) -> list[dict[str, Any]]:
        """Messages to units."""
        now = self.world.now()
        return [message.summary(now) for message in self.state.messages.values() if not message.fromto]

    def waiting(self) -> list[dict[str, Any]]:
        """Messages from units which have not timed out."""
        now = self.world.now()
        arrived = (message for message in self.state.messages.values() if message.fromto)
        return [message.summary(now) for message in arrived if not message.timed_out(now)]

    def refusal(self, status: int, reason: str) -> web.StreamResponse:
        """Refuse with an object."""
        return web.json_response({"error": reason}, status=status)

    def expire_sessions(self) -> int:
        """End all sessions."""
        return self.state.sessions.expire_all()

    def _invalid(self, *problems: str) -> web.Response:
        return web.json_response(problems, status=422)


def _integer(value: Any, name: str, problems: list[str]) -> int | None:
    if type(value) is int and abs(value) < 10**9:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    problems.append(f"{name} can't be blank" if value in (None, "") else f"{name} is not a number")
    return None
