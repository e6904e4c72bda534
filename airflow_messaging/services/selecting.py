"""Which messages a wait is for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from airflow_messaging.exceptions import InvalidInput, MessagingError
from airflow_messaging.messages import JsonDict, Message

Wanted = Callable[[Message], bool]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a message must be like; everything given must hold.

    :param sender: Its sender, in the service's own form, or several of whom one must be it; case does not count.
    :param contains: A part of its text or subject.
    :param matches: A regular expression that is found in its text or subject.
    :param in_reply_to: Id of the message that it answers, or several of which one must be it.
    :param callable: Dotted path of a function that takes the :class:`~airflow_messaging.messages.Message` and says
        whether it is wanted, for example ``my_package.filters.is_order``.
    """

    sender: str | list[str] | None = None
    contains: str | None = None
    matches: str | None = None
    in_reply_to: str | list[str] | None = None
    callable: str | None = None

    def to_dict(self) -> JsonDict:
        """Return what is given, as plain JSON."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def wanted(self) -> Wanted | None:
        """Return the function that chooses, or None if nothing is given.

        :raises InvalidInput: If the expression or the dotted path cannot be used.
        """
        tests = [test for test in (self._plain(), self._pattern(), self._function()) if test is not None]
        return (lambda message: all(test(message) for test in tests)) if tests else None

    def _plain(self) -> Wanted | None:
        if self.sender is None and self.contains is None and self.in_reply_to is None:
            return None
        senders, contains, answered = _any_of(self.sender, str.casefold), self.contains, _any_of(self.in_reply_to)

        def test(message: Message) -> bool:
            return (
                (senders is None or (message.sender or "").casefold() in senders)
                and (answered is None or message.in_reply_to in answered)
                and (contains is None or any(contains in words for words in _words(message)))
            )

        return test

    def _pattern(self) -> Wanted | None:
        if self.matches is None:
            return None
        try:
            pattern = re.compile(self.matches)
        except (re.error, TypeError, RecursionError):
            raise InvalidInput("matches", self.matches, "a regular expression") from None
        return lambda message: any(pattern.search(words) for words in _words(message))

    def _function(self) -> Wanted | None:
        if self.callable is None:
            return None
        module, _, name = str(self.callable).rpartition(".")
        try:
            function: Any = getattr(import_module(module), name)
        except (ImportError, ValueError, AttributeError):
            function = None
        if not callable(function):
            raise InvalidInput("callable", self.callable, "the dotted path of a function that can be imported")
        return lambda message: self._ask(function, message)

    def _ask(self, function: Wanted, message: Message) -> bool:
        try:
            return bool(function(message))
        except Exception as error:
            # Its text may well quote the message.
            raise MessagingError(f"{self.callable} failed with {type(error).__name__}") from None


def _any_of(given: str | list[str] | None, form: Callable[[str], str] = str) -> frozenset[str] | None:
    if given is None:
        return None
    return frozenset(form(str(one)) for one in (given if isinstance(given, list) else [given]))


def _words(message: Message) -> list[str]:
    return [words for words in (message.text, message.subject) if words]
