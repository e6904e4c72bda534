"""A session kept in cookies: one login for all who share it, renewed when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from airflow_messaging.exceptions import AuthenticationFailed, ProtocolError, Shown
from airflow_messaging.services.base import AuthFlow, Exclusive, require
from airflow_messaging.services.http import Request, Response, parse_http_date
from airflow_messaging.services.parsing import error_words


class CookieSession:
    """The cookies of one session, and how to get new ones.

    :param service: Connection type of the service.
    :param login: The request that logs in.
    :param cookies: Cookies of a session that is already held, by name. Empty: log in first.
    :param now: Returns the present time by the service's clock.
    :param on_secret: Told every cookie's value as it comes.
    """

    def __init__(
        self,
        service: str,
        login: Request,
        *,
        cookies: Mapping[str, str],
        now: Callable[[], datetime],
        on_secret: Callable[[str], None],
    ) -> None:
        self.service = service
        # Replaced, never changed: another thread may be reading it.
        self.cookies = dict(cookies)
        self._login = login
        self._now = now
        self._on_secret = on_secret
        self._logins = 0

    def flow(self, request: Request) -> AuthFlow:
        """Send a request with the session's cookies; log in before it, and once more after it, where needed.

        :param request: The request.
        :raises AuthenticationFailed: If the login, or the session it made, is refused.
        :raises ProtocolError: If the login brings no cookie.
        """
        if not self.cookies and not (yield from self._log_in(self._logins)):
            return
        login = self._logins
        response = yield self.with_cookies(request)
        if response is not None and is_unauthenticated(response):
            if not (yield from self._log_in(login)):
                return
            login = self._logins
            response = yield self.with_cookies(request)
            if response is not None and is_unauthenticated(response):
                raise self._refused(response)
        if response is not None and login == self._logins:
            # An answer to an older session would put that one's cookies in the place of the new one's.
            self.cookies = self._after(response, self.cookies)

    def forget(self) -> None:
        """Drop the cookies, so that the next request logs in."""
        self.cookies = {}

    def with_cookies(self, request: Request) -> Request:
        """Return a copy of a request with the session's cookies."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return request.with_headers({"Cookie": cookie}) if cookie else request

    def _log_in(self, login: int) -> Generator[Request | Exclusive, Response | None, bool]:
        """Log in unless that has happened since login number ``login``; False if the service had no time for it."""
        response = yield Exclusive(self._login, needless=lambda: self._logins != login)
        if response is None:
            return True
        if response.status >= 500 or response.status in (420, 429):
            # This answer becomes the result of the exchange, and the transport may try again.
            return False
        if response.status >= 400 or is_unauthenticated(response):
            raise self._refused(response)
        cookies = self._after(response, {})
        if not cookies:
            raise ProtocolError(self.service, "session", f"HTTP {response.status} without a cookie")
        self.cookies = cookies
        self._logins += 1
        return True

    def _refused(self, response: Response) -> AuthenticationFailed:
        words = error_words(self.service, response)
        return AuthenticationFailed(self.service, "session", status=response.status, message=words)

    def _after(self, response: Response, cookies: Mapping[str, str]) -> dict[str, str]:
        kept = dict(cookies)
        for line in response.header_values("Set-Cookie"):
            pair, *attributes = line.split(";")
            name, _, value = (part.strip() for part in pair.partition("="))
            kept.pop(name, None)
            if name and value and pair.isascii() and pair.isprintable() and not self._is_over(attributes):
                kept[name] = value
                self._on_secret(value)
        return kept

    def _is_over(self, attributes: list[str]) -> bool:
        fields = {name.strip().lower(): value.strip() for name, _, value in (a.partition("=") for a in attributes)}
        age = fields.get("max-age", "")
        if age.lstrip("-").isdecimal():
            return age.startswith("-") or not age.strip("0")
        expires = parse_http_date(fields.get("expires"))
        return expires is not None and expires <= self._now()


def is_unauthenticated(response: Response) -> bool:
    """Say whether an answer asks to log in: 401, or a redirect to a login page."""
    if response.status == 401:
        return True
    try:
        path = urlsplit(response.header("Location") or "").path.lower()
    except ValueError:
        return False
    return 300 <= response.status < 400 and ("login" in path or "session" in path)


def parse_cookie_jar(text: str, *, host: str | None = None) -> dict[str, str]:
    """Read a cookie file in Netscape's format, as ``curl -c`` writes it.

    :param text: The file's content.
    :param host: Only cookies that may go to this host. Default: all.
    :return: The cookies' values by name. Whether one has run out is left to the service to say.
    :raises InvalidInput: If a line is not a cookie's.
    """
    cookies: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or (line.startswith("#") and not line.startswith("#HttpOnly_")):
            continue
        fields = line.removeprefix("#HttpOnly_").split("\t")
        good = len(fields) == 7 and line.isascii() and "".join(fields).isprintable()
        require(good, "cookies", Shown(f"line {number}"), "seven ASCII fields separated by tabs")
        domain, subdomains, _, _, _, name, value = fields
        own = domain.lstrip(".").lower()
        wanted = (host or own).lower()
        if name and value and (wanted == own or (subdomains == "TRUE" and wanted.endswith(f".{own}"))):
            cookies[name] = value
    return cookies
