"""A question whose text is another one on the next try, such as one with ``{{ ti.log_url }}`` in it."""

import asyncio

import pytest

from airflow_messaging.sandbox import RunningSandbox

from .harness import SERVICES, fire, resume
from .questions import (
    Page,
    Store,
    answer,
    approval,
    approval_context,
    asked,
    context_of,
    deferred_again,
    question,
    sent,
)

pytestmark = pytest.mark.usefixtures("connections", "short_backoff")

TEXT = "Ready? The log: http://airflow.example/log?try_number={{ ti.try_number }}"


@pytest.mark.parametrize("service", SERVICES)
class TestARetry:
    def test_does_not_ask_again(self, service: str, silent: RunningSandbox, caplog: pytest.LogCaptureFixture) -> None:
        store = Store()
        asked(question(service, text=TEXT), context_of(store, max_tries=2))
        context = context_of(store, max_tries=2, try_number=2)
        deferred = asked(question(service, text=TEXT), context)
        [only] = sent(silent, service)
        assert "try_number=1" in only["text"]
        assert "says something else" in caplog.text
        assert "try_number" not in caplog.text
        answer(silent, service, "At noon.")
        reply = resume(question(service, text=TEXT), deferred, asyncio.run(fire(deferred.trigger)), context)
        assert reply["text"].startswith("At noon.")

    def test_does_not_ask_for_approval_again(self, service: str, silent: RunningSandbox, page: Page) -> None:
        store = Store()
        context = approval_context(store, max_tries=2)
        make = lambda: approval(service, text=TEXT)  # noqa: E731
        deferred = asked(make(), context)
        answer(silent, service, "pardon?")
        deferred_again(make, deferred, context)
        asked(make(), approval_context(store, max_tries=2, try_number=2))
        assert len(sent(silent, service)) == 2


@pytest.mark.parametrize(("service", "to"), [("liquidfiles", "sasha@peer.example"), ("serwersms", "+48500600701")])
def test_somebody_else_has_not_been_asked(service: str, to: str, silent: RunningSandbox) -> None:
    store = Store()
    asked(question(service), context_of(store, max_tries=2))
    asked(question(service, to=to), context_of(store, max_tries=2, try_number=2))
    assert len(sent(silent, service)) == 2


def test_what_was_refused_is_asked_in_the_new_words(silent: RunningSandbox) -> None:
    silent.faults([{"service": "sendhub", "path": "*/messages/", "status": 400, "times": 1}])
    store = Store()
    with pytest.raises(Exception, match="400"):
        asked(question("sendhub", text=TEXT), context_of(store, max_tries=2))
    asked(question("sendhub", text=TEXT), context_of(store, max_tries=2, try_number=2))
    [only] = sent(silent, "sendhub")
    assert "try_number=2" in only["text"]


def test_a_task_that_was_cleared_asks_again(silent: RunningSandbox) -> None:
    store = Store()
    asked(question("mdi", text=TEXT), context_of(store))
    asked(question("mdi", text=TEXT), context_of(store, max_tries=1, try_number=2))
    assert len(sent(silent, "mdi")) == 2
