"""The command line, `airflow-messaging`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from airflow_messaging import __version__

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8025
_MAX_PORT = 65535


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit code."""
    arguments = _parser().parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airflow-messaging", description="Tools around airflow_messaging.")
    parser.add_argument("--version", action="version", version=__version__)
    subcommands = parser.add_subparsers(title="subcommands", required=True, metavar="COMMAND")
    _add_sandbox(subcommands)
    _add_check(subcommands)
    return parser


def _add_check(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Try a connection with one harmless read: what Airflow's Test button does, which is off by default."
    parser = subcommands.add_parser("check", help=about, description=about)
    parser.add_argument("conn_id", metavar="CONN_ID", help="the connection, from Airflow's secrets backends")
    parser.set_defaults(run=_run_check)


def _add_sandbox(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Run the five services locally, in memory."
    parser = subcommands.add_parser("sandbox", help=about, description=about)
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="0 for any free one (default: %(default)s)")
    parser.add_argument("--no-echo", dest="echo", action="store_false", help="let the seeded peers stay silent")
    parser.add_argument(
        "--echo-delay",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="how long the seeded peers take to answer (default: 1)",
    )
    parser.add_argument(
        "--hold",
        type=_seconds,
        default=50.0,
        metavar="SECONDS",
        help="how long wait-next-message is held (default: 50)",
    )
    parser.add_argument("--print-connections", action="store_true", help="print the Airflow connections and exit")
    parser.set_defaults(run=_run_sandbox)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _run_sandbox(arguments: argparse.Namespace) -> int:
    if arguments.print_connections:
        from airflow_messaging.sandbox.connections import connection_exports

        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        print("\n".join(connection_exports(f"http://{host}:{arguments.port}")))
        return 0
    with tempfile.TemporaryDirectory(prefix="airflow-messaging-") as spool_dir:
        try:
            asyncio.run(_serve(arguments, Path(spool_dir)))
        except OSError as error:
            print(f"airflow-messaging: cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
            return 1
    return 0


def _run_check(arguments: argparse.Namespace) -> int:
    from airflow.models import Connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    from airflow_messaging.exceptions import MessagingError
    from airflow_messaging.hooks.registry import with_connection

    try:
        connection = Connection.get_connection_from_secrets(arguments.conn_id)
        accepted, said = with_connection(arguments.conn_id, connection).test_connection()
    except AirflowNotFoundException as error:
        # Airflow says the same of a connection that it cannot read, and keeps to itself why.
        variable = f"AIRFLOW_CONN_{arguments.conn_id.upper()}"
        unreadable = f"{variable} is set, but Airflow cannot read it: is its JSON or URI right?"
        accepted, said = False, unreadable if os.environ.get(variable) else str(error)
    except MessagingError as error:
        accepted, said = False, str(error)
    print(f"{arguments.conn_id}: {said}", file=sys.stdout if accepted else sys.stderr)
    return 0 if accepted else 1


async def _serve(arguments: argparse.Namespace, spool_dir: Path) -> None:
    from airflow_messaging.sandbox.app import Sandbox, serve
    from airflow_messaging.sandbox.world import World

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sandbox = Sandbox(World(spool_dir, echo=arguments.echo, hold_s=arguments.hold, echo_delay_s=arguments.echo_delay))
    await serve(sandbox, arguments.host, arguments.port, stop)


if __name__ == "__main__":
    sys.exit(main())
