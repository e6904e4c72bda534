"""Every field of a connection is checked before anything is sent; what is refused is named, and never shown."""

import json
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.get_provider_info import CONNECTION_TYPES
from airflow_messaging.hooks.settings import Settings, read_settings

SECRET = "Canary-s3cret-9"
GOOD: dict[str, dict[str, Any]] = {
    "go_integrate": {"login": "abcd@abcdef01"},
    "liquidfiles": {"host": "files.example.com"},
    "mdi": {"login": "me", "extra": {"client": "fleet"}},
    "serwersms": {"login": "me"},
    "sendhub": {"login": "me"},
}
TYPES = tuple(CONNECTION_TYPES)


def read(conn_type: str, /, **changed: Any) -> Settings:
    fields: dict[str, Any] = {
        "conn_type": conn_type,
        "host": None,
        "login": None,
        "password": SECRET,
        "port": None,
        "schema": None,
        "extra": {},
        **GOOD[conn_type],
    }
    extra = {**fields.pop("extra"), **changed.pop("extra", {})}
    return read_settings(CONNECTION_TYPES[conn_type], SimpleNamespace(**{**fields, **changed}), extra)


def refused(conn_type: str, field: str, /, **changed: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(conn_type, **changed)
    assert caught.value.field == field
    text = str(caught.value)
    assert text.startswith(f"{field}: got ")
    assert SECRET not in f"{text}{caught.value!r}"
    return text


@pytest.mark.parametrize("conn_type", TYPES)
def test_the_least_that_a_connection_needs(conn_type: str) -> None:
    settings = read(conn_type)
    assert settings.password == SECRET
    assert SECRET not in repr(settings)
    assert settings.base_url == (CONNECTION_TYPES[conn_type].base_url or "https://files.example.com")
    assert settings.base_url.startswith("https://")
    assert (settings.transport.connect_timeout, settings.transport.read_timeout) == (10.0, 60.0)
    assert settings.transport.ca_file is None
    assert not settings.transport.allow_insecure


def test_default_hosts() -> None:
    assert {name: row.base_url for name, row in CONNECTION_TYPES.items()} == {
        "go_integrate": "https://eu-nl.api.go-integrate.me/1",
        "liquidfiles": None,
        "mdi": "https://g8teway.com/api/v2",
        "serwersms": "https://api2.serwersms.pl",
        "sendhub": "https://api.sendhub.com/v1",
    }


@pytest.mark.parametrize("conn_type", TYPES)
def test_the_type_must_be_right(conn_type: str) -> None:
    for wrong in ("http", "", None, next(name for name in TYPES if name != conn_type)):
        assert conn_type in refused(conn_type, "connection type", conn_type=wrong)


@pytest.mark.parametrize("conn_type", TYPES)
def test_the_secret_must_be_there(conn_type: str) -> None:
    for nothing in (None, ""):
        assert CONNECTION_TYPES[conn_type].password.lower() in refused(conn_type, "password", password=nothing).lower()
    assert "mask" in refused(conn_type, "password", password="***")


@pytest.mark.parametrize("conn_type", [name for name in TYPES if name != "liquidfiles"])
def test_the_login_must_be_there(conn_type: str) -> None:
    for nothing in (None, "", "  "):
        refused(conn_type, "login", login=nothing)


def test_a_token_needs_no_login() -> None:
    token = {"auth_scheme": "bearer"}
    settings = read("serwersms", login=None, extra=token)
    assert (settings.login, settings.password, settings.extra) == ("", SECRET, token)
    for no_token in ("body", None, ""):
        refused("serwersms", "login", login=None, extra={"auth_scheme": no_token})
    refused("serwersms", "password", login=None, password=None, extra=token)


@pytest.mark.parametrize("type_", ["liquidfiles", "serwersms"])
@pytest.mark.parametrize("scheme", ["Bearer", "token", True, "***"])
def test_only_known_ways_to_authenticate(type_: str, scheme: Any) -> None:
    refused(type_, "auth_scheme", extra={"auth_scheme": scheme})


def test_a_server_of_ones_own_must_be_named() -> None:
    for nothing in (None, "", " "):
        assert "LiquidFiles" in refused("liquidfiles", "host", host=nothing)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "eu-nl.example.com"}, "https://eu-nl.example.com/1"),
        ({"host": "https://eu-nl.example.com/"}, "https://eu-nl.example.com/1"),
        ({"host": "https://eu-nl.example.com/2/"}, "https://eu-nl.example.com/2"),
        ({"host": "eu-nl.example.com/proxied/1"}, "https://eu-nl.example.com/proxied/1"),
        ({"host": "eu-nl.example.com:8443"}, "https://eu-nl.example.com:8443/1"),
        ({"host": "eu-nl.example.com", "port": 8443}, "https://eu-nl.example.com:8443/1"),
        ({"host": "https://eu-nl.example.com:1/x", "port": 8443}, "https://eu-nl.example.com:1/x"),
        ({"host": "eu-nl.example.com", "schema": "https"}, "https://eu-nl.example.com/1"),
        ({"host": "eu-nl.example.com", "schema": "2"}, "https://eu-nl.example.com/2"),
        ({"host": "eu-nl.example.com", "schema": "a/2"}, "https://eu-nl.example.com/a/2"),
        ({"host": "127.0.0.1", "schema": "http", "port": 8025}, "http://127.0.0.1:8025/1"),
        ({"host": "http://localhost:8025/go-integrate/1"}, "http://localhost:8025/go-integrate/1"),
        ({"host": "http://[::1]:8025/x"}, "http://[::1]:8025/x"),
        ({"host": "http://far.example.com", "extra": {"allow_insecure": True}}, "http://far.example.com/1"),
        ({"host": "http://far.example.com", "extra": {"allow_insecure": "true"}}, "http://far.example.com/1"),
    ],
)
def test_hosts(fields: dict[str, Any], url: str) -> None:
    assert read("go_integrate", **fields).base_url == url


