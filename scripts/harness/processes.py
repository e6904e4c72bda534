"""Ports, child processes that leave nothing behind, and signals."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

import psutil


class HarnessError(Exception):
    """It cannot go on; the text says why."""


class Interrupted(Exception):
    """Somebody asked us to stop."""


class Signals:
    """Turn Ctrl-C and friends into a flag, which is looked at whenever we wait.

    An exception thrown from a handler can hit anywhere, also in the middle of the clean-up.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.impatient = False
        self._event = threading.Event()

    def install(self) -> None:
        # Also when SIGINT is ignored, as in a shell's background job: children would inherit that, and
        # `airflow standalone` stops on SIGINT only.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.impatient = self.received is not None
        self.received = number
        self._event.set()

    def pause(self, seconds: float) -> None:
        """Sleep; raise `Interrupted` as soon as a signal has come."""
        if self._event.wait(seconds):
            raise Interrupted


def is_free(port: int) -> bool:
    """Whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        # Some systems let a second server bind beside a first: ask whether anybody answers, too.
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False
    for host in ("127.0.0.1", ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    return False
                raise
    return True


def free_ports(preferred: Sequence[int]) -> list[int]:
    """Return one free port for each preferred one: itself, or the next that is free."""
    chosen: list[int] = []
    for wanted in preferred:
        port = next((p for p in range(wanted, wanted + 200) if p not in chosen and is_free(p)), None)
        if port is None:
            raise HarnessError(f"no free port between {wanted} and {wanted + 199}")
        chosen.append(port)
    return chosen


class Child:
    """A child process that leads a session of its own, so that all its descendants can be found.

    A session of its own also keeps Ctrl-C away from it: the terminal signals our group only, and we stop the
    children in the order and in the way they need.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, user: str | None = None
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.name = log.stem
        self.cwd = cwd
        self._asked = False
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user and pwd.getpwnam(user).pw_gid,
                extra_groups=user and [],
            )
        self.pid = self.process.pid

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def require_alive(self) -> None:
        if self.exit_code is not None:
            raise HarnessError(f"{self.name} ended with exit code {self.exit_code}:\n{self.tail()}")

    def survivors(self) -> list[psutil.Process]:
        self.process.poll()  # reaps it
        return session_members(self.pid)

    def ask_to_end(self, how: signal.Signals) -> None:
        """Send it a signal, once: to be asked again means to many a program that it shall not end in order."""
        if not self._asked and self.exit_code is None:
            self.process.send_signal(how)
        self._asked = True

    def kill(self) -> None:
        """End it at once with all its descendants, as a machine that fails would."""
        os.killpg(self.pid, signal.SIGKILL)
        while left := self.survivors():
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)

    def stop(self, signals: Signals, *, first: signal.Signals, grace: float, patience: float = 5) -> bool:
        """End it with all its descendants; False if that took force.

        `first` goes to the child alone, which ends its own children; whoever is left after `grace` seconds is
        asked directly, and killed after `patience` seconds more.
        """
        self.ask_to_end(first)
        if wait_until(lambda: not self.survivors(), grace, unless=lambda: signals.impatient):
            return True
        return end_all(self.survivors, patience)


def wait_until(done: Callable[[], bool], seconds: float, *, unless: Callable[[], bool] = lambda: False) -> bool:
    """Poll until it is done; False when the time is up or the waiting was cut short."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline or unless():
            return False
        time.sleep(0.1)
    return True


def session_members(session: int) -> list[psutil.Process]:
    """Find the living processes of a session, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_all(survivors: Callable[[], list[psutil.Process]], patience: float = 5) -> bool:
    """Terminate, then kill; False if somebody had to be killed."""
    for process in survivors():
        with contextlib.suppress(psutil.Error):
            process.terminate()
    if wait_until(lambda: not survivors(), patience):
        return True
    for process in survivors():
        with contextlib.suppress(psutil.Error):
            process.kill()
    wait_until(lambda: not survivors(), 5)
    return False


class Home:
    """A folder for one running Airflow, with a lock, since two Airflows on one SQLite file would spoil it."""

    def __init__(self, base: Path, number: int, lock: IO[str]) -> None:
        self.base = base
        self.number = number
        self.path = base / f"run-{number}"
        self._sessions = base / f"run-{number}.sessions"
        self._lock = lock  # held as long as the file is open, so it is free when we are killed

    @classmethod
    def acquire(cls, base: Path) -> Home:
        """Take the first folder that is not in use, and end what somebody who was killed has left in it."""
        base.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10):
            lock = (base / f"run-{number}.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            home = cls(base, number, lock)
            home._end_leftovers()
            home.path.mkdir(exist_ok=True)
            return home
        raise HarnessError(f"nine are running in {base} already")

    def remember(self, children: Iterable[Child]) -> None:
        """Note who we started, for the next one to end them, should we be killed."""
        self._sessions.write_text(json.dumps([[child.pid, str(child.cwd)] for child in children]))

    def forget(self) -> None:
        self._sessions.unlink(missing_ok=True)

    def _end_leftovers(self) -> None:
        try:
            sessions = [(int(pid), Path(cwd)) for pid, cwd in json.loads(self._sessions.read_text())]
        except (OSError, ValueError, TypeError):
            return

        def leftovers() -> list[psutil.Process]:
            return [p for pid, cwd in sessions for p in session_members(pid) if _works_in(cwd, p)]

        if leftovers():
            print("An earlier one was killed; ending what it left behind.", file=sys.stderr)
            end_all(leftovers)
        self.forget()


def _works_in(folder: Path, process: psutil.Process) -> bool:
    """Guard against a number that now belongs to a stranger: ours have the working directory they were given."""
    with contextlib.suppress(psutil.Error, OSError):
        return Path(process.cwd()).resolve() == folder.resolve()
    return False
