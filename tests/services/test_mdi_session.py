"""MDI: the login, its cookies, the end of a session, and cookie jars."""

from __future__ import annotations

import pytest

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ProtocolError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from airflow_messaging.services.http import FormBody, Request, Response
from airflow_messaging.services.mdi import parse_cookie_jar

from .play import Exchange, answer, refused, run_auth
from .play_mdi import ENDED, GET, OK, PASSWORD, service

# -- session ----------------------------------------------------------------------------------------------------------


def logged_in(cookie: str = "_session=abc; path=/; HttpOnly") -> Response:
    return answer(status=201, Set_Cookie=cookie)


def redirect(location: str, status: int = 302, cookie: str = "_session=anonymous") -> Response:
    return answer(status=status, Location=location, Set_Cookie=cookie)


def cookies_of(request: Request) -> str | None:
    return request.headers.get("Cookie")


def test_the_first_request_logs_in_and_the_next_does_not() -> None:
    api = service()
    login, first = run_auth(api, GET, [logged_in(), OK])

    assert (login.method, login.url) == ("POST", "session.json")
    assert login.body == FormBody((("username", "user"), ("password", PASSWORD), ("client", "acme")))
    assert cookies_of(login) is None
    assert cookies_of(first) == "_session=abc"
    assert GET.headers == {}
    assert [cookies_of(request) for request in run_auth(api, GET, [OK])] == ["_session=abc"]
    assert PASSWORD not in repr(login) and "abc" not in repr(first)


def test_every_cookie_of_every_answer_is_kept() -> None:
    api = service()
    several = Response(
        status=200, headers=(("set-cookie", "a=1; Path=/"), ("Set-Cookie", "b=x=y"), ("SET-COOKIE", "c=3"))
    )
    run_auth(api, GET, [several, answer(status=404, Set_Cookie="a=2")])
    (request,) = run_auth(api, GET, [OK])
    assert cookies_of(request) == "b=x=y; c=3; a=2"


@pytest.mark.parametrize(
    "line",
    [
        "a=",
        "a=1; Max-Age=0",
        "a=1; max-age=-5",
        "a=deleted; Expires=Thu, 01-Jan-1970 00:00:00 GMT",
        "a=deleted; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly",
        "a=b\r\nX-Injected: 1",
        "a=é",
    ],
)
def test_a_deleted_or_unusable_cookie_is_dropped(line: str) -> None:
    api = service(cookies={"a": "0", "b": "2"})
    run_auth(api, GET, [answer(Set_Cookie=line)])
    assert [cookies_of(request) for request in run_auth(api, GET, [OK])] == ["b=2"]


@pytest.mark.parametrize(
    "line",
    [
        "a=1; Max-Age=3600; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "a=1; Expires=Fri, 01 Jan 2038 00:00:00 GMT",
        "a=1; Expires=whenever; Max-Age=soon",
        "a=1;",
    ],
)
def test_a_lasting_cookie_is_kept(line: str) -> None:
    api = service(cookies={"b": "2"})
    run_auth(api, GET, [answer(Set_Cookie=line)])
    assert [cookies_of(request) for request in run_auth(api, GET, [OK])] == ["b=2; a=1"]


@pytest.mark.parametrize(
    "ended",
    [
        ENDED,
        redirect("/login"),
        redirect("http://g8teway.com/Login?return_to=x", 303),
        redirect("/api/v2/session/new", 301),
    ],
)
def test_an_ended_session_is_renewed_once(ended: Response) -> None:
    api = service(cookies={"_session": "old"})
    sent = run_auth(api, GET, [ended, logged_in("_session=new"), OK])
    assert [(request.method, cookies_of(request)) for request in sent] == [
        ("GET", "_session=old"),
        ("POST", None),
        ("GET", "_session=new"),
    ]


def test_a_send_is_repeated_after_a_renewal() -> None:
    api = service(cookies={"_session": "old"})
    call = api.create_message(unitid=1, channelid=11, content="x")
    sent = run_auth(api, call.request, [ENDED, logged_in(), answer({"message": {"id": 1}}, 201)])
    assert [request.url for request in sent] == ["messages.json", "session.json", "messages.json"]
    assert sent[0].body == sent[2].body == call.request.body


@pytest.mark.parametrize(
    "location", ["/api/v2/messages/", "https://g8teway.com/api/v2/messages.json?a=login", "http://[/login"]
)
def test_another_redirect_is_no_reason_to_log_in(location: str) -> None:
    api = service(cookies={"_session": "old"})
    assert len(run_auth(api, GET, [redirect(location)])) == 1


