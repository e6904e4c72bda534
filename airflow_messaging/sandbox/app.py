"""The application: five services and the control routes on one port."""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import format_datetime

from aiohttp import ClientPayloadError, web
from aiohttp.typedefs import Handler

from airflow_messaging.sandbox.bodies import attach_body
from airflow_messaging.sandbox.control import Control
from airflow_messaging.sandbox.faults import Faults, answer_with_fault
from airflow_messaging.sandbox.forms import FormError
from airflow_messaging.sandbox.journal import Journal
from airflow_messaging.sandbox.service import Refused, SandboxService
from airflow_messaging.sandbox.services import SERVICES
from airflow_messaging.sandbox.world import World

_HTTP_ERROR = 400


class Sandbox:
    """Everything that one running sandbox consists of."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.journal = Journal()
        self.faults = Faults()
        self.services: dict[str, SandboxService] = {service.name: service(world) for service in SERVICES}

    def reset(self) -> None:
        """Go back to the state just after the start."""
        self.world.timers.cancel_all()
        self.world.clock.reset()
        self.journal.clear()
        self.faults.replace([])
        for service in self.services.values():
            service.release()
            service.reset()

    def service_of(self, path: str) -> SandboxService | None:
        """Find the service that a path belongs to."""
        for service in self.services.values():
            if path == service.prefix or path.startswith(service.prefix + "/"):
                return service
        return None

    def application(self) -> web.Application:
        """Assemble the web application."""
        app = web.Application(middlewares=[self._record])
        app.on_response_prepare.append(self._stamp)
        app.on_shutdown.append(self._release_held_requests)
        app.add_routes(Control(self).routes())
        for service in self.services.values():
            app.add_routes(service.routes())
        return app

    async def _release_held_requests(self, app: web.Application) -> None:
        self.world.closing.set()
        self.world.timers.cancel_all()
        for service in self.services.values():
            service.release()

    async def _stamp(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        # Clients correct a skewed clock by this header, so it follows the sandbox's clock.
        response.headers["Date"] = format_datetime(self.world.now(), usegmt=True)
        response.headers["Server"] = "airflow-messaging-sandbox"

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = attach_body(request)
        service = self.service_of(request.path)
        if service is None:
            return await handler(request)
        record = self.journal.open_record(service.name, request, self.world.now())
        try:
            fault = self.faults.take(service.name, request.path)
            if fault is None:
                response = await _in_vendor_form(service, request, handler)
            else:
                record["fault"] = "reset" if fault.reset else "truncated" if fault.truncate_at is not None else "answer"

                async def vendor(request: web.Request) -> web.StreamResponse:
                    return await _in_vendor_form(service, request, handler)

                response = await answer_with_fault(fault, service, request, vendor)
            with contextlib.suppress(ConnectionError, ClientPayloadError):
                await body.drain()
            record["status"] = None if record["fault"] == "reset" else response.status
            return response
        finally:
            record["body_sha256"], record["body_size"] = body.sha256, body.size


async def _in_vendor_form(service: SandboxService, request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return refused.response
    except FormError as error:
        return service.refusal(400, str(error))
    except web.HTTPException as error:
        if error.status < _HTTP_ERROR:
            raise
        return service.refusal(error.status, error.reason)


async def start(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, str]:
    """Accept connections; return the runner to clean up and the URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, read_bufsize=1 << 18)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    real_port = runner.addresses[0][1]
    shown_host = f"[{host}]" if ":" in host else host
    return runner, f"http://{shown_host}:{real_port}"


async def serve(sandbox: Sandbox, host: str, port: int, stop: asyncio.Event) -> None:
    """Run until `stop` is set; the one line on standard output says where."""
    runner, url = await start(sandbox.application(), host, port)
    print(f"Sandbox ready at {url}", flush=True)
    try:
        await stop.wait()
    finally:
        await runner.cleanup()
