"""Operators that ask somebody by message and wait for the reply: any reply, or a yes or no."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.operators.base import stable_message_id
from airflow_messaging.operators.messages import SendMessageOperator

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout
except ImportError:  # Airflow 3.1
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef]

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.messages import Draft, Receipt
    from airflow_messaging.services.selecting import Selection

CODE_TEXT = "Please put the code {code} into your reply."

FAIL = "fail"
SKIP = "skip"


class NoReply(MessagingError, AirflowFailException):
    """Nobody has replied in time. Airflow is not to try the task again: it would wait as long once more."""


class SendAndWaitForReplyOperator(SendMessageOperator):
    """Send a message, wait for the reply without holding a worker, and return the reply.

    The reply is told from other messages by what the service has for it: SerwerSMS.pl and MDI g8teway name the message
    that is answered; LiquidFiles and SendHub name the sender, and the first message from there after the question
    counts; Go Integrate Me names neither, and the reply has to quote the message id in its text or file name. A
    ``code`` makes it surer everywhere. What could not be told apart is refused before anything is sent.

    **Delivery**: the question is sent once, as :class:`~airflow_messaging.operators.base.SendOnceOperator` says; from
    Airflow 3.3 on a retry does not ask again, and returns the reply if there was one. A task that is cleared asks
    again. The reply is received at least once: it is marked read only when it is in the task state store. Before
    Airflow 3.3 there is no such store, and a reply is lost to a retry if the process dies between marking it read and
    the end of the task; ``mark_read=False`` prevents that.

    :param conn_id: A connection of any of the five types.
    :param to: The recipient, in the service's own form. Only one.
    :param text: The question.
    :param code: Whether to add a one-time code to the question that the reply has to hold. Replies without it are left
        to others. Default no.
    :param code_text: What asks for the code, on a line of its own after the question, with ``{code}`` in it.
    :param response_timeout: Seconds to wait for the reply, from when the task runs. Default one day. It is apart from
        ``execution_timeout``, which holds for each stay on a worker.
    :param on_timeout: What to do when the time is over: ``"fail"`` (default) without a retry, ``"skip"``, or any other
        text: go on as if that had been the reply.
    :param mark_read: Whether to mark the reply read where the service has a read flag. Default yes. SerwerSMS.pl
        marks all messages of one sender and second at once: where there is another one, both are left unread.
    :param spool: Directory in any object storage for a large reply, or one with files, as with ``NextMessageSensor``.
        Default: none.
    :param poke_interval: Seconds between two looks into the inbox, which all waits on the connection share. Default 10.
    :return: The reply as JSON. The receipt of the question is in XCom under ``receipt``.
    """

    template_fields: Sequence[str] = (
        *SendMessageOperator.template_fields,
        "code",
        "code_text",
        "on_timeout",
        "mark_read",
        "spool",
    )

    def __init__(
        self,
        *,
        conn_id: str,
        to: str | list[str],
        text: str,
        code: bool | str = False,
        code_text: str = CODE_TEXT,
        response_timeout: timedelta | float = timedelta(days=1),
        on_timeout: str = FAIL,
        mark_read: bool | str = True,
        spool: str | None = None,
        poke_interval: timedelta | float = 10,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("split_recipients"):
            raise ValueError("split_recipients cannot be used here: a question goes to one recipient")
        super().__init__(conn_id=conn_id, to=to, text=text, **kwargs)
        self.code = code
        self.code_text = code_text
        self.response_timeout = response_timeout
        self.on_timeout = on_timeout
        self.mark_read = mark_read
        self.spool = spool
        self.poke_interval = poke_interval

    def execute(self, context: Context) -> Any:
        """Ask, unless an earlier try has asked, and wait in the triggerer."""
        self.check_arguments()
        memory = Memory(context)
        if (outcome := memory.get("outcome")) is not None:
            self.log.info("An earlier try has had the answer")
            return self.finish(outcome, context)
        end_at = datetime.now(UTC) + timedelta(seconds=seconds(self.response_timeout))
        with self.hook() as hook:
            code = self._code(memory)
            drafts = [self.question(memory, number, code) for number in range(1, memory.get("questions", 1) + 1)]
            receipts = [self._ask(hook, draft, context) for draft in drafts]
            selection = self._selection(hook, drafts[-1], receipts, code)
            cursor = memory.get("cursor") or self._where_to_begin(hook, receipts[0], context)
        context["ti"].xcom_push(key="receipt", value=receipts[0].to_dict())
        self.announce(context)
        return self._wait(context, receipts, selection=selection, cursor=cursor, code=code, end_at=end_at)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Take what the trigger brought.

        :param event: The trigger's event.
        :return: What the operator returns.
        """
        from airflow_messaging.exceptions import from_dict

        event = event or {}
        if event.get("status") == "timeout":
            return self.time_is_over(context)
        if event.get("status") == "error":
            raise from_dict(event["error"])
        if event.get("status") != "found":
            raise MessagingError("the trigger ended without a result")
        return self.replied(event, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait, also if it was Airflow that ended it because the triggerer did not."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            return self.overdue(context)

    # -- what an operator that asks otherwise changes ---------------------------------------------------------------

    def check_arguments(self) -> None:
        """Refuse arguments that break a rule; nothing has been sent."""
        from airflow_messaging.exceptions import InvalidInput, Shown
        from airflow_messaging.services.parsing import true_or_false
        from airflow_messaging.triggers.carrying import checked_spool

        for field, value in (("text", self.text), ("on_timeout", self.on_timeout)):
            if not isinstance(value, str) or not value.strip():
                raise InvalidInput(field, Shown("nothing usable"), "a text that is not empty")
        if not seconds(self.response_timeout) > 0:
            raise InvalidInput("response_timeout", self.response_timeout, "more than 0 seconds")
        true_or_false("mark_read", self.mark_read)
        checked_spool(self.spool)

    def question(self, memory: Memory, number: int, code: str | None) -> Draft:
        """Return the question.

        :param memory: What the task remembers between its tries.
        :param number: How often it has been asked then.
        :param code: The code that the reply has to hold.
        """
        from airflow_messaging.services.replying import with_code

        message_id = stable_message_id(memory.message_id(number), self.conn_id, self.to)
        # Who is asked again has the files already, and by then they may be gone here.
        draft = self.draft(None, message_id, with_files=number == 1)
        if code is None:
            return draft
        return dataclasses.replace(draft, text=with_code(draft.text or "", self.code_text, code))

    def announce(self, context: Context) -> None:
        """Do what is to be done when the question has been asked."""

    def make_trigger(self, context: Context, receipts: list[Receipt], code: str | None, waits: dict[str, Any]) -> Any:
        """Return the trigger that waits.

        :param receipts: What the service answered to the questions so far.
        :param waits: What the wait for the message needs.
        """
        from airflow_messaging.triggers.messages import NextMessageTrigger

        return NextMessageTrigger(**waits)

    def replied(self, event: dict[str, Any], context: Context) -> Any:
        """Take the reply out of the trigger's event."""
        with self.hook() as hook:
            reply = self._unpacked(event, hook)
            Memory(context).put(outcome=reply)
            self._mark_read(hook, reply, context)
        return self.finish(reply, context)

    def time_is_over(self, context: Context) -> Any:
        """Do what ``on_timeout`` says."""
        from airflow_messaging.messages import Message

        self._unless_no_reply_will_do()
        with self.hook() as hook:
            reply = Message(service=hook.conn_type, id="", text=self.on_timeout).to_dict()
        Memory(context).put(outcome=reply)
        return self.finish(reply, context)

    def overdue(self, context: Context) -> Any:
        """Do what is to be done when no triggerer has ended the wait in time."""
        return self.time_is_over(context)

    def finish(self, outcome: dict[str, Any], context: Context) -> Any:
        """Return what the task returns, once the outcome cannot be lost any more."""
        return outcome

    # -- asking -----------------------------------------------------------------------------------------------------

    def _code(self, memory: Memory) -> str | None:
        from airflow_messaging.services.parsing import true_or_false
        from airflow_messaging.services.replying import CODE_LENGTH, CODE_LETTERS

        if not true_or_false("code", self.code):
            return None
        # Not derived from anything: who knows the names of DAG and run must not be able to work it out.
        code: str = memory.get("code") or "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
        memory.put(code=code)
        return code

    def _ask(self, hook: MessagingHook[Any], draft: Draft, context: Context) -> Receipt:
        from airflow_messaging.operators.once import send_once

        hook.service.check_answerable(draft)
        receipt = send_once(
            hook, draft, lambda draft: self.send(hook, draft), context, on_unknown=self.on_unknown, by_id=True
        )
        self.log.info("%s accepted question %s (%s)", hook.hook_name, receipt.id, receipt.status.value)
        return receipt

    def _selection(
        self, hook: MessagingHook[Any], draft: Draft, receipts: list[Receipt], code: str | None
    ) -> Selection:
        from airflow_messaging.services.replying import reply_to

        return hook.run(reply_to(hook.service, draft, receipts, code))

    def _where_to_begin(self, hook: MessagingHook[Any], receipt: Receipt, context: Context) -> dict[str, Any]:
        from airflow_messaging.services.receiving import Cursor

        # Nobody can have answered before the run began.
        began = receipt.sent_at or context["dag_run"].start_date
        return Cursor(floor=began).to_dict()

    def _wait(
        self,
        context: Context,
        receipts: list[Receipt],
        *,
        selection: Selection,
        cursor: dict[str, Any],
        code: str | None,
        end_at: datetime,
    ) -> NoReturn:
        waits = {
            "conn_id": self.conn_id,
            "poke_interval": seconds(self.poke_interval),
            "end_at": end_at.isoformat(),
            "cursor": cursor,
            "selection": selection.to_dict(),
            "spool": self.spool,
        }
        trigger = self.make_trigger(context, receipts, code, waits)
        from airflow_messaging.sensors.base import deferral_timeout

        self.defer(trigger=trigger, method_name="execute_complete", timeout=deferral_timeout(end_at))

    # -- the reply --------------------------------------------------------------------------------------------------

    def _unpacked(self, event: dict[str, Any], hook: MessagingHook[Any]) -> dict[str, Any]:
        from airflow_messaging.triggers.carrying import unpack

        (reply,) = unpack(event["messages"], hook)
        return reply

    def _mark_read(self, hook: MessagingHook[Any], reply: dict[str, Any], context: Context) -> None:
        from airflow_messaging.messages import Message
        from airflow_messaging.services.parsing import true_or_false

        if not hook.service.has_read_flag or not true_or_false("mark_read", self.mark_read):
            return
        message = Message.from_dict(reply)
        try:
            if hook.run(hook.service.read_along(message)):
                self.log.info("Message %s is left unread: others would be marked with it", message.id)
                return
            also = hook.mark_read([message])
        except MessagingError as error:
            # The reply is here, which is what the task is for.
            self.log.warning("Message %s could not be marked read: %s", message.id, error)
            return
        if also:
            self.log.warning("%s handed out %d more messages while marking read", hook.hook_name, len(also))
            context["ti"].xcom_push(key="also_received", value=[other.to_dict() for other in also])

    def _unless_no_reply_will_do(self) -> None:
        from airflow.providers.common.compat.sdk import AirflowSkipException

        words = f"Nobody has replied within {seconds(self.response_timeout):g} seconds"
        if self.on_timeout == SKIP:
            raise AirflowSkipException(words)
        if self.on_timeout == FAIL:
            raise NoReply(words)
        self.log.info("%s: what on_timeout says is taken for the reply", words)


class Memory:
    """What a task remembers from try to try: in Airflow's task state store, where there is one.

    Clearing a task raises the number of its tries and a retry does not, so that a cleared task remembers nothing.
    """

    def __init__(self, context: Context) -> None:
        ti: Any = context["ti"]
        self._base = stable_message_id(
            "question", ti.dag_id, ti.run_id, ti.task_id, ti.map_index, getattr(ti, "max_tries", 0)
        )
        self._store: Any = context.get("task_state_store")
        self._key = f"airflow_messaging.{self._base}"
        kept: Any = None if self._store is None else self._store.get(self._key)
        self._kept: dict[str, Any] = kept or {}

    def message_id(self, number: int) -> str:
        """Return the id of a question that is asked for the so-and-so-many-th time."""
        return self._base if number == 1 else stable_message_id(self._base, number)

    def get(self, name: str, default: Any = None) -> Any:
        """Return what is remembered under a name."""
        return self._kept.get(name, default)

    def put(self, **values: Any) -> None:
        """Remember."""
        self._kept = {**self._kept, **values}
        if self._store is not None:
            self._store.set(self._key, self._kept)


def seconds(given: timedelta | float) -> float:
    """Return a span of time in seconds."""
    return given.total_seconds() if isinstance(given, timedelta) else float(given)
