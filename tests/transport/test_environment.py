"""What the machine around the transports may change, and what it may not: TLS, proxies, .netrc, loggers."""

import logging
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_messaging.exceptions import ConnectFailed, ConnectionLost, DeliveryUnknown, NotFound
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.sendhub import SendHub
from airflow_messaging.transport.options import shared_tls_context
from airflow_messaging.transport.redact import WithoutQueries, keep_queries_out_of_logs

from .certificates import make_certificate
from .conftest import MakeRunner
from .runners import SECRET, Probe, Runner, utcnow
from .servers import Answer, Server, redirect, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


# -- TLS ---


def test_an_untrusted_certificate_is_no_connection(
    certificate: tuple[Path, ssl.SSLContext], make: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file, context = certificate
    with serving(Answer(body=b"safe"), tls=context) as server:
        with pytest.raises(ConnectFailed):
            make(probe := Probe(server.url), attempts=1).run(probe.post())
        assert server.seen == []
        assert make(probe, ca_file=str(ca_file)).run(probe.get()) == b"safe"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
        assert make(probe).run(probe.get()) == b"safe"
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(ConnectFailed):
            make(probe, attempts=1).run(probe.get())


def test_a_certificate_for_another_host_is_no_connection(
    certificate: tuple[Path, ssl.SSLContext], make: MakeRunner
) -> None:
    ca_file, context = certificate
    with serving(tls=context) as server:
        probe = Probe(server.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(ConnectFailed):
            make(probe, ca_file=str(ca_file), attempts=1).run(probe.post())
        assert server.seen == []


def test_tls_that_breaks_after_the_request_is_unknown_for_a_send(
    certificate: tuple[Path, ssl.SSLContext], make: MakeRunner
) -> None:
    """It must not pass for a connection that was never made, which would be tried again."""
    ca_file, context = certificate
    garbage = Answer(garbage=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with serving(garbage, tls=context) as server:
        runner = make(probe := Probe(server.url), ca_file=str(ca_file))
        with pytest.raises(DeliveryUnknown):
            runner.run(probe.post())
        assert len(server.seen) == 1
        with pytest.raises(ConnectionLost):
            runner.run(probe.get())


def test_a_ca_file_that_is_not_there_is_an_error_of_ours(make: MakeRunner, tmp_path: Path) -> None:
    from airflow_messaging.exceptions import MessagingError

    (tmp_path / "empty.pem").write_text("")
    with serving() as server:
        for name in ("missing.pem", "empty.pem"):
            probe = Probe(server.url.replace("http:", "https:"))
            with pytest.raises(MessagingError, match="ca_file"):
                make(probe, ca_file=str(tmp_path / name), attempts=1).run(probe.get())


# -- proxies ---


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_plain_requests_go_through_the_proxy(name: str, make: MakeRunner, no_proxies: pytest.MonkeyPatch) -> None:
    with serving(Answer(body=b"through")) as proxy:
        no_proxies.setenv(name, proxy.url)
        runner = make(probe := Probe("http://api.service.test/v1"))
        assert runner.run(probe.get()) == b"through"
        assert proxy.seen[0].target == f"http://api.service.test/v1/thing?api_key={quote(SECRET, safe='')}"


def test_hosts_in_no_proxy_are_reached_directly(
    make: MakeRunner, server: Server, no_proxies: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Answer(body=b"through")) as proxy:
        no_proxies.setenv("http_proxy", proxy.url)
        server.answers = [Answer(body=b"directly")]
        runner = make(probe := Probe(server.url))  # this machine never needs a proxy
        assert runner.run(probe.get()) == b"directly"
        no_proxies.setenv("no_proxy", ".service.test,example.com")
        with pytest.raises(Exception, match=r"api\.service\.test|ConnectFailed|NameResolution|Connector|NewConnection"):
            make(probe := Probe("http://api.service.test"), attempts=1).run(probe.get())
        assert proxy.seen == []


def test_a_tunnel_is_asked_for_without_credentials(make: MakeRunner, no_proxies: pytest.MonkeyPatch) -> None:
    """A refused tunnel means that the request never left: even a send is tried again."""
    with serving(Answer(407)) as proxy:
        no_proxies.setenv("https_proxy", proxy.url)
        runner = make(probe := Probe("https://api.service.test/v1"))
        with pytest.raises(ConnectFailed):
            runner.run(probe.post())
        assert {(seen.method, seen.target) for seen in proxy.seen} == {("CONNECT", "api.service.test:443")}
        assert len(runner.slept) == 3
        assert all(SECRET not in str(seen) and "Authorization" not in seen.headers for seen in proxy.seen)


def test_a_proxy_that_is_down_is_no_connection(make: MakeRunner, no_proxies: pytest.MonkeyPatch) -> None:
    from .servers import free_port

    for scheme in ("http", "https"):
        no_proxies.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{free_port()}")
        with pytest.raises(ConnectFailed):
            make(probe := Probe(f"{scheme}://api.service.test"), attempts=1).run(probe.post())


def test_the_proxy_of_a_redirects_target_is_its_own(
    make: MakeRunner, server: Server, no_proxies: pytest.MonkeyPatch
) -> None:
    with serving(Answer(407)) as proxy:
        no_proxies.setenv("https_proxy", proxy.url)
        server.answers = [redirect("https://files.service.test/a")]
        with pytest.raises(ConnectFailed):
            make(probe := Probe(server.url), attempts=1).run(probe.get())
        assert [seen.target for seen in proxy.seen] == ["files.service.test:443"]


# -- .netrc ---


def test_a_netrc_adds_no_credentials(
    server: Server, other: Server, runner: Runner, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login eve password netrc-password\ndefault login eve password x\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server.answers = [redirect(f"{other.url}/file")]
    runner.run(probe.get())
    assert server.seen[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert "Authorization" not in other.seen[0].headers


# -- loggers ---


def test_queries_are_in_no_log(sandbox: RunningSandbox, make: MakeRunner, caplog: pytest.LogCaptureFixture) -> None:
    """SendHub wants its key in the query, and urllib3 logs each request's path at DEBUG."""
    credentials = sandbox.credentials["sendhub"]
    service = SendHub(
        f"{sandbox.url}/sendhub/v1", username=credentials["username"], api_key=credentials["api_key"], clock=utcnow
    )
    caplog.set_level(logging.DEBUG)
    runner = make(service)
    runner.run(service.inbox())
    with pytest.raises(NotFound):
        runner.run(service.get_message("999"))
    for record in caplog.records:
        text = f"{record.getMessage()} {record.args} {record.__dict__}"
        assert credentials["api_key"] not in text
        assert "api_key" not in text
    if runner.kind == "blocking":
        assert any("/sendhub/v1/inbox/?…" in record.getMessage() for record in caplog.records)


def test_the_log_filter_stands_once_and_stops_nothing() -> None:
    keep_queries_out_of_logs()
    keep_queries_out_of_logs()
    logger = logging.getLogger("urllib3.connectionpool")
    assert sum(isinstance(present, WithoutQueries) for present in logger.filters) == 1
    for args in (None, (), (1,), ({"a": 1},)):
        assert WithoutQueries().filter(logging.LogRecord("x", 10, "f", 1, "text", args, None))


def test_the_certificates_are_loaded_once_a_process(tmp_path: Path) -> None:
    assert shared_tls_context(None) is shared_tls_context(None)
    trusted, _ = make_certificate(tmp_path)
    before = shared_tls_context(str(trusted))
    assert shared_tls_context(str(trusted)) is before
    os.utime(trusted, ns=(0, 0))
    assert shared_tls_context(str(trusted)) is not before


def test_a_new_client_of_either_kind_loads_no_certificates(
    make: MakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, context = make_certificate(tmp_path)
    loads = []
    load = ssl.SSLContext.load_verify_locations

    def counted(*args: Any, **kwargs: Any) -> None:
        loads.append(1)
        load(*args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    with serving(Answer(body=b"safe"), tls=context) as server:
        for _ in range(3):
            probe = Probe(server.url)
            assert make(probe, ca_file=str(trusted)).run(probe.get()) == b"safe"
    assert len(loads) == 1