@pytest.mark.parametrize(
    "host",
    [
        "http://far.example.com",
        "http://10.0.0.1:8025",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "HTTP://far.example.com",
    ],
)
def test_plain_http_elsewhere_must_be_allowed(host: str) -> None:
    for conn_type in TYPES:
        assert "allow_insecure" in refused(conn_type, "host", host=host)
        refused(conn_type, "host", host=host, extra={"allow_insecure": False})
    refused("sendhub", "host", host="far.example.com", schema="http")


@pytest.mark.parametrize(
    "host",
    [
        f"https://user:{SECRET}@api.example.com",
        f"https://{SECRET}@api.example.com",
        f"https://api.example.com?api_key={SECRET}",
        f"https://api.example.com/#{SECRET}",
        f"user:{SECRET}@api.example.com",
        "https://api.example.com:0",
        "https://api.example.com:99999",
        "https://api.example.com:http",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "https://",
        "https://[::1",
        "api.example.com /x",
        "api.exa\tmple.com",
        "api.example.com\r\nEvil: 1",
    ],
)
def test_addresses_that_are_none(host: str) -> None:
    refused("sendhub", "host", host=host)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_ports_that_are_none(port: int) -> None:
    refused("sendhub", "port", host="api.example.com", port=port)


@pytest.mark.parametrize("conn_type", TYPES)
def test_unknown_extras_are_named(conn_type: str) -> None:
    text = refused(conn_type, "extra", extra={"timeout": SECRET, "api_secret": SECRET})
    assert "'api_secret', 'timeout'" in text
    assert "read_timeout" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connect_timeout", "soon"),
        ("connect_timeout", 0),
        ("connect_timeout", -1),
        ("connect_timeout", True),
        ("connect_timeout", [1]),
        ("connect_timeout", float("nan")),
        ("read_timeout", "nan"),
        ("read_timeout", "inf"),
        ("read_timeout", {}),
        ("read_timeout", "-0.5"),
        ("allow_insecure", "perhaps"),
        ("allow_insecure", 1),
        ("allow_insecure", "2"),
        ("ca_file", 5),
        ("timezone", 5),
        ("timezone", "Europe/Nowhere"),
        ("timezone", "../../etc/passwd"),
        ("timezone", "/etc/localtime"),
        ("max_text", 1.5),
        ("max_text", "1.5"),
        ("max_text", 0),
        ("max_contacts", "many"),
        ("max_groups", False),
    ],
)
def test_extras_of_the_wrong_kind_are_named(name: str, value: object) -> None:
    refused("sendhub", name, extra={name: value})


