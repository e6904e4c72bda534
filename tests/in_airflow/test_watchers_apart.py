"""Whoever reads an inbox keeps its place under a name of its own, and where only one can read, others are refused."""

import asyncio
import itertools
import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_messaging import readers
from airflow_messaging.assets import inbox_asset
from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.hooks.registry import hook_for
from airflow_messaging.sandbox import RunningSandbox
from airflow_messaging.services.receiving import Cursor
from airflow_messaging.triggers import inbox_reader, shared
from airflow_messaging.triggers.inbox import InboxTrigger

from .watching import CURSOR, READ_FLAG, hurry, inbound, running, until, watch

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("connections")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, short_backoff: None) -> None:
    hurry(monkeypatch)


@pytest.fixture
def another_triggerer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forget who reads in this process."""

    def forget() -> None:
        monkeypatch.setattr(inbox_reader, "_reading", {})
        shared._inboxes.pop(asyncio.get_running_loop(), None)

    return forget


def trigger_of(asset: Any) -> InboxTrigger:
    (watcher,) = asset.watchers
    assert isinstance(watcher.trigger, InboxTrigger)
    return watcher.trigger


class TestOneInboxForOne:
    @pytest.mark.parametrize("service", READ_FLAG)
    async def test_a_second_connection_to_the_account_is_refused(
        self,
        service: str,
        sandbox: RunningSandbox,
        variables: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{service.upper()}_TWO", os.environ[f"AIRFLOW_CONN_{service.upper()}_DEFAULT"])
        second = InboxTrigger(conn_id=f"{service}_two", reader="orders", poke_interval=0.2)
        async with running(watch(service)) as one:
            sent = [await inbound(sandbox, service)]
            await until(lambda: one.ids == sent)
            async with running(second) as two:
                await until(lambda: "is watched by reader 'orders'" in caplog.text)
                sent.append(await inbound(sandbox, service))
                await until(lambda: one.ids == sent)
                assert two.stored == []
        (name,) = (name for name in variables if name.startswith("airflow_messaging.watcher."))
        assert name == f"airflow_messaging.watcher.{service}.{one.stored[0]['account']}"
        assert json.loads(variables[name]) == {"reader": "orders", "conn_id": f"{service}_default", "asset": None}
        login = json.loads(os.environ[f"AIRFLOW_CONN_{service.upper()}_DEFAULT"])["login"]
        assert login not in str(variables)

    @pytest.mark.usefixtures("variables")
    @pytest.mark.parametrize("service", READ_FLAG + CURSOR)
    async def test_two_assets_need_two_readers_in_another_triggerer_as_well(
        self, service: str, sandbox: RunningSandbox, another_triggerer: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        options: dict[str, Any] = {"conn_id": f"{service}_default", "reader": "shop", "poke_interval": 0.2}
        first, second = (trigger_of(inbox_asset(name, **options)) for name in ("orders", "bills"))
        async with running(first) as one:
            sent = [await inbound(sandbox, service)]
            await until(lambda: one.ids == sent)
            another_triggerer()
            async with running(second) as two:
                await until(lambda: "asset 'orders'" in caplog.text)
                sent.append(await inbound(sandbox, service))
                await until(lambda: one.ids == sent)
                assert two.stored == []

    @pytest.mark.usefixtures("variables")
    @pytest.mark.parametrize("service", READ_FLAG + CURSOR)
    async def test_a_watcher_finds_its_own_claim_again(
        self, service: str, sandbox: RunningSandbox, another_triggerer: Any
    ) -> None:
        for _ in range(2):
            async with running(watch(service, asset="orders")) as triggerer:
                sent = await inbound(sandbox, service)
                await until(lambda: triggerer.ids == [sent])  # noqa: B023
                await asyncio.sleep(0.5)
            another_triggerer()


class TestNames:
    @pytest.mark.usefixtures("variables")
    @pytest.mark.parametrize("service", CURSOR)
    async def test_a_sensors_reader_and_a_watchers_may_be_called_the_same(
        self, service: str, sandbox: RunningSandbox
    ) -> None:
        conn_id = f"{service}_default"

        def begun() -> Cursor:
            with hook_for(conn_id) as hook:
                cursor: Cursor = hook.poll(Cursor()).cursor
            readers.save(conn_id, "orders", cursor)
            return cursor

        begin = await asyncio.to_thread(begun)
        sent = [await inbound(sandbox, service) for _ in range(2)]
        async with running(watch(service, after=begin.to_dict())) as triggerer:
            await until(lambda: triggerer.ids == sent)
            await asyncio.sleep(0.5)

        def found_by_a_sensor() -> list[str]:
            cursor = readers.load(conn_id, "orders")
            assert cursor is not None
            with hook_for(conn_id) as hook:
                return [message.id for message in hook.poll(cursor).messages]

        assert await asyncio.to_thread(found_by_a_sensor) == sent

    def test_no_two_variables_share_a_name(self) -> None:
        from airflow_messaging.triggers.inbox_places import places

        pairs = itertools.product(
            ["mdi", "mdi.x", "mdi:x", "mdi:orders"], ["orders", "x.orders", "tail", "orders.tail", "orders.marked"]
        )
        names = [name for pair in pairs for name in (readers.variable_name(*pair), *places(*pair))]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("reader", ["a:b", "a b", "", None])
    def test_a_reader_has_no_separator(self, reader: Any) -> None:
        with pytest.raises(InvalidInput, match="letters, digits"):
            readers.save("mdi_default", reader, Cursor(floor=datetime.now(UTC)))
        with pytest.raises(InvalidInput, match="letters, digits"):
            watch("mdi", reader=reader)
