"""The wait for an approval: by message or on Airflow's own page, whichever comes first."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from airflow_messaging.triggers.messages import NextMessageTrigger

PAGE_INTERVAL_S = 5.0
"""Seconds between two looks at the page, where Airflow does not resume the task by itself."""

APPROVE = "Approve"
REJECT = "Reject"
BY_MESSAGE = "message"
BY_TIMEOUT = "timeout"


class ApprovalTrigger(NextMessageTrigger):
    """Waits for the answer to a question, by message and on the page of the task's required actions.

    The wait for the message is shared with all others on the connection. The first answer that is recorded on the page
    counts. From Airflow 3.3 on, one look at the page is enough, since an answer given there resumes the task; before,
    each wait looks every five seconds.

    **Delivery**: nothing is acknowledged here. An answer that came by message is recorded on the page first and handed
    over then; a wait that was interrupted in between finds it there.

    :param ti_id: Id of the task instance, under which the page knows the question.
    :param yes: Answers that mean yes, as :func:`~airflow_messaging.services.replying.words_of` returns them.
    :param no: Answers that mean no.
    :param code: A code that answers hold. Default: none.
    :param asked: What the task wants to have back with an answer that means neither.
    :param default: What to record on the page when the time is over. Default: nothing.
    """

    def __init__(
        self,
        *,
        ti_id: str,
        yes: list[str],
        no: list[str],
        code: str | None = None,
        asked: list[dict[str, Any]] | None = None,
        default: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ti_id = ti_id
        self.yes = yes
        self.no = no
        self.code = code
        self.asked = asked
        self.default = default
        self._warned = False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this trigger again."""
        return {
            **super().arguments(),
            "ti_id": self.ti_id,
            "yes": self.yes,
            "no": self.no,
            "code": self.code,
            "asked": self.asked,
            "default": self.default,
        }

    async def wait(self) -> dict[str, Any]:
        """Wait for whichever answer comes first."""
        # A task that a trigger starts may not talk to Airflow, so that it is this one that looks at the page.
        reply = asyncio.ensure_future(super().wait())
        try:
            while True:
                answered, pause = await self._look_at_page()
                if answered is not None:
                    return answered
                await asyncio.wait([reply], timeout=pause)
                if reply.done():
                    return await self._judged(reply.result())
        finally:
            reply.cancel()
            await asyncio.gather(reply, return_exceptions=True)

    async def time_is_over(self) -> dict[str, Any]:
        """Return an answer that came to the page in time, or record the default there."""
        if self.default is not None:
            earlier = await self._record(self.default, {"answered_by": BY_TIMEOUT})
        else:
            earlier, _ = await self._look_at_page()
        return earlier or await super().time_is_over()

    async def _judged(self, payload: dict[str, Any]) -> dict[str, Any]:
        from airflow_messaging.services.replying import verdict

        (reply,) = payload["messages"]
        # One too large to travel has no text here, and is no answer of a word either.
        approved = verdict(reply.get("text"), self.yes, self.no, self.code)
        if approved is None:
            again = {"asked": self.asked, "code": self.code, "cursor": self.cursor, "end_at": self.end_at}
            return {**payload, "approved": None, **again}
        option = APPROVE if approved else REJECT
        earlier = await self._record(option, {"answered_by": BY_MESSAGE, "message_id": reply["id"]})
        return earlier or {**payload, "approved": approved}

    async def _record(self, option: str, details: dict[str, str]) -> dict[str, Any] | None:
        """Record an answer on the page; return the one that was there before."""
        from airflow.sdk.execution_time.hitl import update_hitl_detail_response

        from airflow_messaging.threads import in_thread

        try:
            await in_thread(
                update_hitl_detail_response, ti_id=UUID(self.ti_id), chosen_options=[option], params_input=details
            )
        except Exception as error:
            earlier, _ = await self._look_at_page()
            if earlier is None:
                self._warn(error)
            return earlier
        return None

    async def _look_at_page(self) -> tuple[dict[str, Any] | None, float | None]:
        """Return the answer on the page, and the seconds until the next look; None if no further one is needed."""
        from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail

        from airflow_messaging.threads import in_thread

        try:
            detail = await in_thread(get_hitl_detail_content_detail, ti_id=UUID(self.ti_id))
        except Exception as error:
            self._warn(error)
            return None, PAGE_INTERVAL_S
        if detail is None or not detail.response_received:
            return None, None if _page_resumes_tasks() else PAGE_INTERVAL_S
        user = detail.responded_by_user
        answered = {
            "status": "answered",
            "chosen_options": list(detail.chosen_options or []),
            "params_input": detail.params_input or {},
            "responded_by_user": {"id": user.id, "name": user.name} if user else None,
        }
        return answered, None

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self.log.warning("The page of required actions cannot be reached: %s", type(error).__name__)
        self._warned = True


def _page_resumes_tasks() -> bool:
    """Say whether Airflow resumes a deferred task when its question is answered on the page: since 3.3."""
    from airflow.sdk import exceptions

    return hasattr(exceptions, "TaskAwaitingInput")
