"""Whether a message may be what an attempt has sent, by a time of which nobody says the zone."""

from datetime import UTC, datetime, timedelta

import pytest

from airflow_messaging.exceptions import UnsupportedFeature
from airflow_messaging.messages import Draft
from airflow_messaging.services.liquidfiles import LiquidFiles
from airflow_messaging.services.parsing import says_zone
from airflow_messaging.services.sending import is_since, the_sent_one

from .play import SetClock, answer, run_flow

SINCE = datetime(2024, 10, 28, 20, 0, tzinfo=UTC)
SOON, LATER, MUCH_LATER = (SINCE + timedelta(minutes=minutes) for minutes in (1, 30, 600))


@pytest.mark.parametrize(
    ("after_since", "now", "says"),
    [
        (timedelta(0), SOON, True),
        (timedelta(seconds=90), SOON, True),
        (timedelta(minutes=9), MUCH_LATER, True),
        # Older, by nothing that is like a zone.
        (-timedelta(seconds=1), SOON, False),
        (-timedelta(minutes=10), SOON, False),
        (-timedelta(hours=1, minutes=4), LATER, False),
        (-timedelta(hours=1, seconds=-150), SOON, False),
        (-timedelta(hours=14, minutes=1), MUCH_LATER, False),
        (-timedelta(hours=23, minutes=59), SOON, False),
        (-timedelta(hours=24), MUCH_LATER, False),
        (-timedelta(days=7), MUCH_LATER, False),
        # Older, like in a zone further east.
        (-timedelta(minutes=15), SOON, None),
        (-timedelta(hours=1), SOON, None),
        (-timedelta(hours=1, seconds=-50), SOON, None),
        (-timedelta(hours=5, minutes=36), MUCH_LATER, None),
        (-timedelta(hours=5, minutes=45), SOON, None),
        (-timedelta(hours=14), SOON, None),
        # In the future, like in a zone further west.
        (timedelta(hours=1), SOON, None),
        (timedelta(hours=14), LATER, None),
        (timedelta(hours=14), SINCE + timedelta(hours=14), True),
    ],
)
def test_by_its_time(after_since: timedelta, now: datetime, says: bool | None) -> None:
    assert is_since(SINCE + after_since, since=SINCE, now=now) is says


def test_by_a_clock_that_was_not_yet_known() -> None:
    """The first look of a process may ask with our clock, before the service has told its own: it decides nothing."""
    behind = timedelta(hours=1)
    assert is_since(SOON - behind, since=SINCE, now=SOON - behind) is False


def test_the_first_that_surely_is_it() -> None:
    assert the_sent_one("mdi", []) is None
    assert the_sent_one("mdi", [(False, "a")]) is None
    assert the_sent_one("mdi", [(None, "a"), (True, "b"), (True, "c")]) == "b"
    with pytest.raises(UnsupportedFeature, match="'timezone'"):
        the_sent_one("mdi", [(None, "a"), (False, "b")])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("2024-10-24T10:00:00Z", True),
        (" 2024-10-24 10:00:00+02:00", True),
        ("2024-10-24 10:00:00", False),
        ("soon", False),
        ("", False),
        (None, False),
        (7, False),
    ],
)
def test_whether_a_time_names_its_zone(value: object, says: bool) -> None:
    assert says_zone(value) is says


@pytest.mark.parametrize(
    ("written", "doubtful"),
    [
        ("2024-10-28 19:00:05", True),
        ("2024-10-28T19:00:05Z", False),
        ("2024-10-28 19:04:00", False),
        ("2024-10-28 22:00:05", True),
    ],
)
def test_liquidfiles_where_some_servers_name_the_zone(written: str, doubtful: bool) -> None:
    service = LiquidFiles("https://files.example.com", api_key="key", clock=SetClock(SOON))
    record = {"id": "1", "recipients": ["a@example.com"], "subject": "s", "message": "t", "created_at": written}
    flow = service.find_sent(Draft(to=("a@example.com",), subject="s", text="t", message_id="m"), since=SINCE)
    if doubtful:
        with pytest.raises(UnsupportedFeature, match="'timezone'"):
            run_flow(flow, [answer({"sent": [record]})], service)
    else:
        assert run_flow(flow, [answer({"sent": [record]})], service).result is None
