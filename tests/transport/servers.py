"""A tiny HTTP server whose answers, good and bad, a test writes down."""

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message as Headers
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple


class Seen(NamedTuple):
    method: str
    target: str
    headers: Headers
    body: bytes


class Answer(NamedTuple):
    """An answer; ``announce`` is the Content-Length where it shall lie, ``garbage`` replaces the answer."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    announce: int | None = None
    delay_s: float = 0.0
    reset: bool = False
    hang_up: bool = False
    garbage: bytes | None = None


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status, (("Location", location),))


class Server:
    """What one server saw, and what it answers: one answer after another, the last one for ever."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: list[Answer] | Callable[[Seen], Answer] = [Answer()]
        self.url = ""
        self.date: str | None = None
        """What it says the time is, where it shall lie."""

    def next_answer(self, seen: Seen) -> Answer:
        self.seen.append(seen)
        if callable(self.answers):
            return self.answers(seen)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server on a free port of this machine."""
    server = Server()
    if answers:
        server.answers = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                super().handle_one_request()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return server.date or super().date_time_string(timestamp)

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            answer = server.next_answer(Seen(self.command, self.path, self.headers, body))
            time.sleep(answer.delay_s)
            if answer.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if answer.garbage is not None:
                # Below TLS, where there is any.
                raw = socket.socket(fileno=self.connection.detach())
                raw.sendall(answer.garbage)
                raw.close()
            if answer.reset or answer.hang_up or answer.garbage is not None:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            length = len(answer.body) if answer.announce is None else answer.announce
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer.body)
            if length != len(answer.body):
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = answer

        def log_message(self, *_: Any) -> None:
            pass

    class Threads(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None:
            pass

    with Threads(("127.0.0.1", 0), Handler) as listening:
        if tls is not None:
            listening.socket = tls.wrap_socket(listening.socket, server_side=True)
        host, port = listening.server_address[:2]
        server.url = f"{'https' if tls else 'http'}://{host}:{port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
