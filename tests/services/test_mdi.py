from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    MessagingError,
    NotFound,
    ProtocolError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    UnsupportedFeature,
)
from airflow_messaging.messages import Attachment, Draft, Message, Status, as_recipients, upload_from_bytes
from airflow_messaging.services.base import Call
from airflow_messaging.services.http import FormBody, Request, Response
from airflow_messaging.services.mdi import ALL_FIELDS, DEFAULT_LIMIT, NEVER, PAGE_SIZE, Mdi, parse_cookie_jar

from .play import (
    NOW,
    Exchange,
    SetClock,
    answer,
    hostile_responses,
    refused,
    run_auth,
    run_flow,
    sample,
    survives,
    unreadable,
)

PASSWORD = "s3cret & more"
GET = Request(method="GET", url="messages.json")
OK = answer([])
ENDED = answer(status=401)


def service(**changes: Any) -> Mdi:
    arguments = {"username": "user", "password": PASSWORD, "client": "acme", "clock": SetClock()}
    return Mdi("http://g8teway.com/api/v2", **{**arguments, **changes})


def record(id_: int, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "unitid": 1, "fromto": True, "content": "c", "datetime": "2024-10-24T12:00:00Z", **fields}


def page(*records: dict[str, Any]) -> Response:
    return answer([{"message": fields} for fields in records])


def form(call: Call[Any]) -> dict[str, str | bytes]:
    assert isinstance(call.request.body, FormBody)
    return dict(call.request.body.fields)


def send(api: Mdi, *, to: Any = "17", **changes: Any) -> Any:
    return api.send(
        Draft(**{"to": as_recipients(to), "text": "test", "message_id": "m1", "options": {"channelid": 11}, **changes})
    )


# -- requests -----------------------------------------------------------------------------------------------------


def test_the_list_is_asked_as_in_the_documents() -> None:
    api = service()
    call = api.messages(
        ret=("unitid", "userid", "fromto", "time", "channelid", "content", "replyto", "timeout", "status")
    )

    recipe = sample("mdi/list-messages.curl")
    assert f"'{api.url(call.request)}?{urlencode(call.request.params, safe=',')}'" in recipe
    assert call.repeatable


def test_all_fields_are_asked_for_unless_told() -> None:
    assert service().messages().request.params == (("ret", ",".join(ALL_FIELDS)),)
    assert service().messages(ret="id, time").request.params == (("ret", "id,time"),)


def test_every_filter() -> None:
    call = service(zone=ZoneInfo("Europe/Warsaw")).messages(
        ret="id",
        status=0,
        timedout=False,
        unitids=1,
        date_from="2024-10-24 12:00",
        date_to=datetime(2024, 10, 24, 12, 0, 0, 999999, tzinfo=UTC),
        userids="1,2",
        direction="unittouser",
        messageids=[3, "4"],
        replyto=(5,),
        channelids=[6],
        id_min=0,
        id_max="8",  # type: ignore[arg-type]
        limit=9,
    )
    assert dict(call.request.params) == {
        "ret": "id",
        "status": "0",
        "timedout": "false",
        "unitids": "1",
        "from": "2024-10-24T10:00:00Z",
        "to": "2024-10-24T12:00:00Z",
        "userids": "1,2",
        "direction": "unittouser",
        "messageids": "3,4",
        "replyto": "5",
        "channelids": "6",
        "id_min": "0",
        "id_max": "8",
        "limit": "9",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("ret", bad) for bad in ("", "id,colour", [], [7], 7, "id,,time")],
        *[("status", bad) for bad in (4, -1, True, "new", 1.0)],
        *[("timedout", bad) for bad in (1, "true")],
        *[("direction", bad) for bad in ("up", "", 1, ["unittouser"])],
        *[("date_from", bad) for bad in ("soon", 7, "")],
        ("date_to", "later"),
        *[("unitids", bad) for bad in ([], "", "1,x", [-1], [True], [None], 1.5)],
        *[(field, "x") for field in ("userids", "messageids", "replyto", "channelids", "id_min", "id_max", "limit")],
        *[("limit", bad) for bad in (0, -1, True)],
        *[("id_min", bad) for bad in (-1, False)],
    ],
)
def test_bad_filters(field: str, value: Any) -> None:
    refused(field, lambda: service().messages(**{field: value}))


