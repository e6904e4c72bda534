"""Looking for a message among those of a unit, and times at the ends of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_messaging.exceptions import InvalidInput, UnsupportedFeature
from airflow_messaging.messages import Draft, Status
from airflow_messaging.services.mdi import DEFAULT_LIMIT, NEVER
from airflow_messaging.services.receiving import poll, start

from .play import run_flow
from .play_mdi import page, record, service

SINCE = datetime(2024, 10, 24, 12, 0, 0, 400_000, tzinfo=UTC)


def draft(**changes: Any) -> Draft:
    fields = {"to": ("17",), "text": "Come home", "options": {"channelid": 11}, "message_id": "m1", **changes}
    return Draft(**fields)


def ours(id_: int = 3001, **changes: Any) -> dict[str, Any]:
    fields = {"unitid": 17, "channelid": 11, "userid": 2, "fromto": False, "content": "Come home", "refid": -1}
    return record(id_, **{**fields, "status": 1, "timeout": 2880, **changes})


def found(*records: dict[str, Any], wanted: Draft | None = None) -> Any:
    api = service()
    return run_flow(api.find_sent(wanted or draft(), since=SINCE), [page(*records)], api).result


def test_the_sent_message_is_found() -> None:
    receipt = found(ours(3001), ours(3002))
    assert (receipt.id, receipt.status, receipt.sent_at) == (
        "3001",
        Status.SENT,
        datetime(2024, 10, 24, 12, tzinfo=UTC),
    )
    assert "content" not in receipt.raw


def test_the_list_is_narrowed_to_what_it_may_be() -> None:
    api = service()
    options = {"channelid": 11, "userid": 5, "timeout": NEVER}
    played = run_flow(api.find_sent(draft(options=options, in_reply_to="7"), since=SINCE), [page()], api)
    asked = dict(played.calls[0].request.params)
    assert played.result is None
    assert {name: asked[name] for name in asked if name not in ("ret", "limit")} == {
        "unitids": "17",
        "channelids": "11",
        "userids": "5",
        "direction": "usertounit",
        "timedout": "true",
        "from": "2024-10-24T11:59:59Z",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"datetime": "2024-10-24T11:59:59Z"},
        {"datetime": None},
        {"content": "Come home now"},
        {"content": ""},
        {"content": None},
        {"fromto": True},
        {"fromto": None},
        {"refid": 7},
        {"unitid": 18},
        {"channelid": 32},
    ],
)
def test_an_older_or_another_message_is_not(changes: dict[str, Any]) -> None:
    assert found(ours(**changes)) is None


def test_a_reply_and_a_units_message_are_told_apart() -> None:
    assert found(ours(refid=7), wanted=draft(in_reply_to="7")).id == "3001"
    assert found(ours(), wanted=draft(in_reply_to="7")) is None
    by_unit = draft(options={"channelid": 11, "direction": "unittouser"})
    assert found(ours(fromto=True), wanted=by_unit).id == "3001"
    assert found(ours(), wanted=by_unit) is None


@pytest.mark.parametrize("text", ["a\0b", "zażółć", "line\r\nline", ""])
def test_any_content_is_compared_whole(text: str) -> None:
    assert found(ours(content=text + "x"), ours(3002, content=text), wanted=draft(text=text)).id == "3002"


def test_all_pages_are_looked_through() -> None:
    api = service()
    first = page(*(ours(number, content="another") for number in range(1, DEFAULT_LIMIT + 1)))
    played = run_flow(api.find_sent(draft(), since=SINCE), [first, page(ours(3001))], api)
    assert played.result.id == "3001"
    assert dict(played.calls[1].request.params)["id_min"] == str(DEFAULT_LIMIT + 1)


@pytest.mark.parametrize("timeout", [0, "0", "00"])
def test_a_message_that_is_not_kept_cannot_be_looked_for(timeout: Any) -> None:
    with pytest.raises(UnsupportedFeature, match="timeout of 0"):
        next(service().find_sent(draft(options={"channelid": 11, "timeout": timeout}), since=SINCE))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"to": ()}, InvalidInput),
        ({"text": None}, InvalidInput),
        ({"options": {}}, InvalidInput),
        ({"options": {"channelid": 11, "timeout": -1}}, InvalidInput),
        ({"subject": "s"}, UnsupportedFeature),
    ],
)
def test_what_could_not_be_sent_is_not_looked_for(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        next(service().find_sent(draft(**changes), since=SINCE))


@pytest.mark.parametrize("floor", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_a_floor_before_all_computers_asks_for_everything(floor: str) -> None:
    api = service()
    cursor = run_flow(start(api, floor, run_started=SINCE)).result
    played = run_flow(poll(api, cursor), [page(record(1))], api)
    assert "from" not in dict(played.calls[0].request.params)
    assert [message.id for message in played.result.messages] == ["1"]


@pytest.mark.parametrize(
    ("when", "written"),
    [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("2024-10-24T14:00:00.9+02:00", "2024-10-24T12:00:00Z"),
    ],
)
def test_years_have_four_digits(when: str, written: str) -> None:
    assert dict(service().messages(date_from=when).request.params)["from"] == written
