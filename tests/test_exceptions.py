"""The typed errors cross processes whole and show nothing that must not be seen."""

import copy
import json
import pickle

import pytest

from airflow_messaging import exceptions
from airflow_messaging.exceptions import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    CorruptDownload,
    DeliveryFailed,
    DeliveryUnknown,
    FilesWouldBeLost,
    InvalidInput,
    MessageGone,
    MessageTooLarge,
    MessagingError,
    NotFound,
    Overloaded,
    PartiallySent,
    ProtocolError,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    Shown,
    TransportError,
    UnsupportedFeature,
    from_dict,
    is_passing,
    to_dict,
    without_phone_numbers,
)

_DETAILS = {"status": 429, "code": "7", "message": "slow down", "request_id": "r-1", "retry_after": 1.5}
ERRORS: list[MessagingError] = [
    MessagingError("plain"),
    InvalidInput("text", Shown("501 characters"), "at most 500"),
    InvalidInput("unitid", 5, "a text"),
    UnsupportedFeature("mdi", "a subject"),
    *(
        kind("sendhub", "messages", **_DETAILS)  # type: ignore[arg-type]
        for kind in (ServiceError, AuthenticationFailed, NotFound, RateLimited, ServiceUnavailable, Overloaded)
    ),
    ServiceError("mdi", "session", status=500),
    MessageGone(NotFound("serwersms", "messages/recived", status=200), "2477793"),
    ProtocolError("mdi", "messages", "expected a list"),
    CorruptDownload("liquidfiles", "download", "another SHA256 than announced"),
    TransportError("mdi", "messages", "ReadTimeout"),
    ConnectFailed("mdi", "messages", "ConnectTimeout"),
    ConnectionLost("mdi", "messages", "ReadTimeout"),
    DeliveryUnknown("mdi", "messages", "ReadTimeout", "id-7"),
    DeliveryUnknown("mdi", "messages", "ReadTimeout"),
    MessageTooLarge("mdi", "messages", 5),
    DeliveryFailed("serwersms", "abc"),
    FilesWouldBeLost("serwersms", ["8", "9"]),
    PartiallySent("serwersms", [{"accepted": True, "id": "a"}, {"accepted": False, "error_code": "4100"}]),
]


def all_kinds(kind: type[MessagingError]) -> set[type[MessagingError]]:
    return {kind}.union(*(all_kinds(below) for below in kind.__subclasses__()))


def same(one: BaseException, other: BaseException) -> None:
    assert type(one) is type(other)
    assert str(one) == str(other)
    assert one.args == other.args
    assert vars(one) == vars(other)


def test_every_kind_is_tested() -> None:
    assert {type(error) for error in ERRORS} == {
        kind for kind in all_kinds(MessagingError) if kind.__module__ == exceptions.__name__
    }


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_cross_processes_whole(error: MessagingError) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        same(pickle.loads(pickle.dumps(error, protocol)), error)
    same(copy.copy(error), error)
    same(copy.deepcopy(error), error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_cross_the_triggerer_as_json(error: MessagingError) -> None:
    back = from_dict(json.loads(json.dumps(to_dict(error))))
    same(back, error)
    same(pickle.loads(pickle.dumps(back)), error)


def test_what_is_no_plain_json_is_left_out() -> None:
    error = InvalidInput("to", ["a", "b"], "one recipient")
    back = from_dict(json.loads(json.dumps(to_dict(error))))
    assert (type(back), str(back), back.field) == (InvalidInput, str(error), "to")  # type: ignore[attr-defined]


def test_an_unknown_kind_is_still_an_error_of_ours() -> None:
    back = from_dict({"type": "FromTheFuture", "args": ["what happened"], "fields": {"service": "mdi"}})
    assert (type(back), str(back)) == (MessagingError, "what happened")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Invalid number +48 600 123 456!", "Invalid number <number>!"),
        ("+16505551234", "<number>"),
        ("call (650) 555-1234 now", "call (<number> now"),
        ("650-555-1234", "<number>"),
        ("48600123456,48600123457", "<number>,<number>"),
        ("500 characters", "500 characters"),
        ("code 1001", "code 1001"),
        ("since 2024-10-28", "since 2024-10-28"),
        ("", ""),
    ],
)
def test_phone_numbers_are_blanked(text: str, expected: str) -> None:
    assert without_phone_numbers(text) == expected


def test_a_services_own_words_are_blanked_and_cut() -> None:
    error = ServiceError("sendhub", "messages", status=400, message="bad number +16505551234 " + "x" * 1000)
    assert "+1650" not in f"{error}{error!r}{error.message}"
    assert len(str(error)) < 400
    assert "+1650" not in str(InvalidInput("contacts", "+16505551234", "an id"))
    assert "+1650" not in str(InvalidInput("contacts", Shown("+16505551234"), "an id"))
    assert len(str(InvalidInput("contacts", "x" * 1000, "an id"))) < 400


def test_what_may_pass_by_itself() -> None:
    passing = {type(error) for error in ERRORS if is_passing(error)}
    assert passing == {ConnectFailed, ConnectionLost, RateLimited, Overloaded, ServiceUnavailable}
    assert not is_passing(ValueError())


def test_wrong_arguments_are_value_errors() -> None:
    assert issubclass(InvalidInput, ValueError)