def test_a_message_is_sent_as_in_the_documents() -> None:
    call = service().create_message(unitid=1, channelid=11, content="test")

    assert (call.request.method, call.request.url, call.repeatable) == ("POST", "messages.json", False)
    assert form(call) == {"message[unitid]": "1", "message[channelid]": "11", "message[content]": "test"}
    for name, value in form(call).items():
        assert f'-F "{name}={value!s}"' in sample("mdi/create-message.curl")


def test_every_field_of_a_message() -> None:
    call = service().create_message(
        unitid="1", channelid="11", content=b"\x00\xff", userid=2, replyto=3, timeout=0, direction="usertounit"
    )
    assert form(call) == {
        "message[unitid]": "1",
        "message[channelid]": "11",
        "message[content]": b"\x00\xff",
        "message[userid]": "2",
        "message[replyto]": "3",
        "message[timeout]": "0",
        "message[direction]": "usertounit",
    }


@pytest.mark.parametrize(("timeout", "sent"), [(0, "0"), (32767, "32767"), ("2880", "2880"), (NEVER, "null")])
def test_timeouts(timeout: Any, sent: str) -> None:
    call = service().create_message(unitid=1, channelid=11, content="", timeout=timeout)
    assert form(call)["message[timeout]"] == sent


@pytest.mark.parametrize("bad", [32768, -1, True, False, 1.5, "", "never", "None", [1]])
def test_a_bad_timeout_is_refused_by_name_value_and_rule(bad: Any) -> None:
    error = refused("timeout", lambda: service().create_message(unitid=1, channelid=11, content="x", timeout=bad))
    assert str(error) == f"timeout: got {bad!r}, expected whole minutes from 0 to 32767, or 'null' for no timeout"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("unitid", bad) for bad in (None, "", "unit", True, -1, 1.0, [1], "1,2")],
        *[("channelid", bad) for bad in (None, "x", False)],
        *[("userid", bad) for bad in ("x", True, -1)],
        *[("replyto", bad) for bad in ("x", -1)],
        *[("direction", bad) for bad in ("", "down", 7)],
        *[("content", bad) for bad in (None, 7, ["x"])],
    ],
)
def test_bad_message_arguments(field: str, value: Any) -> None:
    refused(field, lambda: service().create_message(**{"unitid": 1, "channelid": 11, "content": "x", field: value}))


@pytest.mark.parametrize("bad", ["", "x", "../1", -1, True, None])
def test_what_cannot_be_a_message_id(bad: Any) -> None:
    refused("message_id", lambda: service().get_message(bad))


def test_one_message_is_asked_with_all_fields() -> None:
    request = service().get_message("3098").request
    assert (request.method, request.url) == ("GET", "messages/3098.json")
    assert request.params == (("ret", ",".join(ALL_FIELDS)),)


# -- answers ------------------------------------------------------------------------------------------------------


def test_the_documents_list() -> None:
    api = service()
    body = sample("mdi/messages.txt").replace(",...]", "]").encode()

    first, second = api.result(api.messages(ret="unitid,content"), answer(body))

    assert first == Message(
        service="mdi",
        id="",
        sender="1",
        text="message2",
        sent_at=datetime(2009, 4, 10, 10, 53, 24, tzinfo=UTC),
        received_at=datetime(2009, 4, 10, 10, 53, 24, tzinfo=UTC),
        expires_at=datetime(2009, 4, 12, 10, 53, 24, tzinfo=UTC),
    )
    assert (second.sender, second.text, second.raw["status"]) == ("3", "message1", 3)
    with pytest.raises(ProtocolError, match="'id'"):
        api.result(api.messages(), answer(body))


def test_the_documents_receipt() -> None:
    api = service()
    call = api.create_message(unitid=17, channelid=11, content="test")

    receipt = api.result(call, answer(sample("mdi/message-created.json"), 201))

    assert (receipt.id, receipt.status) == ("3098", Status.QUEUED)
    assert receipt.sent_at == datetime(2009, 5, 28, 11, 55, 35, tzinfo=UTC)
    assert receipt.raw["timeout"] == 2880


def test_a_receipt_needs_no_more_than_an_id() -> None:
    api = service()
    receipt = api.result(api.create_message(unitid=1, channelid=1, content="x"), answer({"message": {"id": 7}}))
    assert (receipt.id, receipt.status, receipt.sent_at) == ("7", Status.QUEUED, NOW - timedelta(seconds=1))


