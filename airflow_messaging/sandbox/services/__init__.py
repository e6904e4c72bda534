"""The registry of sandbox services: a sixth one is a package here and a line in `SERVICES`."""

from __future__ import annotations

from airflow_messaging.sandbox.service import SandboxService
from airflow_messaging.sandbox.services.go_integrate.routes import GoIntegrateSandbox
from airflow_messaging.sandbox.services.liquidfiles.routes import LiquidFilesSandbox
from airflow_messaging.sandbox.services.mdi.routes import MdiSandbox
from airflow_messaging.sandbox.services.sendhub.routes import SendHubSandbox
from airflow_messaging.sandbox.services.serwersms.routes import SerwerSmsSandbox

SERVICES: tuple[type[SandboxService], ...] = (
    GoIntegrateSandbox,
    LiquidFilesSandbox,
    MdiSandbox,
    SerwerSmsSandbox,
    SendHubSandbox,
)
