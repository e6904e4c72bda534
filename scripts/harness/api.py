"""The few calls of Airflow's REST API that are needed here. All are admins: no login."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import requests

from scripts.harness.processes import HarnessError

COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
MOST_AT_ONCE = 100


@dataclass
class Dag:
    """A DAG as the API describes it, as far as we care."""

    dag_id: str
    file: str
    summary: str
    tags: frozenset[str]
    paused: bool = False

    @property
    def waits_for_asset(self) -> bool:
        return "asset" in self.summary.lower()


class Api:
    """A client. What only reads is asked again, since SQLite is locked for a moment now and then."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Ask and return the answer's JSON."""
        for attempts_left in (2, 1, 0) if method == "GET" else (0,):
            try:
                response = self._session.request(method, f"{self.base_url}/api/v2{path}", timeout=20, **kwargs)
                if response.ok:
                    return response.json() if response.content else None
                problem = f"{response.status_code} {response.text[:500]}"
            except requests.RequestException as error:
                problem = str(error)
            if attempts_left:
                time.sleep(0.3)
        raise HarnessError(f"{method} {path}: {problem}")

    def unhealthy(self) -> list[str]:
        """Name the components that are not up yet."""
        try:
            health = self.call("GET", "/monitor/health")
        except HarnessError:
            return ["api_server"]
        return [name for name in COMPONENTS if health.get(name, {}).get("status") != "healthy"]

    def dags(self) -> list[Dag]:
        answer = self.call("GET", "/dags", params={"limit": 100})
        return [
            Dag(
                dag["dag_id"],
                dag["relative_fileloc"] or Path(dag["fileloc"]).name,
                dag["timetable_summary"] or "",
                frozenset(tag["name"] for tag in dag["tags"]),
                dag["is_paused"],
            )
            for dag in answer["dags"]
        ]

    def import_errors(self) -> list[str]:
        answer = self.call("GET", "/importErrors")
        return [f"{error['filename']}:\n{error['stack_trace']}" for error in answer["import_errors"]]

    def pause(self, dag_id: str, *, paused: bool = True) -> None:
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})

    def unpause(self, dag_id: str) -> None:
        self.pause(dag_id, paused=False)

    def trigger(self, dag_id: str, **conf: Any) -> str:
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def pages(self, path: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
        """List everything, whatever the number."""
        offset, total = 0, 1
        while offset < total:
            answer = self.call("GET", path, params={**params, "limit": MOST_AT_ONCE, "offset": offset})
            yield from answer[key]
            offset, total = offset + MOST_AT_ONCE, answer["total_entries"]

    def asset_id(self, name: str) -> int | None:
        assets = self.call("GET", "/assets", params={"name_pattern": name, "limit": MOST_AT_ONCE})["assets"]
        return next((int(asset["id"]) for asset in assets if asset["name"] == name), None)

    def asset_events(self, asset_id: int) -> list[dict[str, Any]]:
        """Return what has been stored for an asset, oldest first."""
        deadline = time.monotonic() + 15
        while True:
            try:
                return list(self.pages("/assets/events", "asset_events", asset_id=asset_id, order_by="timestamp"))
            except HarnessError:
                # Airflow 3.3.2 cannot describe an event while a run that it has triggered is queued.
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.3)

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100, "order_by": "id"})
        return cast("list[dict[str, Any]]", answer["dag_runs"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        answer = self.call("GET", path, params={"limit": 200})
        return sorted(answer["task_instances"], key=lambda task: (task["start_date"] or "9", task["map_index"]))

    def returned(self, dag_id: str, run_id: str) -> list[Any]:
        """Return what the tasks of a run have returned."""
        base = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        answer = self.call("GET", f"{base}/~/xcomEntries", params={"xcom_key_pattern": "return_value", "limit": 100})
        return [
            self.call(
                "GET", f"{base}/{entry['task_id']}/xcomEntries/return_value", params={"map_index": entry["map_index"]}
            )["value"]
            for entry in answer["xcom_entries"]
            if entry["key"] == "return_value"
        ]

    def log(self, task: Mapping[str, Any], lines: int = 20) -> str:
        """Return the end of a task's log."""
        path = f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs"
        try:
            answer = self.call(
                "GET",
                f"{path}/{max(task['try_number'], 1)}",
                params={"map_index": task["map_index"], "full_content": "true"},
                headers={"Accept": "application/json"},
            )
        except HarnessError as error:
            return f"(its log cannot be read: {error})"
        return "\n".join([line for event in answer["content"] for line in _log_lines(event)][-lines:])


def _log_lines(event: Any) -> list[str]:
    if isinstance(event, str):
        return [event]
    if str(event.get("event", "")).startswith(("::group::", "::endgroup::")):  # marks for the UI
        return []
    level = str(event.get("level") or "").upper()
    lines = [f"{level:8}{event.get('event', '')}"]
    for error in event.get("error_detail") or []:
        frames = error.get("frames") or []
        lines += [f"        {f.get('filename')}:{f.get('lineno')} in {f.get('name')}" for f in frames[-3:]]
        lines.append(f"        {error.get('exc_type')}: {error.get('exc_value')}")
    return lines
