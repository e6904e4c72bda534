"""The asynchronous transport, for the triggerer: aiohttp carries the calls.

A thousand open long polls in one process cost one per cent of a core. Whatever could block the event loop (certificate
stores, proxies, files) is done in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any, TypeVar, cast

import aiohttp
import tenacity
import yarl
from multidict import istr

from airflow_messaging.exceptions import ConnectFailed, MessageTooLarge, MessagingError, ProtocolError
from airflow_messaging.services.base import Call, Exclusive, Flow, Service
from airflow_messaging.services.http import Request, Response
from airflow_messaging.transport.bodies import PIECE, Outgoing, Readable, encode
from airflow_messaging.transport.driving import Finished, advance
from airflow_messaging.transport.files import Sink
from airflow_messaging.transport.options import (
    MAX_REDIRECTS,
    TransportOptions,
    ca_file_from_environment,
    full_url,
    lost,
    proxy_for,
    redirected,
    with_own_headers,
)
from airflow_messaging.transport.pacing import heed, pauses
from airflow_messaging.transport.progress import Progress
from airflow_messaging.transport.retry import retrying
from airflow_messaging.transport.sessions import borrow, give_back

T = TypeVar("T")
SinkFactory = Callable[[], Sink]

log = logging.getLogger(__name__)

_NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
_SMALL_BODY = 64 * 1024
_NOTHING_OPENED = contextlib.nullcontext()


class AsyncTransport:
    """Carries out the calls of one service.

    :param service: The service.
    :param options: How it is reached.
    :param sleep: Waits before attempts.
    :param clock: Monotonic seconds, by which it waits.
    """

    __slots__ = ("_ca_file", "_clock", "_exclusive", "_opening", "_proxy", "_session", "_sleep", "options", "service")

    def __init__(
        self,
        service: Service,
        options: TransportOptions,
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.options = options
        self._sleep = sleep
        self._clock = clock
        self._exclusive = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self._ca_file = options.ca_file or ca_file_from_environment()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            self._session = None
            await give_back(self._ca_file)

    async def run(self, call: Call[T], sink: SinkFactory | None = None) -> T:
        """Carry out one call.

        :param call: The call.
        :param sink: Makes, once per attempt, what a good answer's body is streamed into; it is used in threads.
        :return: The call's result.
        :raises ServiceError: If the service refuses.
        :raises ProtocolError: If the answer is not what the documents describe.
        :raises TransportError: If no complete answer comes: ``ConnectFailed``, ``ConnectionLost`` or, for a send that
            may have arrived, ``DeliveryUnknown``.
        """
        try:
            return await self._attempt(call, sink)
        except MessagingError as error:
            failed = [error]

        async def attempt() -> T:
            if failed:
                # The first attempt has been made: tenacity only has to be told.
                raise failed.pop()
            return await self._attempt(call, sink)

        retry = tenacity.AsyncRetrying(**retrying(call, self.options, self._sleep))
        return cast("T", await retry(attempt))

    async def run_flow(self, flow: Flow[T], state: Call[Any] | Finished[T] | None = None) -> T:
        """Carry out the calls of a flow one after another.

        :param flow: The flow.
        :param state: Where it stands, if it has been started.
        :return: The flow's result.
        :raises MessagingError: As :meth:`run` does.
        """
        state = state or advance(flow)
        while not isinstance(state, Finished):
            try:
                result = await self.run(state)
            except MessagingError as error:
                state = advance(flow, error=error)
            else:
                state = advance(flow, result)
        return state.value

    async def _attempt(self, call: Call[T], sink: SinkFactory | None) -> T:
        request = call.request
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._authenticated(call, request, sink)
            following = redirected(self.service, call, request, response)
            if following is None:
                if len(response.body) > _SMALL_BODY:
                    return await asyncio.to_thread(self.service.result, call, response)
                return self.service.result(call, response)
            request = following
        raise ProtocolError(self.service.name, call.endpoint, f"more than {MAX_REDIRECTS} redirects")

    async def _authenticated(self, call: Call[Any], request: Request, sink: SinkFactory | None) -> Response:
        if not self.service.is_own_request(request):
            return await self._exchange(call, request, sink)
        flow = self.service.auth_flow(request)
        response: Response | None = None
        try:
            step = next(flow)
            while True:
                if isinstance(step, Exclusive):
                    # If the answer to a login is lost, the call itself has not been sent.
                    harmless = dataclasses.replace(call, repeatable=True)
                    async with self._exclusive:
                        answer = None if step.needless() else await self._exchange(harmless, step.request, None)
                        response = answer or response
                        step = flow.send(answer)
                else:
                    response = await self._exchange(call, step, sink)
                    step = flow.send(response)
        except StopIteration:
            pass
        if response is None:
            raise ProtocolError(self.service.name, call.endpoint, "the authentication sent no request")
        return response

    async def _exchange(self, call: Call[Any], request: Request, sink: SinkFactory | None) -> Response:
        session = await self._open()
        await self._take_turn(call, request)
        error: MessagingError
        with _NOTHING_OPENED if request.body is None else Outgoing() as opened:
            try:
                async with await self._start(session, call, request, opened) as answer:
                    response = await self._read(call, answer, sink)
            except aiohttp.InvalidURL:
                error = ProtocolError(self.service.name, call.endpoint, "not a usable address")
            except _NEVER_LEFT as problem:
                error = ConnectFailed(self.service.name, call.endpoint, type(problem).__name__)
            except (aiohttp.ClientError, TimeoutError, OSError) as problem:
                incomplete = opened is not None and opened.lacks_the_end
                reason = type(problem).__name__
                error = _from_our_side(problem) or lost(self.service, call, reason, incomplete=incomplete)
            else:
                self.service.observe(response)
                heed(self.service, self.options, request, response, self._clock)
                return response
        # Outside the handlers, so that the library's error, which knows the whole URL, is not even its context.
        raise error

    async def _take_turn(self, call: Call[Any], request: Request) -> None:
        with closing(pauses(self.service, self.options, call, request, self._clock)) as waits:
            for seconds in waits:
                await self._sleep(seconds)

    async def _start(
        self, session: aiohttp.ClientSession, call: Call[Any], request: Request, opened: Outgoing | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Prepare the request; its frame is gone while the connection is held open."""
        headers, data = ({}, None) if opened is None else await _encoded(call, request, opened)
        url = self.service.url(request)
        return session.request(
            request.method,
            _parsed(full_url(self.service, request)),
            headers={_kept(name): value for name, value in with_own_headers({**headers, **request.headers}).items()},
            data=data if data is None or isinstance(data, bytes) else _pieces(data),
            allow_redirects=False,
            timeout=_timeout(self.options.connect_timeout, self.options.read_timeout + request.hold),
            proxy=self._proxy if self.service.is_own_request(request) else await asyncio.to_thread(proxy_for, url),
        )

    async def _read(self, call: Call[Any], answer: aiohttp.ClientResponse, sink: SinkFactory | None) -> Response:
        headers = tuple((str(name), str(value)) for name, value in answer.headers.items())
        if sink is not None and 200 <= answer.status < 300:
            await _stream(answer, sink)
            return Response(status=answer.status, headers=headers)
        body = bytearray()
        async for piece in answer.content.iter_chunked(_SMALL_BODY):
            body += piece
            if len(body) > call.body_limit:
                if not call.cut:
                    raise MessageTooLarge(self.service.name, call.endpoint, call.body_limit)
                answer.close()
                return Response(status=answer.status, headers=headers, complete=False)
        return Response(status=answer.status, headers=headers, body=bytes(body))

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        async with self._opening:
            if self._session is None:
                self._proxy = await asyncio.to_thread(proxy_for, self.service.base_url)
                self._session = await borrow(self._ca_file)
            return self._session


