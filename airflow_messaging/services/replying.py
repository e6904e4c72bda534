"""Replies: which message answers a question, and whether an answer says yes or no.

A reply comes from outside. It is compared, and nothing else is done with it here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_messaging.exceptions import InvalidInput, Shown
from airflow_messaging.messages import Draft, Receipt
from airflow_messaging.services.base import Flow, Service, require
from airflow_messaging.services.selecting import Selection

CODE_MARK = "{code}"
CODE_LETTERS = "34679CDFGHJKMNPQRTWXY"
"""What codes are made of: nothing that is read as something else, and no vowels, so that they are no words."""
CODE_LENGTH = 5

_AROUND = " \t.,;:!?¡¿\"'“”„‟‘‚‛«»‹›()[]<>*_-–—"
"""What may stand before and after an answer."""

_PRESENTATION = "\ufe0e\ufe0f"
"""Says whether a sign is shown as text or as a picture; keyboards add it or leave it out."""

_TURKISH_I = str.maketrans({"ı": "i", "\N{COMBINING DOT ABOVE}": None})
"""Case folding keeps the four letters I of Turkish apart, of which capitals are two."""


def reply_to(service: Service, draft: Draft, receipts: Sequence[Receipt], code: str | None = None) -> Flow[Selection]:
    """Return what the reply to a question is like.

    Where the service names the message that is answered, by that. Otherwise by the sender, and where there is none, by
    the message id, which the reply then has to quote in its text or file name, or by the code.

    :param service: The service.
    :param draft: The question.
    :param receipts: What the service answered to it, and to the same question asked before.
    :param code: A code that the reply has to hold. Default: none.
    """
    with_code = None if code is None else _found_in_words([code])
    own = [receipt.id for receipt in receipts if receipt.id != draft.message_id]
    if service.names_answered and own:
        return Selection(in_reply_to=own, matches=with_code)
    senders = yield from service.repliers(draft)
    if senders:
        return Selection(sender=senders, matches=with_code)
    return Selection(matches=with_code or _found_in_words(receipt.id for receipt in receipts))


def with_code(draft_text: str, request: str, code: str) -> str:
    """Return the text of a question that asks for a code in the reply.

    :param draft_text: The question.
    :param request: What asks for the code, with ``{code}`` where the code is to stand.
    :param code: The code.
    :raises InvalidInput: If ``request`` has no place for the code.
    """
    usable = isinstance(request, str) and CODE_MARK in request
    require(usable, "code_text", Shown("a text without it"), f"a text with {CODE_MARK} in it")
    return f"{draft_text}\n{request.replace(CODE_MARK, code)}"


def words_of(field: str, words: Any) -> list[str]:
    """Return accepted answers in the form in which they are compared.

    :param field: Name of the argument.
    :param words: The answers.
    :raises InvalidInput: If there is none, or one is nothing but punctuation.
    """
    given = list(words) if isinstance(words, Iterable) and not isinstance(words, str) else []
    plain = [_plain(word) for word in given if isinstance(word, str)]
    if not plain or not all(plain) or len(plain) < len(given):
        raise InvalidInput(field, Shown("something else"), "a list of answers, each more than punctuation")
    return plain


def verdict(text: str | None, yes: Sequence[str], no: Sequence[str], code: str | None = None) -> bool | None:
    """Say whether an answer is yes or no; None if it is neither.

    Only the first line counts that has a word in it, and it has to be one of the accepted answers and nothing more:
    "yes, but not today" is neither. What mail programs quote below does no harm.

    :param text: The answer.
    :param yes: Answers that mean yes, as :func:`words_of` returns them.
    :param no: Answers that mean no.
    :param code: A code that may stand in the answer. Default: none.
    """
    text = _folded(text or "")
    if code is not None:
        text = re.sub(_found_in_words([code]), " ", text)
    said = next((plain for line in text.splitlines() if (plain := _bare(line))), None)
    return True if said in yes else False if said in no else None


def _found_in_words(any_of: Iterable[str]) -> str:
    return rf"(?i)(?<!\w)(?:{'|'.join(re.escape(one) for one in any_of)})(?!\w)"


def _plain(text: str) -> str:
    return _bare(_folded(text))


def _folded(text: str) -> str:
    """Return a text in one spelling, whatever keyboard or program it comes from."""
    if text.isascii():
        return text
    folded = unicodedata.normalize("NFKC", text).replace("’", "'")
    return "".join(letter for letter in folded if unicodedata.category(letter) != "Cf" and letter not in _PRESENTATION)


def _bare(text: str) -> str:
    return " ".join(text.strip(_AROUND).casefold().translate(_TURKISH_I).split())
