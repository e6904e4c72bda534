"""A small TCP proxy that cuts a connection after so many bytes, either way."""

from __future__ import annotations

import contextlib
import dataclasses
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Literal

Direction = Literal["up", "down"]


@dataclasses.dataclass
class Cut:
    """Where to cut: after ``after`` more bytes in one direction, in order (FIN) or at once (RST).

    With ``late_s`` the request arrives all the same, so many seconds after the client was cut off.
    """

    direction: Direction
    after: int
    at_once: bool = True
    late_s: float | None = None


class Proxy:
    """Passes bytes on to a port of this machine, and counts them."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._cuts: list[Cut] = []
        self.delivered_late = threading.Event()
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self, *cuts: Cut) -> None:
        """Cut here, then there; whatever comes after that passes."""
        with self._lock:
            self._cuts = list(cuts)

    @property
    def cuts_left(self) -> int:
        with self._lock:
            return len(self._cuts)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        # One thread for both ways: a socket that another thread reads from would not be closed at once.
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            ways: dict[socket.socket, tuple[Direction, socket.socket]] = {
                client: ("up", server),
                server: ("down", client),
            }
            while ways:
                for source in select.select(list(ways), [], [])[0]:
                    direction, sink = ways[source]
                    try:
                        piece = source.recv(65536)
                        cut = self._cut_short(direction, len(piece))
                        if cut is not None and cut.late_s is not None:
                            _deliver_late(piece, client, server, cut.late_s)
                            self.delivered_late.set()
                            return
                        sink.sendall(piece if cut is None else piece[: cut.after])
                    except OSError:
                        return
                    if cut is not None:
                        if cut.at_once:
                            _reset_on_close(client)
                            _reset_on_close(server)
                        return
                    if not piece:
                        sink.shutdown(socket.SHUT_WR)
                        del ways[source]

    def _cut_short(self, direction: Direction, length: int) -> Cut | None:
        """Count; return the cut that falls into these bytes, ``after`` being those which may still pass."""
        with self._lock:
            self.passed[direction] += length
            if not self._cuts or self._cuts[0].direction != direction:
                return None
            cut = self._cuts[0]
            if cut.after >= length:
                cut.after -= length
                return None
            return self._cuts.pop(0)


def _deliver_late(piece: bytes, client: socket.socket, server: socket.socket, late_s: float) -> None:
    client.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while more := client.recv(65536):
            piece += more
    _reset_on_close(client)
    client.close()
    time.sleep(late_s)
    server.sendall(piece)
    server.recv(65536)


def _reset_on_close(end: socket.socket) -> None:
    # With a linger time of zero the kernel sends RST, not the FIN of a polite close.
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def proxying(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
