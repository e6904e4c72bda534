from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_messaging.sandbox import RunningSandbox

from .clients import eventually
from .recipes import sample_json


class Mdi:
    def __init__(self, sandbox: RunningSandbox, http: requests.Session) -> None:
        self.base = sandbox.url + "/mdi/api/v2"
        self.credentials = sandbox.credentials["mdi"]
        self.login_fields = {name: self.credentials[name] for name in ("username", "password", "client")}
        self.http = http

    def login(self, path: str = "/session.json", **options: Any) -> requests.Response:
        return self.http.post(self.base + path, timeout=5, **(options or {"data": self.login_fields}))

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.base + path, timeout=5, **options)

    def create(self, **fields: Any) -> requests.Response:
        message = {"unitid": 17, "channelid": 11, "content": "test", **fields}
        return self("POST", "/messages.json", json={"message": message})

    def listed(self, **query: Any) -> list[dict[str, Any]]:
        response = self("GET", "/messages.json", params=query)
        assert response.status_code == 200, response.text
        return [entry["message"] for entry in response.json()]


@pytest.fixture
def mdi(sandbox: RunningSandbox, http: requests.Session) -> Mdi:
    client = Mdi(sandbox, http)
    assert client.login().status_code == 201
    return client


def types(message: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in message.items()}


def test_messages_have_the_shape_of_the_samples(sandbox: RunningSandbox, mdi: Mdi) -> None:
    created = mdi.create()
    assert created.status_code == 201
    assert types(created.json()["message"]) == types(sample_json("mdi/message-created.json")["message"])
    sandbox.inbound("mdi", text="x")
    ret = "unitid,userid,fromto,time,channelid,content,replyto,timeout,status"
    listed = mdi.listed(ret=ret, direction="unittouser")
    assert types(listed[0]) == types(sample_json("mdi/messages.txt")[0]["message"])
    datetime.strptime(listed[0]["datetime"], "%Y-%m-%dT%H:%M:%SZ")
    assert set(mdi.listed()[0]) == {"id", "datetime"}


@pytest.mark.parametrize("path", ["/session", "/sessions", "/session.json", "/sessions.json"])
def test_all_ways_to_log_in(sandbox: RunningSandbox, http: requests.Session, path: str) -> None:
    mdi = Mdi(sandbox, http)
    as_login = {"login" if name == "username" else name: value for name, value in mdi.login_fields.items()}
    as_files = {name: (None, value) for name, value in mdi.login_fields.items()}
    for options in ({"data": mdi.login_fields}, {"data": as_login}, {"json": mdi.login_fields}, {"files": as_files}):
        http.cookies.clear()
        assert mdi.login(path, **options).status_code == 201
        assert mdi("GET", "/messages.json").status_code == 200


@pytest.mark.parametrize("wrong", ["username", "password", "client"])
def test_wrong_logins_are_refused(sandbox: RunningSandbox, http: requests.Session, wrong: str) -> None:
    mdi = Mdi(sandbox, http)
    for fields in ({**mdi.login_fields, wrong: "x"}, {n: v for n, v in mdi.login_fields.items() if n != wrong}):
        response = mdi.login(data=fields)
        assert (response.status_code, list(response.json())) == (401, ["error"])
        assert not response.cookies
    assert mdi("GET", "/messages.json").status_code == 401


def test_cookies_rotate_and_end(sandbox: RunningSandbox, mdi: Mdi) -> None:
    first = dict(mdi.http.cookies)
    assert mdi("GET", "/messages.json").status_code == 200
    second = dict(mdi.http.cookies)
    assert first != second
    url = mdi.base + "/messages.json"
    assert requests.get(url, cookies=first, timeout=5).status_code == 200
    sandbox.clock(6)
    assert requests.get(url, cookies=first, timeout=5).status_code == 401
    assert requests.get(url, cookies=second, timeout=5).status_code == 200


def test_sessions_end_after_an_hour(sandbox: RunningSandbox, mdi: Mdi) -> None:
    sandbox.clock(3500)
    assert mdi("GET", "/messages.json").status_code == 200
    sandbox.clock(3500 + 3601)
    assert mdi("GET", "/messages.json").status_code == 401
    mdi.login()
    assert mdi("GET", "/messages.json").status_code == 200


def test_sessions_end_on_logout_and_on_demand(sandbox: RunningSandbox, mdi: Mdi) -> None:
    cookies = dict(mdi.http.cookies)
    assert mdi("DELETE", "/session.json").status_code == 200
    assert requests.get(mdi.base + "/messages.json", cookies=cookies, timeout=5).status_code == 401
    mdi.login()
    assert sandbox.expire_sessions() == 1
    assert mdi("GET", "/messages.json").status_code == 401


