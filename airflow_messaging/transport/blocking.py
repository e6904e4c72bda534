"""The blocking transport, for workers: requests carries the calls."""

from __future__ import annotations

import dataclasses
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar, cast

import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter

from airflow_messaging.exceptions import ConnectFailed, MessageTooLarge, MessagingError, ProtocolError
from airflow_messaging.services.base import Call, Exclusive, Flow, Service
from airflow_messaging.services.http import MEBIBYTE, Request, Response
from airflow_messaging.transport.bodies import Outgoing, encode
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
    shared_tls_context,
    with_own_headers,
)
from airflow_messaging.transport.pacing import heed, pauses
from airflow_messaging.transport.progress import Progress
from airflow_messaging.transport.redact import keep_queries_out_of_logs
from airflow_messaging.transport.retry import retrying

T = TypeVar("T")
SinkFactory = Callable[[], Sink]

log = logging.getLogger(__name__)

_NEVER_LEFT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)


class BlockingTransport:
    """Carries out the calls of one service.

    :param service: The service.
    :param options: How it is reached.
    :param sleep: Waits before attempts.
    :param clock: Monotonic seconds, by which it waits.
    """

    def __init__(
        self,
        service: Service,
        options: TransportOptions,
        *,
        sleep: Callable[[float], Any] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keep_queries_out_of_logs()
        self.service = service
        self.options = options
        self._sleep = sleep
        self._clock = clock
        self._exclusive = threading.Lock()
        self._session = _session(options)
        self._proxy = proxy_for(service.base_url)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def run(self, call: Call[T], sink: SinkFactory | None = None) -> T:
        """Carry out one call.

        :param call: The call.
        :param sink: Makes, once per attempt, what a good answer's body is streamed into.
        :return: The call's result.
        :raises ServiceError: If the service refuses.
        :raises ProtocolError: If the answer is not what the documents describe.
        :raises TransportError: If no complete answer comes: ``ConnectFailed``, ``ConnectionLost`` or, for a send that
            may have arrived, ``DeliveryUnknown``.
        """
        try:
            return self._attempt(call, sink)
        except MessagingError as error:
            failed = [error]

        def attempt() -> T:
            if failed:
                # The first attempt has been made: tenacity only has to be told.
                raise failed.pop()
            return self._attempt(call, sink)

        retry = tenacity.Retrying(**retrying(call, self.options, self._sleep))
        return retry(attempt)

    def run_flow(self, flow: Flow[T]) -> T:
        """Carry out the calls of a flow one after another.

        :param flow: The flow.
        :return: The flow's result.
        :raises MessagingError: As :meth:`run` does.
        """
        state = advance(flow)
        while not isinstance(state, Finished):
            try:
                result = self.run(state)
            except MessagingError as error:
                state = advance(flow, error=error)
            else:
                state = advance(flow, result)
        return state.value

    def _attempt(self, call: Call[T], sink: SinkFactory | None) -> T:
        request = call.request
        for _ in range(MAX_REDIRECTS + 1):
            response = self._authenticated(call, request, sink)
            following = redirected(self.service, call, request, response)
            if following is None:
                return self.service.result(call, response)
            request = following
        raise ProtocolError(self.service.name, call.endpoint, f"more than {MAX_REDIRECTS} redirects")

    def _authenticated(self, call: Call[Any], request: Request, sink: SinkFactory | None) -> Response:
        if not self.service.is_own_request(request):
            return self._exchange(call, request, sink)
        flow = self.service.auth_flow(request)
        # If the answer to a login is lost, the call itself has not been sent.
        harmless = dataclasses.replace(call, repeatable=True)
        response: Response | None = None
        try:
            step = next(flow)
            while True:
                if isinstance(step, Exclusive):
                    with self._exclusive:
                        answer = None if step.needless() else self._exchange(harmless, step.request, None)
                        response = answer or response
                        step = flow.send(answer)
                else:
                    response = self._exchange(call, step, sink)
                    step = flow.send(response)
        except StopIteration:
            pass
        if response is None:
            raise ProtocolError(self.service.name, call.endpoint, "the authentication sent no request")
        return response

    def _exchange(self, call: Call[Any], request: Request, sink: SinkFactory | None) -> Response:
        with closing(pauses(self.service, self.options, call, request, self._clock)) as waits:
            for seconds in waits:
                self._sleep(seconds)
        with Outgoing() as opened:
            error: MessagingError
            try:
                answer = self._send(call, request, opened)
                response = self._read(call, answer, sink)
            except requests.exceptions.InvalidURL:
                error = ProtocolError(self.service.name, call.endpoint, "not a usable address")
            except requests.RequestException as problem:
                error = self._failed(call, problem, opened)
            except (urllib3.exceptions.HTTPError, OSError) as problem:
                error = lost(self.service, call, type(problem).__name__, incomplete=opened.lacks_the_end)
            else:
                self.service.observe(response)
                heed(self.service, self.options, request, response, self._clock)
                return response
        # Outside the handlers, so that the library's error, which knows the whole URL, is not even its context.
        raise error

    def _send(self, call: Call[Any], request: Request, opened: Outgoing) -> requests.Response:
        upload = getattr(request.body, "upload", None)
        progress = Progress(call.endpoint, upload.size, log) if upload else None
        headers, data = encode(request.body, progress, opened)
        prepared = requests.Request(
            request.method,
            full_url(self.service, request),
            headers=with_own_headers({**headers, **request.headers}),
            data=cast("Any", data),
        ).prepare()
        url = self.service.url(request)
        proxy = self._proxy if self.service.is_own_request(request) else proxy_for(url)
        # Past Session.send, which reads a redirect's body whole and its address without care, even if not to follow it.
        answer = self._session.get_adapter(prepared.url or url).send(
            prepared,
            stream=True,
            timeout=(self.options.connect_timeout, self.options.read_timeout + request.hold),
            proxies={"http": proxy, "https": proxy} if proxy else {},
        )
        opened.callback(answer.close)
        return answer

    def _read(self, call: Call[Any], answer: requests.Response, sink: SinkFactory | None) -> Response:
        headers = tuple((str(name), str(value)) for name, value in answer.raw.headers.iteritems())
        if sink is not None and 200 <= answer.status_code < 300:
            with sink() as target:
                for piece in _pieces(answer):
                    target.write(piece)
                target.commit()
            return Response(status=answer.status_code, headers=headers)
        body = bytearray()
        for piece in _pieces(answer):
            body += piece
            if len(body) > call.body_limit:
                if not call.cut:
                    raise MessageTooLarge(self.service.name, call.endpoint, call.body_limit)
                return Response(status=answer.status_code, headers=headers, complete=False)
        return Response(status=answer.status_code, headers=headers, body=bytes(body))

    def _failed(self, call: Call[Any], problem: requests.RequestException, opened: Outgoing) -> MessagingError:
        reason = getattr(problem.args[0] if problem.args else None, "reason", None)
        # Any other TLS error may have come after the request.
        untrusted = next(
            (cause for cause in getattr(reason, "args", ()) if isinstance(cause, ssl.CertificateError)), None
        )
        if untrusted is not None:
            return ConnectFailed(self.service.name, call.endpoint, _in_words(untrusted))
        unconnected = requests.exceptions.ProxyError | requests.exceptions.ConnectTimeout
        if isinstance(problem, unconnected) or isinstance(reason, _NEVER_LEFT):
            return ConnectFailed(self.service.name, call.endpoint, _in_words(reason or problem))
        return lost(self.service, call, _in_words(reason or problem), incomplete=opened.lacks_the_end)


def _session(options: TransportOptions) -> requests.Session:
    session = requests.Session()
    # The environment's .netrc must not add credentials, and proxies are looked up once, not per request.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    ca_file = options.ca_file or ca_file_from_environment()
    if ca_file is not None:
        shared_tls_context(ca_file)
    adapter = _Adapter(ca_file)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _Adapter(HTTPAdapter):
    """Sends files in large pieces (http.client's own 16 KiB cost more than hashing) with the process's TLS context.

    :param ca_file: File or directory of the certificates to trust. Default: the system's.
    """

    def __init__(self, ca_file: str | None) -> None:
        super().__init__(max_retries=0)
        self._ca_file = ca_file

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, blocksize=MEBIBYTE, **kwargs)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            return host, {**pool, "ssl_context": shared_tls_context(self._ca_file)}
        return host, pool

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("https:"):
            kwargs["proxy_ssl_context"] = shared_tls_context(self._ca_file)
        return super().proxy_manager_for(proxy, **kwargs)

    def cert_verify(self, *_: Any) -> None:
        # The context does it. To name the certificates here would load them anew for each connection.
        pass


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    return cast("Iterator[bytes]", answer.raw.stream(MEBIBYTE, decode_content=True))


def _in_words(problem: BaseException) -> str:
    """Describe a library error by its kind: its text carries the whole URL."""
    return type(problem).__name__