def test_a_session_that_is_refused_at_once() -> None:
    for last in (ENDED, redirect("/login")):
        with pytest.raises(AuthenticationFailed) as caught:
            run_auth(service(), GET, [logged_in(), ENDED, logged_in(), last])
        assert (caught.value.endpoint, caught.value.status) == ("session", last.status)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (answer(b"Wrong password", 401), "Wrong password"),
        (answer({"error": "Unknown client"}, 422), "Unknown client"),
        (answer(["Login failed"], 400), "Login failed"),
        (answer(status=403), None),
        (answer(b"<html>", 404), None),
        (redirect("/login"), None),
    ],
)
def test_a_refused_login(response: Response, words: str | None) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        run_auth(service(), GET, [response])
    assert (caught.value.endpoint, caught.value.message) == ("session", words)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(("status", "kind"), [(503, ServiceUnavailable), (500, ServiceUnavailable), (429, RateLimited)])
def test_a_login_that_may_work_later_is_the_result_of_the_exchange(status: int, kind: type[ServiceError]) -> None:
    api = service()
    exchange = Exchange(api, GET)
    exchange.enter_lock()
    exchange.deliver(answer(status=status))
    assert exchange.over
    assert exchange.last is not None
    with pytest.raises(kind):
        api.result(api.messages(), exchange.last)
    assert len(run_auth(api, GET, [logged_in(), OK])) == 2


@pytest.mark.parametrize("response", [answer(b"<html>"), redirect("/", cookie="a="), logged_in("a=")])
def test_a_login_without_a_cookie(response: Response) -> None:
    with pytest.raises(ProtocolError, match="session: HTTP"):
        run_auth(service(), GET, [response])


def test_who_comes_at_the_same_time_shares_the_login() -> None:
    api = service()
    first, second = Exchange(api, GET), Exchange(api, GET)
    assert first.waits_for_lock and second.waits_for_lock

    first.enter_lock()
    first.deliver(logged_in())
    second.enter_lock()

    assert [cookies_of(request) for request in second.sent] == ["_session=abc"]
    assert [cookies_of(request) for request in first.sent] == [None, "_session=abc"]


def test_a_late_answer_does_not_spoil_the_new_session() -> None:
    api = service(cookies={"_session": "old"})
    slow, slower, quick = Exchange(api, GET), Exchange(api, GET), Exchange(api, GET)
    quick.deliver(ENDED)
    quick.enter_lock()
    quick.deliver(logged_in("_session=new"))

    slow.deliver(redirect("/login", cookie="_session=anonymous"))
    slow.enter_lock()
    slower.deliver(answer(Set_Cookie="_session=old2"))

    assert cookies_of(slow.sent[-1]) == "_session=new"
    assert [cookies_of(request) for request in run_auth(api, GET, [OK])] == ["_session=new"]


def test_cookies_are_told_as_secrets() -> None:
    told: list[str] = []
    api = service()
    api.on_secret = told.append
    run_auth(api, GET, [logged_in("_session=abc"), answer(Set_Cookie="b=2")])
    assert told == ["abc", "2"]


def test_derived_secrets() -> None:
    assert list(service().derived_secrets()) == ["s3cret+%26+more"]
    assert list(service(password="plain", cookies={"a": "held"}).derived_secrets()) == ["held"]


@pytest.mark.parametrize("response", [answer(), ENDED, redirect("/login")])
def test_the_session_is_ended(response: Response) -> None:
    api = service(cookies={"_session": "old"})
    call = api.session_delete()
    assert [(request.method, request.url) for request in run_auth(api, call.request, [response])] == [
        ("DELETE", "session.json")
    ]
    api.result(call, response)
    assert [request.method for request in run_auth(api, GET, [logged_in(), OK])] == ["POST", "GET"]


# -- cookie jars ------------------------------------------------------------------------------------------------------

JAR = """# Netscape HTTP Cookie File
# https://curl.se/docs/http-cookies.html

g8teway.com\tFALSE\t/\tFALSE\t0\tplain\t1
#HttpOnly_.g8teway.com\tTRUE\t/\tTRUE\t2147483647\t_session\tabc=def
other.example.com\tFALSE\t/\tFALSE\t0\tforeign\t3
g8teway.com\tFALSE\t/\tFALSE\t0\tempty\t
"""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (None, {"plain": "1", "_session": "abc=def", "foreign": "3"}),
        ("G8teway.com", {"plain": "1", "_session": "abc=def"}),
        ("www.g8teway.com", {"_session": "abc=def"}),
        ("notg8teway.com", {}),
    ],
)
def test_a_cookie_jar(host: str | None, expected: dict[str, str]) -> None:
    assert parse_cookie_jar(JAR, host=host) == expected
    assert parse_cookie_jar(JAR.replace("\n", "\r\n"), host=host) == expected


@pytest.mark.parametrize(
    "line", ["a b c", "a\tFALSE\t/\tFALSE\t0\tname", "a\tFALSE\t/\tFALSE\t0\tname\tsecret\x01", "a=secret"]
)
def test_a_jar_that_is_not_one(line: str) -> None:
    error = refused("cookies", lambda: parse_cookie_jar(f"# comment\n{line}\n"), "secret")
    assert "line 2" in str(error)
