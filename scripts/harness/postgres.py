"""A PostgreSQL server of our own: a folder in the temporary directory and a Unix socket, no port, no password."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from scripts.harness.processes import Child, HarnessError, Signals

PROGRAMS = ("initdb", "postgres", "psql")
DATABASE = "airflow"
START_TIMEOUT = 60
# Nothing here has to survive the machine, and two cores are few.
OPTIONS = {"fsync": "off", "synchronous_commit": "off", "max_connections": "200", "listen_addresses": ""}


def programs() -> dict[str, str]:
    """Find PostgreSQL's programs, which Debian keeps off the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    if missing := [name for name in PROGRAMS if not found[name]]:
        raise HarnessError(f"PostgreSQL is needed, and these are not there: {', '.join(missing)}; make postgresql")
    return {name: place for name, place in found.items() if place}


class Postgres:
    """A server, from its start to its end. PostgreSQL refuses to work for root, who lends it to somebody else."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        self._programs = programs()
        self._env = dict(env)
        self._user = _servant() if os.getuid() == 0 else None
        self.name = self._user or getpass.getuser()
        self.folder = Path(tempfile.mkdtemp(prefix="airflow-messaging-postgres-"))
        self.child: Child | None = None
        try:
            self._start(log)
        except BaseException:
            self.discard()
            raise

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://{self.name}@/{DATABASE}?host={self.folder}"

    def _start(self, log: Path) -> None:
        data = self.folder / "data"
        if self._user:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-D", str(data), "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
        command = [self._programs["postgres"], "-D", str(data), "-k", str(self.folder), *options]
        self.child = Child(command, env=self._env, cwd=data, log=log, user=self._user)

    def wait_until_ready(self, signals: Signals) -> None:
        """Wait for the server, and make the database."""
        assert self.child
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            self.child.require_alive()
            try:
                self._run("psql", "-h", str(self.folder), "-d", "postgres", "-qc", f"CREATE DATABASE {DATABASE}")
                return
            except HarnessError:
                if time.monotonic() > deadline:
                    raise
            signals.pause(0.2)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs[program], *arguments],
            env=self._env,
            cwd=self.folder,
            user=self._user,
            group=self._user and pwd.getpwnam(self._user).pw_gid,
            extra_groups=self._user and [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise HarnessError(f"{program} failed:\n{done.stderr}")

    def stop(self, signals: Signals) -> bool:
        """End it and remove its folder; False if that took force."""
        # The server answers SIGINT by closing its clients' connections, SIGTERM by waiting for them.
        ended = self.child.stop(signals, first=signal.SIGINT, grace=15) if self.child else True
        self.discard()
        return ended

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _servant() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise HarnessError("PostgreSQL refuses to work for root, and there is neither a user postgres nor nobody")
