"""Airflow: its settings, its database, and all its components under one parent."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from scripts.harness.api import Api
from scripts.harness.processes import Child, HarnessError, Signals

START_TIMEOUT = 180


def clean_environment(home: Path) -> dict[str, str]:
    """Return our environment without another Airflow's settings, which would win over ours."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    env["AIRFLOW_HOME"] = str(home)
    # `airflow standalone` starts its components by name.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env["PYTHONUNBUFFERED"] = "1"
    env["NO_COLOR"] = "1"
    # Everything it talks to is on this machine: never through a company's proxy.
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
    try:
        here = {"AIRFLOW_HOME": str(scratch), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{scratch}/airflow.db"}
        migrate(scratch, {**env, **here}, signals)
        # Not a plain copy: the newest pages may still be in the journal beside the file.
        source, target = sqlite3.connect(scratch / "airflow.db"), sqlite3.connect(scratch / "copy.db")
        source.backup(target)
        source.close()
        target.close()
        (scratch / "copy.db").replace(template)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def migrate(home: Path, env: Mapping[str, str], signals: Signals) -> None:
    """Make the tables in the database that the environment names."""
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    child = Child(command, env=env, cwd=home, log=home / "logs" / "migrate.log")
    try:
        while child.exit_code is None:
            signals.pause(0.1)
        if child.exit_code != 0:
            raise HarnessError(f"Airflow could not make its database:\n{child.tail()}")
    finally:
        child.stop(signals, first=signal.SIGTERM, grace=5)


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
            raise HarnessError(f"somebody took a port at the same moment; start again\n{self.child.tail()}")
        missing = self.api.unhealthy()
        if missing and time.monotonic() - started > START_TIMEOUT:
            raise HarnessError(f"Airflow is not up after {START_TIMEOUT} s: {', '.join(missing)}\n{self.child.tail()}")
        return missing

    def stop(self, signals: Signals) -> bool:
        # SIGINT and to the parent alone: on SIGTERM it dies without its children, and when all get SIGINT it hangs.
        # It needs 5 to 8 s. An interrupt while it starts its components is lost on it, so do not wait for long.
        return self.child.stop(signals, first=signal.SIGINT, grace=15)
