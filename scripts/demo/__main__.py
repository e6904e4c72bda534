"""Start the sandbox and Airflow, run every example DAG, report, stay up until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from pathlib import Path

from scripts.demo import report
from scripts.demo.runs import Run, Runner, explain, wait_for_dags
from scripts.harness import airflow
from scripts.harness.processes import Child, HarnessError, Home, Interrupted, Signals, free_ports
from scripts.harness.sandbox import Sandbox, connections

CHECKOUT = Path(__file__).resolve().parents[2]
# People take their time: at once, and the answer would be there before the wait has reached the triggerer.
ECHO_DELAY_S = 15
# A scheduler that is held up for some seconds takes the news that a task was deferred for the end of the resumed task,
# and fails it (Airflow 3.3.2). The report names what took a second try.
ONE_RETRY = {"AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "1", "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="end after the runs; fail if one failed")
    parser.add_argument("--dags", type=Path, default=CHECKOUT / "dags_examples", help="the folder of DAGs to run")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for all the runs together")
    return parser.parse_args()


def say(text: str) -> None:
    """Print, also when the terminal has gone: that must not keep us from cleaning up."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


class Demo:
    """One demo, from its start to its end."""

    def __init__(self, home: Home, dags: Path, signals: Signals) -> None:
        self.home = home
        self.dags = dags.resolve()
        self.signals = signals
        self.progress = report.Progress()
        self.sandbox: Sandbox | None = None
        self.standalone: airflow.Standalone | None = None

    def start(self) -> tuple[Sandbox, airflow.Standalone, list[str]]:
        """Start the sandbox and Airflow, each on a port that is free."""
        # Further demos look further up, so that two that start together do not pick the same.
        wanted = [port + 20 * (self.home.number - 1) for port in (8080, 8025, 8793, 8794)]
        port, sandbox_port, *log_ports = free_ports(wanted)
        path = self.home.path
        base = airflow.clean_environment(path)
        env = base | airflow.settings(home=path, dags=self.dags, port=port, log_ports=(log_ports[0], log_ports[1]))
        self.progress.update("preparing Airflow's database")
        airflow.fresh_home(path, self.home.base / "templates", env, self.signals)

        logs = path / "logs"
        self.sandbox = Sandbox(
            port=sandbox_port,
            env=base,
            cwd=path,
            log=logs / "sandbox.log",
            options=("--echo-delay", str(ECHO_DELAY_S)),
        )
        self.home.remember(self._children())
        env |= connections(sandbox_port, base) | ONE_RETRY
        self.standalone = airflow.Standalone(home=path, port=port, env=env, log=logs / "standalone.log")
        self.home.remember(self._children())
        services = self.sandbox.wait_until_ready(self.signals)
        self.progress.step(f"the sandbox is up: {self.sandbox.url}")
        return self.sandbox, self.standalone, services

    def run(self, timeout: float) -> bool:
        """Run everything and print the report; whether all runs succeeded."""
        sandbox, standalone, services = self.start()
        started = time.monotonic()
        while missing := standalone.waiting_for(started):
            self.check()
            self.progress.update(f"waiting for Airflow: {', '.join(missing).replace('_', ' ')}")
            self.signals.pause(0.5)
        self.progress.step(f"Airflow is up: {standalone.api.base_url}")
        dags = wait_for_dags(standalone.api, self.dags, self.signals, self.progress)
        self.progress.step(f"running {len(dags)} DAGs")
        runs = Runner(standalone.api, sandbox, services, self.check).run(dags, timeout, self.signals, self.progress)
        self.progress.step(f"{sum(run.state == 'success' for run in runs)} of {len(runs)} DAGs succeeded")
        self.report(runs, services)
        return all(run.state == "success" for run in runs)

    def report(self, runs: list[Run], services: list[str]) -> None:
        assert self.sandbox and self.standalone
        rows = []
        for run in runs:
            what = report.went_through(run.tasks, run.returned, services, [*run.dag.tags, run.dag.dag_id])
            rows.append((run.dag.dag_id, run.state, f"{run.seconds:.1f}", what))
        print(
            "\n"
            + report.table(
                ("DAG", "state", "seconds", "what went through which service (tasks)"), rows, right=frozenset({2})
            )
        )
        print("\n" + report.traffic_table(self.sandbox.traffic()))
        for run in runs:
            if run.state != "success":
                print("\n" + explain(run, self.standalone.api))
        print("\n" + report.banner(self.standalone.api.base_url, self.sandbox.url), flush=True)

    def check(self) -> None:
        """Complain when something that should run has ended."""
        for part in (self.sandbox, self.standalone):
            if part:
                part.require_alive()

    def stay(self) -> None:
        """Wait for Ctrl-C."""
        print("\nCtrl-C ends it.", flush=True)
        while True:
            self.signals.pause(2)
            self.check()

    def stop(self) -> None:
        """End everything that was started, whatever has happened."""
        if not self._children():
            return
        say(f"{self.progress.clearing}Stopping Airflow and the sandbox ...")
        for name, part in (("Airflow", self.standalone), ("The sandbox", self.sandbox)):
            if part and not part.stop(self.signals):
                say(f"{name} did not end by itself; it was made to.")
        left = [process for child in self._children() for process in child.survivors()]
        if left:
            raise HarnessError(f"these processes would not end: {left}")
        self.home.forget()
        say("Stopped; no process is left.")

    def _children(self) -> list[Child]:
        return [part.child for part in (self.sandbox, self.standalone) if part]


def main() -> int:
    args = arguments()
    signals = Signals()
    signals.install()
    code: int | None = None
    try:
        demo = Demo(Home.acquire(CHECKOUT / ".demo"), args.dags, signals)
        try:
            code = 0 if demo.run(args.timeout) else 1
            if not args.exit:
                demo.stay()
        finally:
            demo.stop()
    except Interrupted:
        # Ending a demo that has shown everything is no failure; cutting one short is.
        if code is None:
            code = 128 + (signals.received or signal.SIGINT)
    except HarnessError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        code = 1
    return 1 if code is None else code


if __name__ == "__main__":
    sys.exit(main())
