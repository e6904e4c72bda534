"""The control routes under `/_sandbox/`: what a test does behind the vendors' backs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.bodies import body_of
from airflow_messaging.sandbox.forms import FormError, parse_json
from airflow_messaging.sandbox.inputs import InputError, boolean, faults_from, inbound_from, number, only
from airflow_messaging.sandbox.page import render
from airflow_messaging.sandbox.service import SandboxService

if TYPE_CHECKING:
    from airflow_messaging.sandbox.app import Sandbox

ROOT = "/_sandbox"


class Control:
    """The routes, which never appear in the journal."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> Iterable[web.RouteDef]:
        """All control routes."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/", self.to_page),
            ("GET", ROOT, self.to_page),
            ("GET", f"{ROOT}/", self.show_page),
            ("GET", f"{ROOT}/credentials", self.credentials),
            ("POST", f"{ROOT}/reset", self.reset),
            ("POST", f"{ROOT}/inbound/{{service}}", self.inbound),
            ("GET", f"{ROOT}/messages", self.messages),
            ("GET", f"{ROOT}/journal", self.journal),
            ("DELETE", f"{ROOT}/journal", self.clear_journal),
            ("GET", f"{ROOT}/faults", self.show_faults),
            ("PUT", f"{ROOT}/faults", self.set_faults),
            ("DELETE", f"{ROOT}/faults", self.clear_faults),
            ("GET", f"{ROOT}/clock", self.show_clock),
            ("PUT", f"{ROOT}/clock", self.set_clock),
            ("PUT", f"{ROOT}/sessions", self.sessions),
        ]
        return [web.route(method, path, _refusing(handler)) for method, path, handler in table]

    async def to_page(self, request: web.Request) -> web.StreamResponse:
        """Lead a browser to the page."""
        raise web.HTTPFound(f"{ROOT}/")

    async def show_page(self, request: web.Request) -> web.StreamResponse:
        """Show what was sent and what waits."""
        page = render(list(self._sandbox.services.values()))
        # Belt and braces: should anything slip through unescaped, it cannot run.
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        body = page.encode("utf-8", "replace")
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=policy)

    async def credentials(self, request: web.Request) -> web.StreamResponse:
        """Tell the seeded credentials."""
        return web.json_response({name: service.credentials for name, service in self._sandbox.services.items()})

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """Go back to the seeded state: messages, sessions, journal, faults and clock."""
        self._sandbox.reset()
        return web.json_response({"reset": True})

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """Let a message arrive."""
        service = self._service(request.match_info["service"])
        return web.json_response({"id": service.receive(inbound_from(await _document(request)))})

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Tell what was sent and what waits, per service and oldest first."""
        services = self._sandbox.services
        if "service" in request.query:
            services = {request.query["service"]: self._service(request.query["service"])}
        return web.json_response(
            {name: {"sent": service.sent(), "waiting": service.waiting()} for name, service in services.items()}
        )

    async def journal(self, request: web.Request) -> web.StreamResponse:
        """Tell what was received."""
        wanted = request.query.get("service")
        if wanted is not None:
            self._service(wanted)
        return web.json_response(self._sandbox.journal.records(wanted))

    async def clear_journal(self, request: web.Request) -> web.StreamResponse:
        """Forget what was received, and nothing else."""
        self._sandbox.journal.clear()
        return web.json_response([])

    async def show_faults(self, request: web.Request) -> web.StreamResponse:
        """Tell which faults are left."""
        return web.json_response(self._sandbox.faults.to_json())

    async def set_faults(self, request: web.Request) -> web.StreamResponse:
        """Replace all faults."""
        faults = faults_from(await _document(request))
        for fault in faults:
            self._service(fault.service)
        self._sandbox.faults.replace(faults)
        return await self.show_faults(request)

    async def clear_faults(self, request: web.Request) -> web.StreamResponse:
        """Let everything work again."""
        self._sandbox.faults.replace([])
        return await self.show_faults(request)

    async def show_clock(self, request: web.Request) -> web.StreamResponse:
        """Tell the sandbox's time."""
        clock = self._sandbox.world.clock
        return web.json_response({"offset_s": clock.offset_s, "frozen": clock.frozen, "now": clock.now().isoformat()})

    async def set_clock(self, request: web.Request) -> web.StreamResponse:
        """Move the clock; `frozen` makes it stand still."""
        document = only(await _document(request), ("offset_s", "frozen"))
        offset = number(document, "offset_s", default=0.0)
        try:
            self._sandbox.world.clock.move(offset, frozen=boolean(document, "frozen"))
        except OverflowError:
            raise InputError("offset_s", "is beyond the calendar") from None
        self._sandbox.world.timers.clock_moved()
        return await self.show_clock(request)

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        """End the sessions of all services which have any."""
        if not boolean(only(await _document(request), ("expire",)), "expire"):
            raise InputError("expire", "must be true")
        expired = sum(service.expire_sessions() for service in self._sandbox.services.values())
        return web.json_response({"expired": expired})

    def _service(self, name: str) -> SandboxService:
        services = self._sandbox.services
        if name not in services:
            problem = {"error": f"There is no service {name!r}.", "services": sorted(services)}
            raise web.HTTPNotFound(text=web.json_response(problem).text, content_type="application/json")
        return services[name]


def _refusing(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except InputError as error:
            return web.json_response({"error": str(error), "field": error.field}, status=400)

    return answer


async def _document(request: web.Request) -> Any:
    try:
        return parse_json(await body_of(request).read())
    except FormError as error:
        raise InputError("body", str(error)) from error
