"""What the sensors share: how they ask, wait, and end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook

_GRACE = timedelta(minutes=1)
"""The trigger ends the wait itself; Airflow's own, coarser timeout stands behind it in case the triggerer is gone."""


class MessagingSensor(BaseSensorOperator):
    """A sensor on one of the five connections, with the same results in every mode.

    :param conn_id: A connection of any of the five types.
    :param deferrable: Wait in the triggerer. Default yes; otherwise ``mode`` decides between poke and reschedule.
    :param poke_interval: Seconds between two questions. Default 10.
    :param end_from_trigger: Let the triggerer end the task with what it finds, without a worker, where that makes no
        difference to others. Default no.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        conn_id: str,
        deferrable: bool = True,
        poke_interval: timedelta | float = 10,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.end_from_trigger = end_from_trigger
        self._asked_to_wait = 0.0

    def hook(self) -> MessagingHook[Any]:
        """Return the hook; use it in a ``with`` block. It makes no pauses that are longer than the sensor's own."""
        from airflow_messaging.hooks.registry import hook_for

        hook = hook_for(self.conn_id)
        options = hook.transport.options
        hook.transport.options = dataclasses.replace(options, max_wait=min(options.max_wait, self.poke_interval))
        return hook

    def look(self, context: Context) -> Any:
        """Ask once; return the result, or None to wait on."""
        raise NotImplementedError

    def make_trigger(self, waits: dict[str, Any]) -> Any:
        """Return the trigger that goes on waiting.

        :param waits: What all triggers of waits are told: the connection, and how long and how often to ask.
        """
        raise NotImplementedError

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once. A service that is out of reach for the moment is asked again; other errors end the wait."""
        from airflow_messaging.exceptions import is_passing

        self._asked_to_wait = 0.0
        try:
            result = self.look(context)
        except Exception as error:
            if not is_passing(error):
                raise
            self.log.warning("The service cannot be asked now, the wait goes on: %s", error)
            self._asked_to_wait = getattr(error, "retry_after", None) or 0.0
            result = None
        return PokeReturnValue(is_done=result is not None, xcom_value=result)

    def execute(self, context: Context) -> Any:
        """Ask once, then wait in the way that ``deferrable`` and ``mode`` say."""
        if not self.deferrable:
            return self._execute_on_worker(context)
        end_at = datetime.now(UTC) + timedelta(seconds=self.timeout)
        try:
            first = self.poke(context)
        except Exception as error:
            self._fail(error)
        return first.xcom_value if first.is_done else self._wait(end_at)

    def _execute_on_worker(self, context: Context) -> Any:
        """Poke or reschedule. Airflow itself lets ``never_fail`` skip timeouts of deferred sensors only."""
        from airflow.providers.common.compat.sdk import AirflowSensorTimeout

        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            self._fail(error)

    def _get_next_poke_interval(self, started_at: Any, run_duration: Any, poke_count: int) -> float:
        """Wait longer where the service asks for it, but not beyond the timeout."""
        interval = float(super()._get_next_poke_interval(started_at, run_duration, poke_count))
        left: float = self.timeout - run_duration()
        return max(interval, min(self._asked_to_wait, left))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Take what the trigger brought.

        :param event: The trigger's event.
        :return: What the sensor returns.
        """
        from airflow.providers.common.compat.sdk import AirflowSensorTimeout

        from airflow_messaging.exceptions import MessagingError, from_dict

        event = event or {}
        if event.get("status") == "timeout":
            raise AirflowSensorTimeout(f"Nothing came within {self.timeout:g} seconds")
        if event.get("status") == "error":
            self._fail(from_dict(event["error"]))
        if event.get("status") != "found":
            self._fail(MessagingError("the trigger ended without a result"))
        return self.found(event)

    def found(self, event: dict[str, Any]) -> Any:
        """Return the sensor's result from the trigger's event."""
        raise NotImplementedError

    def _wait(self, end_at: datetime) -> NoReturn:
        trigger = self.make_trigger(
            {
                "conn_id": self.conn_id,
                "poke_interval": self.poke_interval,
                "end_at": end_at.isoformat(),
                "end_task": self.end_from_trigger and not self._needs_worker(),
                "push_result": self.do_xcom_push,
            }
        )
        self.defer(trigger=trigger, method_name="execute_complete", timeout=deferral_timeout(end_at))

    def _needs_worker(self) -> bool:
        """Say whether the end of this task does what Airflow does on workers only."""
        is_mapped_over = self.get_dag() is not None and any(True for _ in self.iter_mapped_dependants())
        return bool(self.outlets) or self.multiple_outputs or is_mapped_over

    def _fail(self, error: Exception) -> NoReturn:
        """Fail as poke mode does: ``never_fail`` skips on any error, ``soft_fail`` does not."""
        from airflow.providers.common.compat.sdk import AirflowSkipException

        if self.never_fail:
            raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
        raise error


def deferral_timeout(end_at: datetime) -> timedelta:
    """Return Airflow's own timeout for a wait whose trigger ends it by itself.

    :param end_at: When the trigger gives up.
    :return: The time until then, never negative, and some grace.
    """
    return max(timedelta(0), end_at - datetime.now(UTC)) + _GRACE