def test_extras_that_came_as_text_are_read() -> None:
    settings = read(
        "sendhub",
        extra={"read_timeout": "5.5", "max_text": "1600", "timezone": "Europe/Warsaw", "allow_insecure": "no"},
    )
    assert settings.transport.read_timeout == 5.5
    assert settings.extra["max_text"] == 1600
    assert settings.zone == ZoneInfo("Europe/Warsaw")
    empty = read("sendhub", extra={"read_timeout": "", "max_text": None, "timezone": ""})
    assert (empty.transport.read_timeout, empty.extra["max_text"]) == (60.0, 500)


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        ("go-integrate://abcd%40ef:s%2F{s}@eu.example.com/1", "https://eu.example.com/1"),
        ("go-integrate://abcd%40ef:s%2F{s}@eu.example.com:8443/", "https://eu.example.com:8443/1"),
        ("go-integrate://abcd%40ef:s%2F{s}@", "https://eu-nl.api.go-integrate.me/1"),
        (
            "go-integrate://abcd%40ef:s%2F{s}@http%3A%2F%2Flocalhost%3A8025%2Fgo-integrate%2F1",
            "http://localhost:8025/go-integrate/1",
        ),
        (
            "go-integrate://http://abcd%40ef:s%2F{s}@localhost:8025/go-integrate%2F1",
            "http://localhost:8025/go-integrate/1",
        ),
        (
            "go-integrate://http://abcd%40ef:s%2F{s}@127.0.0.1:8025/go-integrate/1?read_timeout=5",
            "http://127.0.0.1:8025/go-integrate/1",
        ),
        ("go-integrate://abcd%40ef:s%2F{s}@far.example.com/http?allow_insecure=true", "http://far.example.com/1"),
    ],
)
def test_connections_written_as_uris(uri: str, base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_messaging.hooks.go_integrate import GoIntegrateHook

    monkeypatch.setenv("AIRFLOW_CONN_AS_URI", uri.format(s=SECRET))
    settings = GoIntegrateHook("as_uri").settings
    assert (settings.base_url, settings.login, settings.password) == (base_url, "abcd@ef", f"s/{SECRET}")


@pytest.mark.parametrize("extra", ["[1]", '"x"', "{broken", "5"])
def test_an_extra_that_is_no_object_is_named(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_messaging.hooks.sendhub import SendHubHook

    hook = SendHubHook()
    try:
        hook.connection = Connection(conn_id="x", conn_type="sendhub", login="me", password=SECRET, extra=extra)
    except Exception:
        pytest.skip("this Airflow refuses it by itself")
    with pytest.raises(InvalidInput, match="extra: got something else, expected a JSON object"):
        hook.get_conn()


def test_the_services_own_fields(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_messaging.hooks.mdi import MdiHook

    connection = {"conn_type": "mdi", "login": "me", "password": SECRET}
    jar = tmp_path / "jar.txt"
    for extra, field in (
        ({}, "client"),
        ({"client": "c", "channelid": -1}, "channelid"),
        ({"client": "c", "channelid": "x"}, "channelid"),
        ({"client": "c", "cookie_jar": str(jar)}, "cookie_jar"),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_MDI_DEFAULT", json.dumps({**connection, "extra": extra}))
        with pytest.raises(InvalidInput) as caught:
            MdiHook().get_conn()
        assert caught.value.field == field
        assert SECRET not in str(caught.value)
    jar.write_text("g8teway.com\tFALSE\t/\tFALSE\t0\tsid\tabc123\nexample.com\tFALSE\t/\tFALSE\t0\tother\tx\n")
    extra = {"client": "c", "cookie_jar": str(jar), "channelid": "11"}
    monkeypatch.setenv("AIRFLOW_CONN_MDI_DEFAULT", json.dumps({**connection, "extra": extra}))
    service = MdiHook().get_conn()
    assert "abc123" in service.derived_secrets()
    assert "x" not in service.derived_secrets()
    assert service.channelid == 11
