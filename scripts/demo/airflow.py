"""Airflow for the demo: its settings, its database, its REST API."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import requests

from scripts.demo.processes import Child, DemoError, Signals

START_TIMEOUT = 180
COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")


def clean_environment(home: Path) -> dict[str, str]:
    """Return our environment without another Airflow's settings, which would win over ours."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    env["AIRFLOW_HOME"] = str(home)
    # `airflow standalone` starts its components by name.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env["PYTHONUNBUFFERED"] = "1"
    env["NO_COLOR"] = "1"
    # Everything the demo talks to is on this machine: never through a company's proxy.
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, [env.get(name), "127.0.0.1", "localhost"]))
    if sys.platform == "darwin":
        env["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    return env


def settings(*, home: Path, dags: Path, port: int, log_ports: tuple[int, int]) -> dict[str, str]:
    """Return Airflow's settings as environment variables."""
    options = {
        "core": {
            "dags_folder": str(dags),
            "executor": "LocalExecutor",
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            # One worker process each, forked at once: the default of 32 takes a gigabyte.
            "parallelism": "4",
            # No login, therefore no other machine: [api] host.
            "simple_auth_manager_all_admins": "True",
            "test_connection": "Enabled",
            # The default asks DNS, which takes seconds on some machines.
            "hostname_callable": "socket.gethostname",
            "min_serialized_dag_update_interval": "5",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}"},
        "api": {"host": "127.0.0.1", "port": str(port), "base_url": f"http://127.0.0.1:{port}", "workers": "1"},
        "logging": {
            "base_log_folder": str(home / "logs"),
            "worker_log_server_port": str(log_ports[0]),
            "trigger_log_server_port": str(log_ports[1]),
        },
        "operators": {"default_deferrable": "True"},
        # An edited DAG shows within seconds.
        "dag_processor": {
            "refresh_interval": "10",
            "bundle_refresh_check_interval": "2",
            "min_file_process_interval": "10",
        },
        "scheduler": {"scheduler_idle_sleep_time": "0.5", "scheduler_heartbeat_sec": "2"},
        "triggerer": {"job_heartbeat_sec": "2"},
    }
    env = {
        f"AIRFLOW__{section.upper()}__{option.upper()}": value
        for section, values in options.items()
        for option, value in values.items()
    }
    # The executor copies the tasks' logs to its own output unmasked: secrets would end in standalone.log.
    env["AIRFLOW__LOGGING__SUBPROCESS_LOGS_TO_STDOUT"] = "False"
    return env


def fresh_home(home: Path, templates: Path, env: Mapping[str, str], signals: Signals) -> None:
    """Empty Airflow's home and give it a new database.

    The sandbox forgets everything when it ends, so Airflow must too: kept cursors and half-done runs of an
    earlier start would wait for messages that no longer exist. A copy of an empty database takes no time.
    """
    template = templates / f"airflow-{version('apache-airflow-core')}.db"
    if not template.exists():
        _make_template(template, env, signals)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copyfile(template, home / "airflow.db")


def _make_template(template: Path, env: Mapping[str, str], signals: Signals) -> None:
    scratch = template.with_suffix(f".{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    migrate = Child(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env={
            **env,
            "AIRFLOW_HOME": str(scratch),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{scratch / 'airflow.db'}",
        },
        cwd=scratch,
        log=scratch / "migrate.log",
    )
    try:
        while migrate.exit_code is None:
            signals.pause(0.1)
        if migrate.exit_code != 0:
            raise DemoError(f"Airflow could not make its database:\n{migrate.tail()}")
        # Not a plain copy: the newest pages may still be in the journal beside the file.
        source, target = sqlite3.connect(scratch / "airflow.db"), sqlite3.connect(scratch / "copy.db")
        source.backup(target)
        source.close()
        target.close()
        (scratch / "copy.db").replace(template)
    finally:
        migrate.stop(signals, first=signal.SIGTERM, grace=5)
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass
class Dag:
    """A DAG as the API describes it, as far as the demo cares."""

    dag_id: str
    file: str
    summary: str
    tags: frozenset[str]
    paused: bool = False

    @property
    def waits_for_asset(self) -> bool:
        return "asset" in self.summary.lower()


class Api:
    """The few calls of Airflow's REST API that the demo needs. All admins: no login."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Ask; what only reads is asked again, since SQLite is locked for a moment now and then."""
        for attempts_left in (2, 1, 0) if method == "GET" else (0,):
            try:
                response = self._session.request(method, f"{self.base_url}/api/v2{path}", timeout=20, **kwargs)
                if response.ok:
                    return response.json()
                problem = f"{response.status_code} {response.text[:500]}"
            except requests.RequestException as error:
                problem = str(error)
            if attempts_left:
                time.sleep(0.3)
        raise DemoError(f"{method} {path}: {problem}")

    def unhealthy(self) -> list[str]:
        """Name the components that are not up yet."""
        try:
            health = self.call("GET", "/monitor/health")
        except DemoError:
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

    def unpause(self, dag_id: str) -> None:
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str) -> str:
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None})
        return str(run["dag_run_id"])

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
        except DemoError as error:
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


class Standalone:
    """`airflow standalone`: scheduler, DAG processor, API server and triggerer."""

    def __init__(self, *, home: Path, port: int, env: Mapping[str, str], log: Path) -> None:
        self.api = Api(f"http://127.0.0.1:{port}")
        self.child = Child([sys.executable, "-m", "airflow", "standalone"], env=env, cwd=home, log=log)

    def require_alive(self) -> None:
        self.child.require_alive()

    def waiting_for(self, started: float) -> list[str]:
        """Name what is not up yet; complain when it never will be."""
        self.require_alive()
        if "address already in use" in self.child.log.read_text(errors="replace").lower():
            raise DemoError(f"somebody took a port at the same moment; start again\n{self.child.tail()}")
        missing = self.api.unhealthy()
        if missing and time.monotonic() - started > START_TIMEOUT:
            raise DemoError(f"Airflow is not up after {START_TIMEOUT} s: {', '.join(missing)}\n{self.child.tail()}")
        return missing

    def stop(self, signals: Signals) -> bool:
        # SIGINT and to the parent alone: on SIGTERM it dies without its children, and when all get SIGINT it hangs.
        # It needs 5 to 8 s. An interrupt while it starts its components is lost on it, so do not wait for long.
        return self.child.stop(signals, first=signal.SIGINT, grace=15)
