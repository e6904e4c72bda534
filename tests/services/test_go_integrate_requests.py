"""Go Integrate Me: how requests are signed, and which are refused before anything is sent."""

import subprocess
from datetime import timedelta

import pytest

from airflow_messaging.exceptions import UnsupportedFeature
from airflow_messaging.services.go_integrate import request_key
from airflow_messaging.services.http import FileField

from .play import NOW, answer, refused, run_auth, sample
from .play_go_integrate import FILE, LINK, PEER, ROUTE, SECRET, dated, make, md5sum, neutral, sha512sum

service = pytest.fixture(make)

# -- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [ROUTE, "r", "ż-is-not-ascii-in-a-secret"])
@pytest.mark.parametrize("secret", [SECRET, "", "zażółć"])
def test_a_request_key_is_what_the_documents_script_computes(route, secret):
    date = "2024-10-28T20:18:03+00:00"
    for parts in ((date, route, secret), (date, route, PEER, "12345", FILE.md5, secret)):
        assert request_key(*parts) == sha512sum("".join(parts))


def test_the_documents_own_script_agrees(tmp_path):
    script = sample("go_integrate/request-key.send.sh")
    for statement in ("FILE_MD5=", "KEY="):
        script = script.replace(f" {statement}", f"\n{statement}")
    path = tmp_path / "file.txt"
    path.write_bytes(b"hello")
    lines = ["date() { echo 2024-10-28T20:18:03+00:00; }", "shasum() { sha512sum; }", script, 'echo "$KEY"']
    found = subprocess.run(
        ["bash", "-c", "\n".join(lines), "script", path, PEER],
        env={"PATH": "/usr/bin:/bin", "ROUTE": ROUTE, "ID": "12345", "KEY_SECRET": SECRET},
        capture_output=True,
        check=True,
        text=True,
    )
    service = make()
    request = service.send_message(data=FILE, message_to=PEER, message_id="12345").request
    (sent,) = run_auth(service, request, [answer()])
    assert sent.headers["request-key"] == found.stdout.strip()


def test_a_send_is_signed_with_recipient_id_and_digest(service):
    call = service.send_message(data=FILE, message_to=PEER, message_id="12345", message_expires_after=120)
    (sent,) = run_auth(service, call.request, [answer()])
    date = "2024-10-28T20:18:03+00:00"
    assert sent.headers == {
        "request-timestamp": date,
        "request-from": ROUTE,
        "request-key": sha512sum(date + ROUTE + PEER + "12345" + md5sum(b"hello") + SECRET),
        "pay-for-reply": "1",
        "message-id": "12345",
        "message-to": PEER,
        "message-priority": "normal",
        "message-md5": md5sum(b"hello"),
        "message-expires-after": "120",
    }
    assert sent.body == FileField("data", FILE)
    assert (sent.method, service.url(sent)) == ("POST", "https://eu-nl.api.go-integrate.me/1/send-message")
    assert (call.repeatable, call.message_id) == (False, "12345")
    assert "request-key" not in call.request.headers
    assert service.secrets == [sent.headers["request-key"]]
    assert sent.headers["request-key"] not in repr(sent)


def test_reading_signs_date_and_route_and_not_the_link(service):
    wanted = sha512sum("2024-10-28T20:18:03+00:00" + ROUTE + SECRET)
    calls = [
        service.ping(),
        service.check(),
        service.get_message(LINK),
        service.get_next_message(LINK),
        service.wait_next_message(LINK),
    ]
    for call in calls:
        (sent,) = run_auth(service, call.request, [answer("[]")])
        assert sent.headers["request-key"] == wanted
        assert sent.method == "GET"
        assert call.repeatable


def test_each_attempt_is_signed_anew(service):
    request = service.list_messages().request
    (first,) = run_auth(service, request, [answer("[]")])
    service.clock.now += timedelta(seconds=1)
    (second,) = run_auth(service, request, [answer("[]")])
    assert second.headers["request-timestamp"] == "2024-10-28T20:18:04+00:00"
    assert first.headers["request-key"] != second.headers["request-key"]


