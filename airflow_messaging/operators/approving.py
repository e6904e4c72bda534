"""The operator that has something approved: by message, or on Airflow's own page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_messaging.exceptions import MessagingError
from airflow_messaging.operators.asking import FAIL, SKIP, Memory, SendAndWaitForReplyOperator, seconds

try:
    from airflow.sdk.bases.branch import BranchMixIn
except ImportError:  # Airflow 3.1
    from airflow.providers.standard.operators.branch import BranchMixIn  # type: ignore[assignment]

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_messaging.hooks.base import MessagingHook
    from airflow_messaging.messages import Draft, JsonDict, Receipt

YES_WORDS = ("yes", "y", "ok", "approve", "approved")
NO_WORDS = ("no", "n", "stop", "reject", "rejected")
LOOKED = "page_looked_at"
"""The XCom that keeps a task from waiting for a triggerer again and again. A retry begins without it."""
AGAIN_TEXT = "Please answer with nothing but {yes} or {no}."


class Rejected(MessagingError, AirflowFailException):
    """The answer was no, and ``fail_on_reject`` is set. Airflow is not to try the task again."""


class ApprovalByMessageOperator(SendAndWaitForReplyOperator, BranchMixIn):
    """Ask for an approval by message, and follow the answer.

    The question shows among the required actions of Airflow's UI as well, as that of ``ApprovalOperator`` does, and
    whichever answer comes first counts: the reply, or the button. Without ``if_yes`` and ``if_no``, yes goes on and no
    skips what is behind the task; with one of them, the task branches.

    An answer is understood if its first line is one of the accepted words and nothing more, whatever the case. Any
    other is answered with the question again, without its files, ``max_questions`` times in all; after that the task
    only listens.

    **A sender can be forged**, on SMS easily. What must not be approved by a stranger needs ``code=True``, or the
    button.

    **Delivery**: as :class:`~airflow_messaging.operators.asking.SendAndWaitForReplyOperator` says; each further
    question is a message of its own and sent once.

    :param conn_id: A connection of any of the five types.
    :param to: The recipient, in the service's own form. Only one.
    :param text: The question. Say in it what to answer.
    :param if_yes: Ids of the tasks or task groups to go on with after a yes. Default: all, or with ``if_no`` none.
    :param if_no: The same after a no. Default: none.
    :param yes_words: Answers that mean yes. Default: yes, y, ok, approve, approved.
    :param no_words: Answers that mean no. Default: no, n, stop, reject, rejected.
    :param max_questions: How often to ask at the most. Default 3.
    :param again_text: What is put before the question when it is asked again; ``{yes}`` and ``{no}`` stand for the
        first of the accepted words.
    :param on_timeout: ``"fail"`` (default), ``"skip"``, or one of the accepted words: go on as if it had been the
        answer.
    :param ignore_downstream_trigger_rules: Whether a no skips all tasks behind this one, whatever their trigger rules.
        Default: only those directly behind it.
    :param fail_on_reject: Whether a no fails the task, without a retry. Default no.
    :param assigned_users: Users who alone may answer in the UI, as with ``HITLOperator``. Default: all who may.
    :return: ``{"approved", "answered_by", "user", "reply"}``: by ``"message"``, ``"user"`` or ``"timeout"``, the user's
        id and name if it was one, and the reply as JSON if it was a message.
    """

    inherits_from_skipmixin = True

    template_fields: Sequence[str] = (*SendAndWaitForReplyOperator.template_fields, "again_text")

    def __init__(
        self,
        *,
        conn_id: str,
        to: str | list[str],
        text: str,
        if_yes: str | Iterable[str] | None = None,
        if_no: str | Iterable[str] | None = None,
        yes_words: Sequence[str] = YES_WORDS,
        no_words: Sequence[str] = NO_WORDS,
        max_questions: int = 3,
        again_text: str = AGAIN_TEXT,
        ignore_downstream_trigger_rules: bool = False,
        fail_on_reject: bool = False,
        assigned_users: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=conn_id, to=to, text=text, **kwargs)
        self.if_yes = if_yes
        self.if_no = if_no
        self.yes_words = yes_words
        self.no_words = no_words
        self.max_questions = max_questions
        self.again_text = again_text
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules
        self.fail_on_reject = fail_on_reject
        self.assigned_users = assigned_users

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Take the trigger's event, or the one that Airflow's page makes.

        :param event: The event.
        :return: What the operator returns.
        """
        if event and "chosen_options" in event:
            return self._answered_on_page(event, context)
        return super().execute_complete(context, event)

    def check_arguments(self) -> None:
        """Refuse arguments that break a rule; nothing has been sent."""
        from airflow_messaging.exceptions import InvalidInput, Shown
        from airflow_messaging.services.parsing import whole_number
        from airflow_messaging.services.replying import verdict

        super().check_arguments()
        yes, no = self._words()
        if both := set(yes) & set(no):
            raise InvalidInput("no_words", Shown(f"{len(both)} of the yes_words"), "others than the yes_words")
        if self.on_timeout not in (FAIL, SKIP) and verdict(self.on_timeout, yes, no) is None:
            raise InvalidInput("on_timeout", Shown("another text"), "'fail', 'skip', or one of yes_words and no_words")
        whole_number("max_questions", self.max_questions, 1)

    def question(self, memory: Memory, number: int, code: str | None) -> Draft:
        """Return the question, or the one that follows an answer that was not understood."""
        from airflow_messaging.messages import in_order

        draft = super().question(memory, number, code)
        if number == 1:
            return draft
        yes, no = (in_order(words)[0] for words in (self.yes_words, self.no_words))
        before = self.again_text.replace("{yes}", yes).replace("{no}", no)
        return dataclasses.replace(draft, text=f"{before}\n{draft.text}")

    def announce(self, context: Context) -> None:
        """Show the question among the required actions."""
        from airflow.sdk.execution_time.hitl import upsert_hitl_detail

        from airflow_messaging.triggers.asking import APPROVE, REJECT

        default = self._default_option()
        users: Any = [self.assigned_users] if isinstance(self.assigned_users, dict) else self.assigned_users
        upsert_hitl_detail(
            ti_id=context["ti"].id,
            options=[APPROVE, REJECT],
            subject=self.subject or self.text or "",
            body=self.text if self.subject else None,
            defaults=None if default is None else [default],
            params={},
            assigned_users=users,
        )

    def make_trigger(self, context: Context, receipts: list[Receipt], code: str | None, waits: dict[str, Any]) -> Any:
        """Return the trigger that waits for either answer."""
        from airflow_messaging.triggers.asking import ApprovalTrigger

        yes, no = self._words()
        return ApprovalTrigger(
            ti_id=str(context["ti"].id),
            yes=yes,
            no=no,
            code=code,
            asked=[{**receipt.to_dict(), "raw": {}} for receipt in receipts],
            default=self._default_option(),
            **waits,
        )

    def replied(self, event: dict[str, Any], context: Context) -> Any:
        """Take the answer out of the trigger's event, or ask again if it means nothing."""
        from airflow_messaging.triggers.asking import BY_MESSAGE

        if event["approved"] is None:
            return self._ask_again(event, context)
        with self.hook() as hook:
            reply = self._unpacked(event, hook)
            return self._decided(context, approved=event["approved"], by=BY_MESSAGE, reply=reply, hook=hook)

    def time_is_over(self, context: Context) -> Any:
        """Do what ``on_timeout`` says."""
        from airflow_messaging.triggers.asking import APPROVE, BY_TIMEOUT

        self._unless_no_reply_will_do()
        return self._decided(context, approved=self._default_option() == APPROVE, by=BY_TIMEOUT)

    def overdue(self, context: Context) -> Any:
        """Have a triggerer look at the page, as Airflow lets no worker do: somebody may have answered there in time."""
        from airflow_messaging.sensors.base import deferral_timeout
        from airflow_messaging.triggers.asking import ApprovalTrigger

        ti = context["ti"]
        if ti.xcom_pull(task_ids=ti.task_id, key=LOOKED, map_indexes=ti.map_index):
            self.log.warning("No triggerer is there to look at the page: an answer that was given there does not count")
            return self.time_is_over(context)
        ti.xcom_push(key=LOOKED, value=True)
        yes, no = self._words()
        now = datetime.now(UTC)
        trigger = ApprovalTrigger(
            ti_id=str(ti.id),
            yes=yes,
            no=no,
            default=self._default_option(),
            conn_id=self.conn_id,
            poke_interval=seconds(self.poke_interval),
            end_at=now.isoformat(),
        )
        return self.defer(trigger=trigger, method_name="execute_complete", timeout=deferral_timeout(now))

    def finish(self, outcome: dict[str, Any], context: Context) -> Any:
        """Follow the answer."""
        approved = outcome["approved"]
        self.log.info("%s, by %s", "Approved" if approved else "Rejected", outcome["answered_by"])
        if self.fail_on_reject and not approved:
            raise Rejected("The answer was no")
        if self.do_xcom_push:
            # Airflow drops what a task returns that skips others.
            context["ti"].xcom_push(key="return_value", value=outcome)
        if self.if_yes is not None or self.if_no is not None:
            self.do_branch(context, (self.if_yes if approved else self.if_no) or None)
        elif not approved:
            self._skip_what_follows(context)
        return outcome

    def _answered_on_page(self, event: dict[str, Any], context: Context) -> Any:
        from airflow_messaging.triggers.asking import APPROVE, BY_MESSAGE

        approved = APPROVE in event["chosen_options"]
        user, details = event.get("responded_by_user"), event.get("params_input") or {}
        if user is not None:
            return self._decided(context, approved=approved, by="user", user={"id": user["id"], "name": user["name"]})
        by = details.get("answered_by", BY_MESSAGE)
        with self.hook() as hook:
            reply = self._found_again(hook, details.get("message_id"))
            return self._decided(context, approved=approved, by=by, reply=reply, hook=hook)

    def _found_again(self, hook: MessagingHook[Any], message_id: str | None) -> JsonDict | None:
        """Return the reply that is known by its id only, since the triggerer died just after it had recorded it."""
        try:
            return None if message_id is None else hook.message(message_id).to_dict()
        except MessagingError as error:
            self.log.warning("The reply is not there any more: %s", error)
            return None

    def _ask_again(self, event: dict[str, Any], context: Context) -> None:
        from airflow_messaging.messages import Message, Receipt
        from airflow_messaging.services.parsing import whole_number
        from airflow_messaging.services.receiving import Cursor

        memory = Memory(context)
        most = whole_number("max_questions", self.max_questions, 1)
        receipts = [Receipt.from_dict(receipt) for receipt in event["asked"]]
        number, code = len(receipts) + 1, event["code"]
        with self.hook() as hook:
            packed = event["messages"][0]
            not_understood = Message(
                service=packed["service"],
                id=packed["id"],
                received_at=packed["received_at"] and datetime.fromisoformat(packed["received_at"]),
            )
            cursor = Cursor.from_dict(event["cursor"]).past([not_understood], hook.service).to_dict()
            draft = self.question(memory, min(number, most), code)
            # A retry that read this answer once more would ask once more.
            memory.put(questions=min(number, most), cursor=cursor)
            if number <= most:
                self.log.info("Message %s means neither yes nor no: asking again", not_understood.id)
                receipts.append(self._ask(hook, draft, context))
            else:
                self.log.info("Message %s means neither yes nor no: waiting for another", not_understood.id)
            selection = self._selection(hook, draft, receipts, code)
            self._mark_read(hook, self._unpacked(event, hook), context)
        self._wait(
            context,
            receipts,
            selection=selection,
            cursor=cursor,
            code=code,
            end_at=datetime.fromisoformat(event["end_at"]),
        )

    def _decided(
        self,
        context: Context,
        *,
        approved: bool,
        by: str,
        user: dict[str, str] | None = None,
        reply: JsonDict | None = None,
        hook: MessagingHook[Any] | None = None,
    ) -> Any:
        outcome = {"approved": approved, "answered_by": by, "user": user, "reply": reply}
        Memory(context).put(outcome=outcome)
        if reply is not None and hook is not None:
            self._mark_read(hook, reply, context)
        return self.finish(outcome, context)

    def _skip_what_follows(self, context: Context) -> None:
        task = context["task"]
        relatives = task.get_flat_relatives if self.ignore_downstream_trigger_rules else task.get_direct_relatives
        behind: Any = relatives(upstream=False)
        self.skip(ti=context["ti"], tasks=[other for other in behind if not other.is_teardown])

    def _default_option(self) -> str | None:
        from airflow_messaging.services.replying import verdict
        from airflow_messaging.triggers.asking import APPROVE, REJECT

        if self.on_timeout in (FAIL, SKIP):
            return None
        return APPROVE if verdict(self.on_timeout, *self._words()) else REJECT

    def _words(self) -> tuple[list[str], list[str]]:
        from airflow_messaging.services.replying import words_of

        return words_of("yes_words", self.yes_words), words_of("no_words", self.no_words)