def test_a_created_message_looked_up() -> None:
    api = service()
    response = answer(sample("mdi/message-created.json"))

    message = api.result(api.get_message("3098"), response)

    assert (message.id, message.sender, message.recipients, message.text) == ("3098", "2", ("17",), "test")
    assert message.in_reply_to is None
    assert Message.from_dict(json.loads(json.dumps(message.to_dict()))) == message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"fromto": True, "unitid": 3, "userid": 2}, ("3", ("2",))),
        ({"fromto": True, "unitid": 3, "userid": -1}, ("3", ())),
        ({"fromto": False, "unitid": 3, "userid": 2}, ("2", ("3",))),
        ({"fromto": False, "unitid": 3, "userid": "-1"}, (None, ("3",))),
        ({"fromto": None, "unitid": 3, "userid": 2}, (None, ())),
        ({"fromto": True, "unitid": None}, (None, ())),
    ],
)
def test_who_wrote_to_whom(fields: dict[str, Any], expected: Any) -> None:
    (message,) = service().result(service().messages(), page(record(1, **fields)))
    assert (message.sender, message.recipients) == expected


@pytest.mark.parametrize(
    ("fields", "attribute", "expected"),
    [
        ({"refid": 3097}, "in_reply_to", "3097"),
        ({"refid": -1}, "in_reply_to", None),
        ({"replyto": 3097}, "in_reply_to", "3097"),
        (
            {"datetime": None, "time": "2024-10-24T12:00:01Z"},
            "received_at",
            datetime(2024, 10, 24, 12, 0, 1, tzinfo=UTC),
        ),
        ({"datetime": "2024-10-24T12:00:00"}, "received_at", datetime(2024, 10, 24, 10, tzinfo=UTC)),
        ({"timeout": 0}, "expires_at", None),
        ({"timeout": -1}, "expires_at", None),
        ({"timeout": None}, "expires_at", None),
        ({"content": None}, "text", None),
        ({"content": ""}, "text", ""),
        ({"content": "a\x00b"}, "content", b"a\x00b"),
        ({"content": "\ud800"}, "content", b"\xed\xa0\x80"),
    ],
)
def test_fields(fields: dict[str, Any], attribute: str, expected: Any) -> None:
    api = service(zone=ZoneInfo("Europe/Warsaw"))
    (message,) = api.result(api.messages(), page(record(1, **fields)))
    assert getattr(message, attribute) == expected
    assert "\x00" not in str(message.raw)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Log in</html>",
        b'[{"message": {"id": 1',
        b"\xff",
        b"{}",
        b"null",
        b'{"message": {"id": 1}}',
        b"[7]",
        b"[{}]",
        b'[{"message": []}]',
        b'[{"message": {}}]',
        b'[{"message": {"id": 1.5}}]',
        b'[{"message": {"id": 1, "datetime": "soon"}}]',
        b'[{"message": {"id": 1, "datetime": 7}}]',
        b'[{"message": {"id": 1, "fromto": 1}}]',
        b'[{"message": {"id": 1, "content": {}}}]',
        b'[{"message": {"id": 1, "unitid": []}}]',
        b'[{"message": {"id": 1, "timeout": true}}]',
        b'[{"message": {"id": 1, "datetime": "2024-10-24T12:00:00Z", "timeout": 99999999999999999999}}]',
        b"[" * 100_000,
    ],
)
def test_a_list_that_is_not_one(body: bytes) -> None:
    unreadable(service(), service().messages(), answer(body))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message": 7}', b'{"message": {"id": null}}'])
def test_a_message_that_is_not_one(body: bytes) -> None:
    api = service()
    for call in (api.get_message(1), api.create_message(unitid=1, channelid=1, content="x")):
        unreadable(api, call, answer(body, 201))


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, b'{"error": "bad ret"}', ServiceError, "bad ret"),
        (401, b"no session", AuthenticationFailed, "no session"),
        (403, b'{"error": "not yours"}', AuthenticationFailed, "not yours"),
        (404, b'["Not found"]', NotFound, "Not found"),
        (406, b"", ServiceError, None),
        (422, b'["Unit is unknown", "Channel is unknown"]', ServiceError, "Unit is unknown; Channel is unknown"),
        (429, b"slow down", RateLimited, "slow down"),
        (500, b"<h1>Error</h1>", ServiceUnavailable, None),
        (502, b"being upgraded", ServiceUnavailable, "being upgraded"),
        (503, b"over capacity", ServiceUnavailable, "over capacity"),
    ],
)
def test_errors(status: int, body: bytes, kind: type[ServiceError], words: str | None) -> None:
    with pytest.raises(ServiceError) as caught:
        service().result(service().messages(), answer(body, status))
    assert type(caught.value) is kind
    assert caught.value.message == words


