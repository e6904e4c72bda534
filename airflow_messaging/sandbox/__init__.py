"""The five services over real HTTP, in memory: for the demo, for tests, and for trying things out.

`running()` runs one inside this process; `airflow-messaging sandbox` runs one by itself. What is invented and what is
not imitated stands in each service's `not_imitated`, which the page at `/_sandbox/` shows too.
"""

from airflow_messaging.sandbox.connections import connection_exports, connections
from airflow_messaging.sandbox.running import ControlError, RunningSandbox, running

__all__ = ["ControlError", "RunningSandbox", "connection_exports", "connections", "running"]
