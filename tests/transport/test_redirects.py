"""Redirects carry credentials nowhere but to the connection's own origin."""

import pytest

from airflow_messaging.exceptions import MessageTooLarge, MessagingError, ProtocolError
from airflow_messaging.transport.options import MAX_REDIRECTS

from .conftest import MakeRunner
from .runners import SECRET, Probe, Runner
from .servers import Answer, Seen, Server, redirect


def credentials_in(seen: Seen) -> set[str]:
    found = {name for name in ("Authorization", "Cookie", "request-key") if name in seen.headers}
    return found | ({"query"} if "api_key" in seen.target else set())


EVERYTHING = {"Authorization", "Cookie", "request-key", "query"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["elsewhere?a=1", "/api/elsewhere?a=1", "{url}/api/elsewhere?a=1"])
def test_the_same_origin_gets_credentials_again(
    status: int, location: str, server: Server, runner: Runner, probe: Probe
) -> None:
    server.answers = [redirect(location.format(url=server.url), status), Answer(body=b"there")]
    assert runner.run(probe.get()) == b"there"
    first, second = server.seen
    assert second.target.startswith("/api/elsewhere?a=1&api_key=")
    assert second.headers["X-Plain"] == "1"
    assert credentials_in(first) == credentials_in(second) == EVERYTHING


def test_another_origin_gets_none(server: Server, other: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [redirect(f"{other.url}/file")]
    other.answers = [Answer(body=b"file")]
    assert runner.run(probe.get()) == b"file"
    [seen] = other.seen
    assert credentials_in(seen) == set()
    assert SECRET not in f"{seen.target}{seen.headers}"


def test_another_origin_gets_none_on_the_way_back_and_forth(
    server: Server, other: Server, runner: Runner, probe: Probe
) -> None:
    server.answers = [redirect(f"{other.url}/a"), Answer(body=b"home")]
    other.answers = [redirect(f"{server.url}/api/b")]
    assert runner.run(probe.get()) == b"home"
    assert credentials_in(other.seen[0]) == set()
    assert credentials_in(server.seen[1]) == EVERYTHING


def test_an_absolute_url_elsewhere_gets_none(server: Server, other: Server, runner: Runner, probe: Probe) -> None:
    runner.run(probe.get(f"{other.url}/file"))
    assert credentials_in(other.seen[0]) == set()
    port = server.url.rpartition(":")[2]
    lookalikes = (
        "https://127.0.0.1",
        "http://127.0.0.1.test",
        "http://127.0.0.1@evil.test",
        "http://0x7f000001",
        "//x",
    )
    for lookalike in (*(f"{start}:{port}" for start in lookalikes), f"{server.url}0", f"{server.url}.test", "http://["):
        assert not probe.is_own(f"{lookalike}/file")


def test_the_same_name_on_another_port_or_host_is_another_origin(server: Server, runner: Runner, probe: Probe) -> None:
    runner.run(probe.get(server.url.replace("127.0.0.1", "localhost") + "/file"))
    assert credentials_in(server.seen[0]) == set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_send_is_not_led_elsewhere(status: int, server: Server, other: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [redirect(f"{other.url}/things", status)]
    with pytest.raises(ProtocolError, match="redirect"):
        runner.run(probe.post(repeatable=True))
    assert (len(server.seen), other.seen) == (1, [])


def test_a_loop_ends(server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [redirect("again")]
    with pytest.raises(ProtocolError, match="redirects"):
        runner.run(probe.get())
    assert len(server.seen) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location",
    ["http://files.example.com/a", "file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://x", "javascript:alert(1)"],
)
def test_insecure_places_are_refused(location: str, server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [redirect(location)]
    with pytest.raises(ProtocolError, match="insecure"):
        runner.run(probe.get())


@pytest.mark.parametrize(
    "location",
    ["http://[", "http://127.0.0.1:99999/a", "http://127.0.0.1:x/", "//", "http://", "https://\x7f/", "http:///x"],
)
def test_a_location_that_cannot_be_read_is_the_services_fault(
    location: str, server: Server, runner: Runner, probe: Probe
) -> None:
    server.answers = [redirect(location)]
    with pytest.raises(MessagingError):
        runner.run(probe.get())


def test_the_body_of_a_redirect_is_not_read_whole(server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [redirect("next")._replace(body=b"x" * 2_000_000)]
    with pytest.raises(MessageTooLarge):
        runner.run(probe.get(body_limit=1_000_000))


def test_userinfo_in_a_location_is_not_used(server: Server, other: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [redirect(other.url.replace("http://", "http://eve:pw@") + "/a")]
    with pytest.raises(MessagingError):
        runner.run(probe.get())
    assert all("Authorization" not in seen.headers for seen in other.seen)


def test_https_does_not_become_http(make: MakeRunner) -> None:
    """Not even on the connection's own host: the origin has another scheme."""
    from airflow_messaging.services.http import Response
    from airflow_messaging.transport.options import redirected

    probe = Probe("https://api.example.com/v1")
    call = probe.get()
    answer = Response(status=302, headers=(("Location", "http://api.example.com/v1/thing"),))
    with pytest.raises(ProtocolError, match="insecure"):
        redirected(probe, call, call.request, answer)
