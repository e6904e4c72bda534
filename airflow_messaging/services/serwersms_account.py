"""SerwerSMS.pl: the account, how it authenticates, what it may still send, and how the service refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from typing import TypeVar
from urllib.parse import quote, quote_plus

from airflow_messaging.exceptions import AuthenticationFailed, NotFound, ServiceError, Shown
from airflow_messaging.messages import JsonDict
from airflow_messaging.services import serwersms_wire as wire
from airflow_messaging.services.base import AuthFlow, Call, Clock, Refusal, Service, require
from airflow_messaging.services.http import JsonBody, Request, Response
from airflow_messaging.services.parsing import Reader, as_utc, parse_json

T = TypeVar("T")
Time = datetime | str

LOGIN_CODES = frozenset({"1001", "1002", "1003", "1005", "1007", "1008"})
"""InvalidUser, InvalidRole and InvalidIP: the account, not the request, is refused."""
UNKNOWN_ID = "1004"


class SerwerSmsAccount(Service):
    """What all endpoints of SerwerSMS.pl share.

    :param base_url: For example ``https://api2.serwersms.pl``.
    :param username: The account's name; not needed with a token.
    :param password: The account's password; not needed with a token.
    :param token: A token of the API, which goes out as ``Authorization: Bearer …`` in place of name and password.
    :param clock: Returns the present time, aware, UTC.
    :param zone: The zone of all times on the wire, which the documents leave open. Default UTC.
    :raises InvalidInput: If the token cannot stand in a header field.
    """

    def __init__(
        self,
        base_url: str,
        *,
        username: str = "",
        password: str = "",
        token: str | None = None,
        clock: Clock,
        zone: tzinfo = UTC,
    ) -> None:
        super().__init__(base_url, clock=clock, zone=zone)
        fits = token is None or (token and token.isascii() and token.isprintable() and " " not in token)
        require(fits, "password", Shown("a token with other characters"), "a token in printable ASCII without spaces")
        self._token = token
        self._credentials = {"username": username, "password": password}

    def account_limits(self) -> Call[list[wire.Limit]]:
        """Say how many messages the account may still send (``account/limits``).

        :return: A call for one limit per kind of message.
        """
        return self._call("account/limits", {}, wire.limits, repeatable=True)

    # -- credentials ------------------------------------------------------------------------------------------------

    def auth_flow(self, request: Request) -> AuthFlow:
        """Add name and password to the body, or the token to the header."""
        if self._token is None:
            yield wire.with_fields(request, self._credentials)
        else:
            yield request.with_headers({"Authorization": f"Bearer {self._token}"})

    def derived_secrets(self) -> Iterable[str]:
        """Return the secret as it looks inside JSON and inside a form, where that is different."""
        secret = self._credentials["password"] if self._token is None else self._token
        return sorted({json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret)} - {secret})

    # -- answers ----------------------------------------------------------------------------------------------------

    def refusal(self, response: Response) -> Refusal:
        """Read ``{"error": {"code": 1001, "type": "InvalidUser", "message": "…"}}``."""
        error = Reader(self.name, "error", parse_json(self.name, "error", response)).child("error")
        words = [text for text in (error.text("type"), error.text("message")) if text]
        return Refusal(error.optional_identifier("code"), ": ".join(words) or None)

    def error_class(self, status: int, code: str | None) -> type[ServiceError]:
        """Choose by the vendor's code first: its errors come with HTTP 200."""
        if code in LOGIN_CODES:
            return AuthenticationFailed
        return NotFound if code == UNKNOWN_ID else super().error_class(status, code)

    def _call(
        self,
        endpoint: str,
        parameters: JsonDict,
        parse: Callable[[Reader], T],
        *,
        repeatable: bool = False,
        message_id: str | None = None,
    ) -> Call[T]:
        def checked(response: Response) -> T:
            answer = Reader(self.name, endpoint, parse_json(self.name, endpoint, response))
            if answer.has("error") and answer.child("error"):
                raise self.error(endpoint, response)
            return parse(answer)

        given = {name: value for name, value in parameters.items() if value is not None}
        request = Request(method="POST", url=endpoint, headers={"Accept": "application/json"}, body=JsonBody(given))
        return Call(endpoint=endpoint, request=request, parse=checked, repeatable=repeatable, message_id=message_id)

    def _time(self, field: str, value: Time | None) -> str | None:
        if value is None:
            return None
        when = as_utc(field, value, self.zone).astimezone(self.zone)
        return when.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
