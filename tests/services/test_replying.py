"""Which message is the reply, and what an answer means."""

import time

import pytest

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.messages import Message
from airflow_messaging.services.replying import verdict, with_code, words_of
from airflow_messaging.services.selecting import Selection
from airflow_messaging.services.serwersms_sent import forms_of

YES, NO = words_of("yes_words", ["Yes", "go ahead", "👍"]), words_of("no_words", ["no", "nie"])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("yes", True),
        (" YES!! ", True),
        ("Go   ahead.", True),
        ("👍", True),
        ('"yes"', True),
        ("\r\n\n- Yes.\n\nOn Monday somebody wrote:\n> yes or no?", True),
        ("yes k7qtd", True),
        ("K7QTD: yes", True),
        ("K7QTD\nyes", True),
        ("No", False),
        ("NIE.", False),
        ("no K7QTD", False),
        ("yes, but not today", None),
        ("no problem", None),
        ("yesterday", None),
        ("yes no", None),
        ("yesK7QTD", None),
        ("K7QTD", None),
        ("...", None),
        ("", None),
        (None, None),
        ("go\nahead", None),
        ("\x00yes", None),
    ],
)
def test_what_an_answer_means(text: str | None, meant: bool | None) -> None:
    assert verdict(text, YES, NO, "K7QTD") is meant


def test_without_a_code_nothing_is_taken_out() -> None:
    assert verdict("yes K7QTD", YES, NO) is None


@pytest.mark.parametrize("text", [" " * 10**6 + "a" + " " * 10**6 + "a", "-" * 10**6, "\n" * 10**6, "K7QTD " * 10**5])
def test_what_a_stranger_writes_holds_nobody_up(text: str) -> None:
    began = time.perf_counter()
    assert verdict(text, YES, NO, "K7QTD") is None
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("words", [[], "yes", None, 5, ["yes", ""], ["..."], [None]])
def test_words_that_are_none(words: object) -> None:
    with pytest.raises(InvalidInput, match="yes_words"):
        words_of("yes_words", words)


def test_asking_for_a_code() -> None:
    assert with_code("Ready?", "Code {code}, {please}.", "K7QTD") == "Ready?\nCode K7QTD, {please}."
    with pytest.raises(InvalidInput, match="code_text"):
        with_code("Ready?", "Code?", "K7QTD")


@pytest.mark.parametrize("given", ["+48500600700", "48500600700", "500600700", "500 600-700", "0048500600700"])
def test_forms_of_a_polish_number(given: str) -> None:
    assert forms_of(given) == ["500600700", "48500600700", "+48500600700"]


def test_forms_of_another_number() -> None:
    assert forms_of("+4915112345678") == ["4915112345678", "+4915112345678"]


def test_one_of_several() -> None:
    wanted = Selection(sender=["a@peer.example", "B@peer.example"], in_reply_to=["1", "2"]).wanted()
    assert wanted is not None

    def message(sender: str | None, answered: str | None) -> Message:
        return Message(service="x", id="9", sender=sender, in_reply_to=answered)

    assert wanted(message("A@Peer.example", "2"))
    assert wanted(message("b@peer.example", "1"))
    assert not wanted(message("c@peer.example", "1"))
    assert not wanted(message("a@peer.example", "3"))
    assert not wanted(message(None, "1"))
    assert not wanted(message("a@peer.example", None))
