"""What a connection may say about how its service is reached, and the rules both transports share."""

from __future__ import annotations

import dataclasses
import functools
import os
import ssl
import threading
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from airflow_messaging import __version__
from airflow_messaging.exceptions import (
    ConnectionLost,
    DeliveryUnknown,
    InvalidInput,
    ProtocolError,
    Shown,
    TransportError,
)
from airflow_messaging.services.base import Call, Service
from airflow_messaging.services.http import Request, Response

USER_AGENT = f"airflow-provider-messaging/{__version__}"
MAX_REDIRECTS = 5
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """How a service is reached.

    :param connect_timeout: Seconds to wait for a connection. Default 10.
    :param read_timeout: Seconds to wait for the next bytes of an answer. Default 60.
    :param attempts: How often a call is tried in all. Default 4.
    :param max_wait: The longest pause before an attempt, in seconds; where a longer one is asked for, ``RateLimited``
        is raised at once. Default 30.
    :param max_per_second: The most requests per second of this account in this process. Default: no limit.
    :param login: Whose requests these are: accounts of one service are told apart by it.
    :param ca_file: File of CA certificates to trust in place of the system's.
    :param allow_insecure: Whether plain ``http`` to hosts other than this machine is allowed. Default no.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    attempts: int = 4
    max_wait: float = 30.0
    max_per_second: float | None = None
    login: str = dataclasses.field(default="", repr=False)
    ca_file: str | None = None
    allow_insecure: bool = False

    def tightened(self, **most: float) -> TransportOptions:
        """Return a copy in which nothing is more than this.

        :param most: Upper bounds by name, such as ``read_timeout=5``.
        """
        return dataclasses.replace(self, **{name: min(getattr(self, name), value) for name, value in most.items()})


def full_url(service: Service, request: Request) -> str:
    """Return the absolute URL of a request with its query; it may carry credentials, so it is never kept."""
    url = service.url(request)
    if not request.params:
        return url
    return f"{url}{'&' if '?' in url else '?'}{_query(request.params)}"


_query = functools.lru_cache(maxsize=8)(urlencode)
"""Most requests of an account have the same query: its credentials, or none."""


def with_own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the header fields of a request with those that every request has.

    :raises InvalidInput: If a value would change the request around it, or not arrive as it is.
    """
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise InvalidInput("header", Shown("a value that HTTP cannot carry"), "printable ASCII")
    return {"User-Agent": USER_AGENT, "Accept": "*/*", **headers}


def is_plain_http(url: str) -> bool:
    """Say whether a URL would send in clear over a network."""
    parts = urlsplit(url)
    return parts.scheme == "http" and (parts.hostname or "").lower() not in LOOPBACK


def redirected(service: Service, call: Call[Any], request: Request, response: Response) -> Request | None:
    """Return the request that follows a redirect, or None if the answer is not one to follow.

    Only reads are followed. The new request is built from the clean one, so that no credential goes along; the auth
    flow adds them again where the target is the connection's own origin.

    :raises ProtocolError: If the redirect leads to plain http, or to an address that cannot be used.
    """
    if response.status not in (301, 302, 303, 307, 308) or request.method != "GET":
        return None
    location = response.header("Location")
    if not location:
        return None
    try:
        target = urljoin(service.url(request), location)
        parts = urlsplit(target)
        usable = parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ProtocolError(service.name, call.endpoint, "redirect to an unusable address")
    if parts.scheme not in ("http", "https") or (is_plain_http(target) and not service.is_own(target)):
        raise ProtocolError(service.name, call.endpoint, "redirect to an insecure address")
    return Request(method="GET", url=target, headers=request.headers)


def lost(service: Service, call: Call[Any], problem: str, *, incomplete: bool = False) -> TransportError:
    """Return the error for a request whose answer did not arrive whole.

    :param service: The service.
    :param call: The call.
    :param problem: What happened.
    :param incomplete: Whether the request cannot have left whole, so that it has had no effect. Default: it may have.
    """
    if call.repeatable or incomplete:
        return ConnectionLost(service.name, call.endpoint, problem)
    return DeliveryUnknown(service.name, call.endpoint, problem, call.message_id)


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, if any."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


_loading = threading.Lock()


def shared_tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the TLS context for these certificates; loaded once a process for each state of their file.

    :param ca_file: File or directory of the certificates to trust. Default: the system's.
    :raises InvalidInput: If they cannot be read.
    """
    path = Path(ca_file) if ca_file is not None else None
    changed_at = path.stat().st_mtime_ns if path is not None and path.exists() else 0
    # It takes tens of milliseconds, so of those who ask at once, one loads.
    with _loading:
        return _tls_context(ca_file, changed_at)


@functools.lru_cache(maxsize=8)
def _tls_context(ca_file: str | None, _changed_at: int) -> ssl.SSLContext:
    try:
        if ca_file is not None and Path(ca_file).is_dir():
            return ssl.create_default_context(capath=ca_file)
        return ssl.create_default_context(cafile=ca_file or _instead_of_the_systems())
    except OSError as error:
        raise InvalidInput("ca_file", ca_file, f"a file of CA certificates ({type(error).__name__})") from None


def _instead_of_the_systems() -> str | None:
    """Return the certificates that come with requests, where the system has none."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    system = ssl.get_default_verify_paths()
    return None if system.cafile or system.capath else DEFAULT_CA_BUNDLE_PATH


def ca_file_from_environment(names: Iterable[str] = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")) -> str | None:
    """Return the CA file that the environment names, as ``requests`` itself would."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