def test_a_refused_message_keeps_the_session(sandbox: RunningSandbox, mdi: Mdi) -> None:
    cookies = dict(mdi.http.cookies)
    assert mdi.create(unitid="x").status_code == 422
    assert mdi("POST", "/messages.json", data=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert dict(mdi.http.cookies) != cookies


def test_json_must_be_asked_for(mdi: Mdi) -> None:
    assert mdi("GET", "/messages").status_code == 406
    assert mdi("GET", "/messages", headers={"Accept": "application/json"}).status_code == 200


def test_forms_and_json_create_the_same(mdi: Mdi) -> None:
    form = {"message[unitid]": "17", "message[channelid]": "11", "message[content]": "test", "message[timeout]": "null"}
    answers = [
        mdi("POST", "/messages.json", data=form),
        mdi("POST", "/messages.json", files={name: (None, value) for name, value in form.items()}),
        mdi.create(timeout=None),
    ]
    messages = [answer.json()["message"] for answer in answers]
    assert [message["timeout"] for message in messages] == [None] * 3
    assert len({(message["unitid"], message["content"], message["userid"]) for message in messages}) == 1


def test_binary_content_survives(mdi: Mdi) -> None:
    content = bytes(range(256))
    fields = {"message[unitid]": (None, "17"), "message[channelid]": (None, "11"), "message[content]": (None, content)}
    answer = mdi("POST", "/messages.json", files=fields)
    assert answer.json()["message"]["content"].encode("latin-1") == content
    as_text = mdi("POST", "/messages.json", files={**fields, "message[content]": (None, "żółw".encode())})
    assert as_text.json()["message"]["content"] == "żółw"


@pytest.mark.parametrize(
    "fields",
    [
        {"unitid": 99},
        {"unitid": "x"},
        {"unitid": None},
        {"unitid": True},
        {"channelid": 12},
        {"content": None},
        {"timeout": 32768},
        {"timeout": -1},
        {"timeout": "long"},
        {"direction": "up"},
        {"replyto": "x"},
        {"userid": []},
    ],
)
def test_invalid_messages_are_refused_with_an_array(mdi: Mdi, fields: dict[str, Any]) -> None:
    response = mdi.create(**fields)
    assert response.status_code == 422
    assert response.json()
    assert all(isinstance(problem, str) for problem in response.json())


def test_status_moves_on(sandbox: RunningSandbox, mdi: Mdi) -> None:
    message = mdi.create().json()["message"]
    assert message["status"] == 0
    seen = []
    for offset in (1.0, 2.0):
        sandbox.clock(offset)
        seen.append(mdi("GET", f"/messages/{message['id']}.json").json()["message"]["status"])
    assert seen == [1, 2]


def test_timed_out_messages_are_hidden(sandbox: RunningSandbox, mdi: Mdi) -> None:
    offline = mdi.create(unitid=18, timeout=1).json()["message"]["id"]
    never = mdi.create(unitid=18, timeout=None).json()["message"]["id"]
    sandbox.clock(61)
    assert [message["id"] for message in mdi.listed()] == [never]
    assert mdi.listed(timedout="true", ret="id,status") == [{"id": offline, "status": 3}, {"id": never, "status": 0}]


def test_list_is_limited_to_25_and_pages_by_id(sandbox: RunningSandbox, mdi: Mdi) -> None:
    ids = [int(sandbox.inbound("mdi", text=str(number))) for number in range(27)]
    assert [message["id"] for message in mdi.listed()] == ids[:25]
    assert [message["id"] for message in mdi.listed(id_min=ids[24] + 1)] == ids[25:]
    assert [message["id"] for message in mdi.listed(id_max=ids[1], limit=1)] == ids[:1]
    assert len(mdi.listed(limit=27)) == 27


def test_list_filters(sandbox: RunningSandbox, mdi: Mdi) -> None:
    mine = mdi.create(userid=5, channelid=32).json()["message"]["id"]
    theirs = int(sandbox.inbound("mdi", text="x", sender="3", in_reply_to=str(mine)))
    now = datetime.now(UTC)
    later, earlier = (f"{now + timedelta(minutes=sign):%Y-%m-%dT%H:%M:%SZ}" for sign in (1, -1))
    queries: dict[str, tuple[Any, list[int]]] = {
        "userids": ("5", [mine]),
        "channelids": ("11,12", [theirs]),
        "unitids": ("3", [theirs]),
        "messageids": (f"{mine},{theirs}", [mine, theirs]),
        "replyto": (str(mine), [theirs]),
        "direction": ("usertounit", [mine]),
        "from": (later, []),
        "to": (earlier, []),
        "status": ("3", []),
    }
    for name, (value, expected) in queries.items():
        assert [message["id"] for message in mdi.listed(**{name: value})] == expected, name


@pytest.mark.parametrize(
    "query",
    [
        "from=2009-04-10T10:53:24",
        "to=2009-04-10",
        "from=x",
        "ret=id,secret",
        "status=9",
        "limit=0",
        "limit=x",
        "direction=up",
        "timedout=maybe",
        "unitids=a",
    ],
)
def test_wrong_queries_are_refused(mdi: Mdi, query: str) -> None:
    response = mdi("GET", f"/messages.json?{query}")
    assert (response.status_code, len(response.json())) == (422, 1)


def test_circle(sandbox: RunningSandbox, mdi: Mdi) -> None:
    message = mdi.create(content="ping").json()["message"]
    [echo] = eventually(lambda: mdi.listed(replyto=message["id"], ret="content,fromto,replyto,unitid"))
    assert echo == {"content": "ping", "fromto": True, "refid": message["id"], "unitid": 17}


def test_single_messages_and_deletion(sandbox: RunningSandbox, mdi: Mdi) -> None:
    message_id = sandbox.inbound("mdi", text="x")
    assert mdi("GET", f"/messages/{message_id}.json?ret=id").json() == {"message": {"id": int(message_id)}}
    assert mdi("GET", "/messages/1.json").status_code == 404
    assert mdi("GET", "/messages/x.json").status_code == 404
    assert mdi("DELETE", f"/messages/{message_id}.json").status_code == 403
