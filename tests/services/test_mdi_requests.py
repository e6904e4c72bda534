"""MDI: what is asked of the server, and which arguments are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.services.mdi import ALL_FIELDS, NEVER

from .play import refused, sample
from .play_mdi import form, service


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
