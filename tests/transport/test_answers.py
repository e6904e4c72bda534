"""Bodies that are cut, too large, not what they say, and what the transports keep from one answer to the next."""

import gzip
import io
import json
import zlib

import pytest

from airflow_messaging.exceptions import ConnectionLost, InvalidInput, MessageTooLarge, MessagingError, ProtocolError
from airflow_messaging.messages import Attachment, Upload, upload_from_bytes
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.http import FileField, FormBody, JsonBody, RawFile
from airflow_messaging.services.sendhub import SendHub
from airflow_messaging.transport.files import CheckedFile

from .conftest import MakeRunner
from .runners import Probe, Runner, utcnow
from .servers import Answer, Server


def test_a_truncated_body_is_not_a_whole_one(server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [Answer(body=b"half", announce=8), Answer(body=b"whole")]
    assert runner.run(probe.get()) == b"whole"
    server.answers = [Answer(body=b"half", announce=8)]
    with pytest.raises(ConnectionLost):
        runner.run(probe.get())


def test_a_body_over_the_limit_is_refused(server: Server, runner: Runner, probe: Probe) -> None:
    server.answers = [Answer(body=b"x" * 100_000)]
    assert len(runner.run(probe.get(body_limit=100_000))) == 100_000
    with pytest.raises(MessageTooLarge, match="99999 bytes"):
        runner.run(probe.get(body_limit=99_999))


def test_a_small_body_that_unfolds_is_refused(server: Server, runner: Runner, probe: Probe) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    server.answers = [Answer(headers=(("Content-Encoding", "gzip"),), body=bomb)]
    with pytest.raises(MessageTooLarge):
        runner.run(probe.get(body_limit=1_000_000))


def test_a_body_over_the_limit_is_cut_where_the_call_wants_that(server: Server, runner: Runner, probe: Probe) -> None:
    import dataclasses

    server.answers = [Answer(body=b"x" * 3_000_000)]
    call = dataclasses.replace(probe.get(body_limit=10, cut=True), parse=lambda response: response)
    response = runner.run(call)
    assert (response.complete, response.body) == (False, b"")
    assert runner.run(dataclasses.replace(call, body_limit=3_000_000)).complete


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_cannot_be_unpacked_is_an_error(
    encoding: str, server: Server, runner: Runner, probe: Probe
) -> None:
    server.answers = [Answer(headers=(("Content-Encoding", encoding),), body=b"not packed at all")]
    with pytest.raises(MessagingError):
        runner.run(probe.get())
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    server.answers = [Answer(headers=(("Content-Encoding", encoding),), body=pack(b"packed"))]
    assert runner.run(probe.get()) == b"packed"


def test_a_page_in_place_of_json_is_a_protocol_error(sandbox: RunningSandbox, make: MakeRunner) -> None:
    service = SendHub(f"{sandbox.url}/sendhub/v1", username="u", api_key="k", clock=utcnow)
    page = "<html><body>Please sign in to the hotel's WLAN</body></html>"
    sandbox.faults([{"service": "sendhub", "status": 200, "body": page, "headers": {"Content-Type": "text/html"}}])
    with pytest.raises(ProtocolError) as caught:
        make(service).run(service.inbox())
    assert "hotel" not in str(caught.value)
    assert len(sandbox.journal()) == 1


def test_cookies_are_not_kept(server: Server, runner: Runner, probe: Probe) -> None:
    """Which cookies a session has is the service's business, not the HTTP library's."""
    server.answers = [Answer(headers=(("Set-Cookie", "tracking=1; Path=/"),))]
    runner.run(probe.get())
    runner.run(probe.get())
    assert all("tracking" not in seen.headers["Cookie"] for seen in server.seen)


def test_all_header_fields_of_one_name_are_handed_over(server: Server, runner: Runner, probe: Probe) -> None:
    import dataclasses

    server.answers = [Answer(headers=(("Set-Cookie", "a=1"), ("set-cookie", "b=2; Expires=Thu, 01 Jan 2099")))]
    call = dataclasses.replace(probe.get(), parse=lambda response: response.header_values("SET-COOKIE"))
    assert runner.run(call) == ["a=1", "b=2; Expires=Thu, 01 Jan 2099"]


def test_bodies_arrive_as_they_are_described(server: Server, runner: Runner, probe: Probe) -> None:
    upload = upload_from_bytes('żółw "1".txt', b"turtle" * 300_000, content_type="text/plain")
    runner.run(probe.post(body=JsonBody({"a": "ż"})))
    runner.run(probe.post(body=FormBody((("a", "ż+ &"), ("a", b"\xff")))))
    runner.run(probe.post(body=RawFile(upload)))
    runner.run(probe.post(body=FileField("data", upload)))
    runner.run(probe.post())
    as_json, form, raw, part, empty = server.seen
    assert (json.loads(as_json.body), as_json.headers["Content-Type"]) == ({"a": "ż"}, "application/json")
    assert form.body == b"a=%C5%BC%2B+%26&a=%FF"
    assert form.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert (raw.body, raw.headers["Content-Type"]) == (b"turtle" * 300_000, "text/plain")
    assert b"turtle" * 300_000 in part.body
    assert part.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert empty.body == b""
    for seen in server.seen:
        assert int(seen.headers["Content-Length"]) == len(seen.body)
        assert "Transfer-Encoding" not in seen.headers
        assert seen.headers["User-Agent"].startswith("airflow-provider-messaging/")


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1])
def test_files_of_any_size_arrive(size: int, server: Server, runner: Runner, probe: Probe) -> None:
    upload = upload_from_bytes("a", b"x" * size)
    runner.run(probe.post(body=RawFile(upload)))
    runner.run(probe.post(body=FileField("data", upload)))
    assert server.seen[0].body == b"x" * size
    assert server.seen[1].body.count(b"x" * max(size, 1)) == (1 if size else 0)