NAMES = (
    "message",
    "id",
    "unitid",
    "userid",
    "fromto",
    "datetime",
    "time",
    "content",
    "refid",
    "timeout",
    "status",
    "error",
)


@settings(max_examples=300, deadline=None)
@given(response=hostile_responses(*NAMES))
def test_whatever_comes_only_typed_errors_escape(response: Response) -> None:
    api = service()
    for call in (api.messages(), api.get_message(1), api.create_message(unitid=1, channelid=1, content="x")):
        survives(api, call, response)
    for flow in (api.status("1"), api.received(None, seen={}, limit=None)):
        with contextlib.suppress(MessagingError):
            run_flow(flow, [response], api)


@settings(max_examples=200, deadline=None)
@given(
    response=hostile_responses(*NAMES),
    status=st.sampled_from([200, 302, 401, 422, 503]),
    cookie=st.text(max_size=20),
    location=st.text(max_size=20) | st.just("http://[/login"),
)
def test_whatever_a_login_answers_only_typed_errors_escape(
    response: Response, status: int, cookie: str, location: str
) -> None:
    headers = (("Set-Cookie", cookie), ("Location", location), *response.headers)
    response = dataclasses.replace(response, status=status, headers=headers)
    exchange = Exchange(service(), GET)
    with contextlib.suppress(MessagingError):
        exchange.enter_lock()
        while not exchange.over and len(exchange.sent) < 9:
            exchange.enter_lock() if exchange.waits_for_lock else exchange.deliver(response)
    assert len(exchange.sent) <= 4


# -- session ------------------------------------------------------------------------------------------------------


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


# -- cookie jars --------------------------------------------------------------------------------------------------

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


# -- the vendor-neutral face --------------------------------------------------------------------------------------


def test_check_reads_one_message() -> None:
    assert ("limit", "1") in service().check().request.params


def test_send() -> None:
    api = service()
    options = {"channelid": 11, "timeout": 5, "userid": 2, "direction": "usertounit"}
    played = run_flow(send(api, in_reply_to="3097", options=options), ["receipt"])
    assert played.result == "receipt"
    assert form(played.calls[0]) == {
        "message[unitid]": "17",
        "message[channelid]": "11",
        "message[content]": "test",
        "message[userid]": "2",
        "message[replyto]": "3097",
        "message[timeout]": "5",
        "message[direction]": "usertounit",
    }


@pytest.mark.parametrize(
    ("connection", "options", "channel"),
    [(11, {}, "11"), ("11", {"channelid": 12}, "12"), (None, {"channelid": 0}, "0")],
)
def test_the_channel_comes_from_the_message_or_the_connection(connection: Any, options: Any, channel: str) -> None:
    call = next(send(service(channelid=connection), options=options))
    assert form(call)["message[channelid]"] == channel


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"options": {}}, "channelid"),
        ({"options": {"channelid": None}}, "channelid"),
        ({"options": {"channelid": 11, "colour": "red"}}, "options"),
        ({"options": {"channelid": 11, "timeout": 32768}}, "timeout"),
        ({"to": "unit"}, "unitid"),
        ({"to": []}, "to"),
        ({"to": ""}, "to"),
        ({"text": None}, "text"),
        ({"in_reply_to": "x"}, "replyto"),
    ],
)
def test_bad_sends(changes: dict[str, Any], field: str) -> None:
    refused(field, lambda: next(send(service(), **changes)))


def test_a_unit_may_be_given_as_a_number() -> None:
    assert form(next(send(service(), to=17)))["message[unitid]"] == "17"


@pytest.mark.parametrize(
    "changes", [{"subject": "s"}, {"attachments": (upload_from_bytes("f", b"x"),)}, {"to": ["1", "2"]}]
)
def test_what_cannot_be_expressed(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFeature):
        next(send(service(), **changes))


def test_there_is_no_read_flag_no_long_poll_and_no_attachment() -> None:
    api = service()
    attachment = api.attachment(Message(service="mdi", id="1"), Attachment(id="1", filename="f"))
    for flow in (api.mark_read([]), api.wait_next("1"), attachment):
        with pytest.raises(UnsupportedFeature):
            next(flow)
    assert (api.has_read_flag, api.long_poll) == (False, False)


def test_bad_channel_of_the_connection() -> None:
    refused("channelid", lambda: service(channelid="x"))


