"""``MessageQueueTrigger(scheme="sendhub", …)`` for all five services: scheme and connection type agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider

if TYPE_CHECKING:
    from airflow_messaging.triggers.inbox import InboxTrigger


class InboxQueueProvider(BaseMessageQueueProvider):
    """What the five schemes share. The trigger takes the arguments of ``InboxTrigger``.

    **Delivery**: that of :class:`~airflow_messaging.triggers.inbox.InboxTrigger`.
    """

    def trigger_class(self) -> type[InboxTrigger]:
        """Return the trigger that watches an inbox."""
        from airflow_messaging.triggers.inbox import InboxTrigger

        return InboxTrigger


class GoIntegrateQueueProvider(InboxQueueProvider):
    """Scheme ``go_integrate``."""

    scheme = "go_integrate"


class LiquidFilesQueueProvider(InboxQueueProvider):
    """Scheme ``liquidfiles``."""

    scheme = "liquidfiles"


class MdiQueueProvider(InboxQueueProvider):
    """Scheme ``mdi``."""

    scheme = "mdi"


class SerwerSmsQueueProvider(InboxQueueProvider):
    """Scheme ``serwersms``."""

    scheme = "serwersms"


class SendHubQueueProvider(InboxQueueProvider):
    """Scheme ``sendhub``."""

    scheme = "sendhub"
