"""A watcher of SerwerSMS marks nothing read with which the files of another message would go."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from airflow_messaging.sandbox import RunningSandbox

from .watching import hurry, inbound, running, unread, until, watch

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("connections", "variables")]

SENDER = "48500600700"
SETTLED_S = 0.7


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, short_backoff: None) -> None:
    hurry(monkeypatch)


@pytest.fixture(autouse=True)
async def one_second(sandbox: RunningSandbox) -> None:
    await asyncio.to_thread(sandbox.clock, 0, frozen=True)


async def plain(sandbox: RunningSandbox) -> str:
    return await inbound(sandbox, "serwersms", text="order 1", sender=SENDER)


async def pictured(sandbox: RunningSandbox) -> str:
    picture = {"filename": "a.jpg", "content": b"picture"}
    return await inbound(sandbox, "serwersms", text="a picture", sender=SENDER, attachments=[picture])


def pictures(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("a.jpg")]


async def test_in_one_event_both_stay_unread(sandbox: RunningSandbox) -> None:
    sent = {await plain(sandbox), await pictured(sandbox)}
    async with running(watch("serwersms")) as triggerer:
        await until(lambda: set(triggerer.ids) == sent)
        await asyncio.sleep(SETTLED_S)
        assert len(triggerer.ids) == len(sent)
    assert await unread(sandbox, "serwersms") >= sent


async def test_what_is_not_wanted_keeps_its_files(sandbox: RunningSandbox) -> None:
    wanted, other = await plain(sandbox), await pictured(sandbox)
    async with running(watch("serwersms", contains="order")) as triggerer:
        await until(lambda: triggerer.ids == [wanted])
        await asyncio.sleep(SETTLED_S)
        assert triggerer.ids == [wanted]
    assert await unread(sandbox, "serwersms") >= {wanted, other}


async def test_with_a_spool_the_files_are_kept_before(sandbox: RunningSandbox, tmp_path: Path) -> None:
    wanted, other = await plain(sandbox), await pictured(sandbox)
    async with running(watch("serwersms", contains="order", spool=f"file://{tmp_path}")) as triggerer:
        await until(lambda: triggerer.ids == [wanted, other])
        (handed_over,) = (message for message in _messages(triggerer) if message["id"] == other)
        assert handed_over["spooled"]
        assert pictures(tmp_path) == [b"picture"]
        await asyncio.sleep(SETTLED_S)
    assert not await unread(sandbox, "serwersms") & {wanted, other}


async def test_the_files_are_still_there_for_the_next_triggerer(
    sandbox: RunningSandbox, variables: dict[str, str], tmp_path: Path
) -> None:
    wanted, other = await plain(sandbox), await pictured(sandbox)
    trigger = watch("serwersms", contains="order", spool=f"file://{tmp_path}")
    async with running(trigger) as triggerer:
        await until(lambda: triggerer.ids == [wanted])
        triggerer.storing = False
        await until(lambda: other in variables.get("airflow_messaging.watch_marked.serwersms_default:orders", ""))
        await asyncio.sleep(SETTLED_S)
    async with running(trigger) as triggerer:
        await until(lambda: triggerer.ids == [other])
        assert _messages(triggerer)[0]["spooled"]
    assert pictures(tmp_path) == [b"picture"]


async def test_where_the_files_cannot_be_fetched_they_stay_where_they_are(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_messaging.exceptions import CorruptDownload
    from airflow_messaging.hooks import downloads

    async def fails(*_: Any, **__: Any) -> None:
        raise CorruptDownload("serwersms", "messages/recived", "the size differs")

    monkeypatch.setattr(downloads, "adownload_all", fails)
    wanted, other = await plain(sandbox), await pictured(sandbox)
    async with running(watch("serwersms", contains="order", spool=f"file://{tmp_path}")) as triggerer:
        await until(lambda: triggerer.ids == [wanted])
        await asyncio.sleep(SETTLED_S)
        assert triggerer.ids == [wanted]
    assert await unread(sandbox, "serwersms") >= {wanted, other}


def _messages(triggerer: Any) -> list[dict[str, Any]]:
    return [message for payload in triggerer.stored for message in payload["messages"]]