def test_received_asks_for_what_units_sent() -> None:
    since = datetime(2024, 10, 24, 12, tzinfo=UTC)
    played = run_flow(service().received(since, seen={}, limit=None), [[]])
    assert dict(played.calls[0].request.params) == {
        "ret": ",".join(ALL_FIELDS),
        "timedout": "true",
        "from": "2024-10-24T11:59:59Z",
        "direction": "unittouser",
        "limit": str(PAGE_SIZE),
    }
    assert "from" not in dict(run_flow(service().received(None, seen={}, limit=1), [[]]).calls[0].request.params)


def test_received_is_everything_new_oldest_first() -> None:
    api = service()
    response = page(
        record(1, datetime="2024-10-24T12:00:03Z"),
        record(2, datetime="2024-10-24T12:00:00Z"),
        record(3, datetime="2024-10-24T11:59:59Z"),
        record(4, datetime="2024-10-24T12:00:01Z"),
        record(5, datetime="2024-10-24T12:00:02Z", fromto=False),
        record(6, datetime="2024-10-24T12:00:02Z", fromto=None),
        record(7, datetime=None),
    )
    since = datetime(2024, 10, 24, 12, tzinfo=UTC)
    played = run_flow(api.received(since, seen={"4": since}, limit=1), [response], api)
    assert [message.id for message in played.result] == ["7", "2", "6", "1"]


@pytest.mark.parametrize(
    ("status", "expected"), [(0, Status.QUEUED), (1, Status.SENT), (2, Status.DELIVERED), (3, Status.FAILED)]
)
def test_status(status: int, expected: Status) -> None:
    api = service()
    played = run_flow(api.status("7"), [answer({"message": record(7, status=status)})], api)
    assert played.result is expected


@pytest.mark.parametrize("status", [4, -1, None, True, "0", []])
def test_a_status_that_is_not_one(status: Any) -> None:
    api = service()
    with pytest.raises(ProtocolError, match="'status'"):
        run_flow(api.status("7"), [answer({"message": record(7, status=status)})], api)


def test_message_looks_one_up() -> None:
    played = run_flow(service().message("7"), [answer({"message": record(7)})], service())
    assert played.result.id == "7"


# -- pages --------------------------------------------------------------------------------------------------------


def answered(call: Call[Any], stored: list[int], *, cap: int, newest_first: bool) -> Response:
    """Answer as a service with these ids would that puts at most ``cap`` messages on a page."""
    params = dict(call.request.params)
    low, high = int(params.get("id_min", 0)), int(params.get("id_max", 10**9))
    ids = sorted((id_ for id_ in stored if low <= id_ <= high), reverse=newest_first)
    return page(*(record(id_) for id_ in ids[: min(cap, int(params["limit"]))]))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("cap", [DEFAULT_LIMIT, PAGE_SIZE, 1000])
@pytest.mark.parametrize("count", [0, 1, 24, 25, 26, 50, 99, 100, 101, 260])
def test_no_message_is_lost_between_pages(count: int, cap: int, newest_first: bool) -> None:
    api = service()
    stored = [3 * number + 1 for number in range(count)]
    played = run_flow(
        api.messages_all(unitids=1), lambda call: answered(call, stored, cap=cap, newest_first=newest_first), api
    )
    assert [int(message.id) for message in played.result] == stored
    assert all(("unitids", "1") in call.request.params for call in played.calls)
    assert len(played.calls) <= count // DEFAULT_LIMIT + 1


def test_a_service_that_does_not_page_is_noticed() -> None:
    api = service()
    same = page(*(record(id_) for id_ in range(1, 26)))
    with pytest.raises(ProtocolError, match="repeats"):
        run_flow(api.messages_all(), [same, same], api)


def test_a_full_page_without_order_is_not_paged_on() -> None:
    api = service()
    mixed = page(*(record(id_) for id_ in [*range(2, 26), 1]))
    with pytest.raises(ProtocolError, match="order"):
        run_flow(api.messages_all(), [mixed], api)
    assert len(run_flow(api.messages_all(), [page(record(2), record(1))], api).result) == 2


def test_pages_that_never_end() -> None:
    api = service()
    flow = api.messages_all()
    next(flow)
    with pytest.raises(ProtocolError, match="pages"):
        for start in range(0, 10**6, 25):
            flow.send([Message(service="mdi", id=str(start + number)) for number in range(25)])


def test_an_id_that_is_no_number_cannot_be_paged() -> None:
    api = service()
    with pytest.raises(ProtocolError, match="'id'"):
        run_flow(api.messages_all(), [page(record("x"))], api)  # type: ignore[arg-type]