@pytest.mark.parametrize("ahead_s", [3600, -3600, 301, -301, 200])
def test_a_refusal_by_a_clock_that_is_far_away_is_signed_once_more(service, ahead_s):
    theirs = NOW + timedelta(seconds=ahead_s)
    request = service.list_messages().request
    first, second = run_auth(service, request, [dated(theirs, 403), dated(theirs)])
    assert first.headers["request-timestamp"] == NOW.isoformat()
    assert second.headers["request-timestamp"] == theirs.isoformat()
    assert second.headers["request-key"] == sha512sum(theirs.isoformat() + ROUTE + SECRET)
    # The next request starts from what was learnt, and a further refusal then has another reason.
    (again,) = run_auth(service, request, [dated(theirs, 403)])
    assert again.headers["request-timestamp"] == theirs.isoformat()


@pytest.mark.parametrize(
    "response",
    [
        dated(NOW + timedelta(seconds=100), 403),
        dated(NOW + timedelta(hours=1), 404),
        dated(NOW + timedelta(hours=1), 500),
        dated(NOW + timedelta(hours=1), 200),
        answer("", 403),
        answer("", 403, Date="gibberish"),
        None,
    ],
)
def test_nothing_is_sent_twice_without_that_reason(service, response):
    assert len(run_auth(service, service.list_messages().request, [response])) == 1


def test_a_far_clock_that_refuses_again_is_not_asked_a_third_time(service):
    theirs = dated(NOW + timedelta(hours=1), 403)
    assert len(run_auth(service, service.list_messages().request, [theirs, theirs])) == 2


# -- refusals ---------------------------------------------------------------------------------------------------------

INJECTIONS = ["a\r\nrequest-key: x", "a\nb", "a\rb", "a\0b", " a", "a ", "", "é", "a\u2028b", "a\tb", None, 7, b"a"]


@pytest.mark.parametrize("bad", INJECTIONS)
def test_nothing_can_be_smuggled_into_a_header(service, bad):
    refused("message_to", lambda: service.send_message(data=FILE, message_to=bad, message_id="1"))
    refused("message_id", lambda: service.send_message(data=FILE, message_to=PEER, message_id=bad))
    refused("route", lambda: make(route=bad))


@pytest.mark.parametrize(
    "field, value",
    [
        ("message_expires_after", 0),
        ("message_expires_after", -1),
        ("message_expires_after", 1.5),
        ("message_expires_after", True),
        ("message_expires_after", "120\r\nx: y"),
        ("message_priority", "high"),
        ("pay_for_reply", 0),
    ],
)
def test_send_message_refuses(service, field, value):
    refused(field, lambda: service.send_message(**{"data": FILE, "message_to": PEER, "message_id": "1", field: value}))


@pytest.mark.parametrize("bad", ["", " ", ".", "..", None, 5, "a\nb"])
def test_links_that_lead_elsewhere(service, bad):
    refused("link", lambda: service.get_message(bad))
    refused("after", lambda: service.get_next_message(bad))
    refused("after", lambda: service.wait_next_message(bad))


def test_a_link_is_one_segment_of_the_path(service):
    assert service.get_message("../ping?a=b#c").request.url == "get-message/..%2Fping%3Fa%3Db%23c"


@pytest.mark.parametrize(
    "given",
    [
        {"subject": "s"},
        {"in_reply_to": "1"},
        {"text": None},
        {"attachments": (FILE,)},
        {"text": None, "attachments": (FILE, FILE)},
        {"to": [PEER, ROUTE]},
    ],
)
def test_send_refuses_what_it_cannot_express(service, given):
    with pytest.raises(UnsupportedFeature):
        next(neutral(service, **given))


def test_send_refuses_bad_arguments(service):
    refused("to", lambda: next(neutral(service, to=[])))
    refused("options", lambda: next(neutral(service, options={"message_id": "7"})))
