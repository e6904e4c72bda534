"""An answer counts in whatever spelling a keyboard or a mail program gives it."""

import time
import unicodedata

import pytest

from airflow_messaging.services.replying import verdict, words_of

YES = words_of("yes_words", ["yes", "sí", "d'accord", "👨‍👩‍👧", "👍"])
NO = words_of("no_words", ["não", "no", "hayır", "İptal"])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (unicodedata.normalize("NFD", "Não."), False),
        ("yes.\u00a0", True),
        ("\u00a0yes\u202f!", True),
        ("\ufeffyes", True),
        ("yes\u200b", True),
        ("\u200eyes\u200f", True),
        ("y\u00ades", True),
        ("“Yes”", True),
        ("„Yes“", True),
        ("‘yes’", True),
        ("«\u00a0Yes\u00a0»", True),
        ("‹no›", False),
        ("¡Sí!", True),
        ("¿no?", False),
        ("ＹＥＳ！", True),
        ("yes…", True),
        ("— yes —", True),
        ("D’accord", True),
        ("👨‍👩‍👧", True),
        ("“Yes” K7QTD", True),
        ("yes Ｋ７ＱＴＤ", True),
        ("👍", True),
        ("👍\ufe0f", True),
        ("HAYIR", False),
        ("hayır", False),
        ("İPTAL", False),
        ("iptal", False),
        ("yes\u200bterday", None),
        ("“yes, but”", None),
        ("\u200b\u200b", None),
        ("\ufeff\nno", False),
    ],
)
def test_what_an_answer_means(text: str, meant: bool | None) -> None:
    assert verdict(text, YES, NO, "K7QTD") is meant


def test_accepted_answers_may_be_spelled_so_as_well() -> None:
    words = words_of("yes_words", ["“Ja”", unicodedata.normalize("NFD", "ação")])
    assert verdict("ja", words, NO)
    assert verdict(unicodedata.normalize("NFC", "AÇÃO"), words, NO)


@pytest.mark.parametrize("text", ["\u200b" * 10**6, "ﷺ" * 10**5, "a\u0301" * 10**5, "“" * 10**6, "\u2028" * 10**6])
def test_what_a_stranger_writes_holds_nobody_up(text: str) -> None:
    began = time.perf_counter()
    assert verdict(text, YES, NO, "K7QTD") is None
    assert time.perf_counter() - began < 1.5
