"""Both transports behind one face, so that every test of one is a test of the other."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_messaging.exceptions import UnsupportedFeature
from airflow_messaging.messages import Draft
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.base import AuthFlow, Call, Flow, Refusal, Service
from airflow_messaging.services.go_integrate import GoIntegrate
from airflow_messaging.services.http import Request, Response
from airflow_messaging.services.mdi import Mdi
from airflow_messaging.transport.asynchronous import AsyncTransport
from airflow_messaging.transport.blocking import BlockingTransport
from airflow_messaging.transport.options import TransportOptions

SECRET = "s3cr3t+Probe/key"
KINDS = ("blocking", "asynchronous")


def utcnow() -> datetime:
    return datetime.now(UTC)


def go_integrate(sandbox: RunningSandbox) -> GoIntegrate:
    credentials = sandbox.credentials["go_integrate"]
    return GoIntegrate(
        f"{sandbox.url}/go-integrate/1",
        route=credentials["route"],
        key_secret=credentials["key_secret"],
        clock=utcnow,
    )


def mdi(sandbox: RunningSandbox) -> Mdi:
    credentials = sandbox.credentials["mdi"]
    return Mdi(
        f"{sandbox.url}/mdi/api/v2",
        username=credentials["username"],
        password=credentials["password"],
        client=credentials["client"],
        clock=utcnow,
    )


class Probe(Service):
    """A service that carries credentials in all the places where one may carry them."""

    name = "probe"
    title = "Probe"
    has_read_flag = False

    def __init__(self, base_url: str, clock: Callable[[], datetime] = utcnow) -> None:
        super().__init__(base_url, clock=clock)

    def auth_flow(self, request: Request) -> AuthFlow:
        yield request.with_headers(
            {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}", "request-key": SECRET}
        ).with_params(("api_key", SECRET))

    def check(self) -> Call[bytes]:
        return self.get("check")

    def get(self, url: str = "thing", **fields: Any) -> Call[bytes]:
        return Call(
            endpoint="get",
            request=Request(method="GET", url=url, headers={"X-Plain": "1"}),
            parse=lambda response: response.body,
            repeatable=True,
            **fields,
        )

    def post(self, url: str = "things", *, repeatable: bool = False, body: Any = None, **fields: Any) -> Call[bytes]:
        return Call(
            endpoint="post",
            request=Request(method="POST", url=url, body=body),
            parse=lambda response: response.body,
            repeatable=repeatable,
            message_id="id-7",
            **fields,
        )

    def refusal(self, response: Response) -> Refusal:
        return Refusal()

    def send(self, draft: Draft) -> Flow[Any]:
        raise UnsupportedFeature(self.name, "sending")
        yield

    def message(self, message_id: str) -> Flow[Any]:
        raise UnsupportedFeature(self.name, "looking up")
        yield

    def received(self, since: datetime | None, *, seen: Mapping[str, Any], limit: int | None) -> Flow[Any]:
        raise UnsupportedFeature(self.name, "receiving")
        yield


class Runner:
    """One transport; pauses before attempts are noted in ``slept`` and not waited for: they move its clock."""

    def __init__(self, kind: str, service: Service, **options: Any) -> None:
        self.kind = kind
        self.slept: list[float] = []
        clock: dict[str, Any] = {"clock": lambda: sum(self.slept)}
        self.options = TransportOptions(**options)
        self._loop = asyncio.Runner() if kind == "asynchronous" else None
        self.transport: Any
        if self._loop is None:
            self.transport = BlockingTransport(service, self.options, sleep=self.slept.append, **clock)
        else:

            async def sleep(seconds: float) -> None:
                self.slept.append(seconds)

            self.transport = AsyncTransport(service, self.options, sleep=sleep, **clock)

    def run(self, call: Call[Any], sink: Any = None) -> Any:
        return self._finish(self.transport.run(call, sink))

    def run_flow(self, flow: Flow[Any]) -> Any:
        return self._finish(self.transport.run_flow(flow))

    def gather(self, *calls: Call[Any]) -> list[Any]:
        """Many calls at once; only for the asynchronous transport."""
        assert self._loop

        async def all_of_them() -> list[Any]:
            return list(await asyncio.gather(*(self.transport.run(call) for call in calls)))

        return self._loop.run(all_of_them())

    def close(self) -> None:
        self._finish(self.transport.close())
        if self._loop is not None:
            self._loop.close()

    def _finish(self, outcome: Any) -> Any:
        if self._loop is None:
            return outcome

        async def wait() -> Any:
            return await outcome

        return self._loop.run(wait())