async def _encoded(
    call: Call[Any], request: Request, opened: Outgoing
) -> tuple[dict[str, str], bytes | Readable | None]:
    upload = getattr(request.body, "upload", None)
    if upload is None:
        return encode(request.body, None, opened)
    progress = Progress(call.endpoint, upload.size, log)
    headers, data = await asyncio.to_thread(encode, request.body, progress, opened)
    if data is not None and not isinstance(data, bytes):
        headers["Content-Length"] = str(len(data))
    return headers, data


async def _stream(answer: aiohttp.ClientResponse, sink: SinkFactory) -> None:
    async with _in_threads(sink) as target:
        async for piece in answer.content.iter_chunked(PIECE):
            await asyncio.to_thread(target.write, piece)
        await asyncio.to_thread(target.commit)


@contextlib.asynccontextmanager
async def _in_threads(sink: SinkFactory) -> AsyncIterator[Sink]:
    with contextlib.ExitStack() as opened:
        target = await asyncio.to_thread(lambda: opened.enter_context(sink()))
        try:
            yield target
        except BaseException as error:
            kept = opened.pop_all()
            await asyncio.to_thread(kept.__exit__, type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(opened.pop_all().close)


_kept = functools.lru_cache(istr)
"""Keeps each name of a header field once, not once for every open request."""


@functools.lru_cache
def _timeout(connect_s: float, read_s: float) -> aiohttp.ClientTimeout:
    """Make a timeout once for all requests that have it."""
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)


def _parsed(url: str) -> yarl.URL:
    try:
        return yarl.URL(url, encoded=True)
    except ValueError:
        raise aiohttp.InvalidURL("") from None


def _from_our_side(problem: BaseException) -> MessagingError | None:
    """Return our own error where one, such as that of a file that has changed, stopped the library from sending."""
    cause: BaseException | None = problem
    while cause is not None and not isinstance(cause, MessagingError):
        cause = cause.__cause__
    return cause


async def _pieces(data: Readable) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(data.read, PIECE):
        yield piece