@pytest.mark.parametrize("now", [b"", b"short", b"x" * 3_000_001])
@pytest.mark.parametrize("wrap", [RawFile, lambda upload: FileField("data", upload)])
def test_a_file_that_changes_while_it_is_sent_is_the_callers_error(
    now: bytes, wrap: object, server: Server, runner: Runner, probe: Probe
) -> None:
    upload = Upload(filename="a.bin", size=3_000_000, content_type="x/y", md5="0" * 32, open=lambda: io.BytesIO(now))
    with pytest.raises(InvalidInput, match="does not change"):
        runner.run(probe.post(body=wrap(upload)))  # type: ignore[operator]
    assert server.seen == []
    assert runner.slept == []


def test_a_header_that_http_cannot_carry_is_not_sent(server: Server, runner: Runner, probe: Probe) -> None:
    import dataclasses

    call = probe.get()
    for value in ("a\r\nEvil: 1", "a\nb", "a\0b"):
        bad = dataclasses.replace(call, request=call.request.with_headers({"X-Thing": value}))
        with pytest.raises(MessagingError):
            runner.run(bad)
    assert all("Evil" not in seen.headers for seen in server.seen)


def test_a_download_is_checked_and_started_again(
    server: Server, runner: Runner, probe: Probe, tmp_path: object
) -> None:
    from pathlib import Path

    target = Path(str(tmp_path)) / "file.bin"
    content = b"\x01\x02" * 2_000_000
    file = Attachment(id="1", filename="file.bin", size=len(content))
    server.answers = [Answer(body=content[:-5], announce=len(content)), Answer(503), Answer(body=content)]
    runner.run(probe.get(), lambda: CheckedFile(target, file, max_bytes=10**8, service="probe"))
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_refused_download_leaves_nothing(server: Server, runner: Runner, probe: Probe, tmp_path: object) -> None:
    from pathlib import Path

    target = Path(str(tmp_path)) / "file.bin"
    file = Attachment(id="1", filename="file.bin")
    for answers in ([Answer(404, body=b"gone")], [Answer(body=b"half", announce=9)], [Answer(body=b"x" * 101)]):
        server.answers = answers
        with pytest.raises(MessagingError):
            runner.run(probe.get(), lambda: CheckedFile(target, file, max_bytes=100, service="probe"))
        assert list(target.parent.iterdir()) == []
