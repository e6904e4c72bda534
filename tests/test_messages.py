"""Messages and receipts cross XCom as plain JSON and come back the same."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_messaging.exceptions import InvalidInput
from airflow_messaging.messages import (
    Attachment,
    Draft,
    Message,
    Receipt,
    Status,
    as_recipients,
    has_reached,
    upload_from_bytes,
)

# What else a sender may write is replaced: see test_stored_text.
STORABLE = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.none() | st.text(STORABLE, max_size=20)
times = st.none() | st.datetimes(timezones=st.just(UTC))
raws = st.dictionaries(
    st.text(STORABLE, max_size=5),
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(STORABLE, max_size=5),
    max_size=3,
)
attachments = st.builds(
    Attachment,
    id=st.text(STORABLE),
    filename=st.text(STORABLE),
    content_type=texts,
    size=st.none() | st.integers(0, 2**63 - 1),
    checksum=texts,
    crc32=texts,
)
messages = st.builds(
    Message,
    service=st.text(STORABLE),
    id=st.text(STORABLE),
    sender=texts,
    recipients=st.lists(st.text(STORABLE, max_size=9), max_size=3).map(tuple),
    subject=texts,
    text=texts,
    content=st.none() | st.binary(max_size=50),
    sent_at=times,
    received_at=times,
    expires_at=times,
    in_reply_to=texts,
    attachments=st.lists(attachments, max_size=2).map(tuple),
    raw=raws,
)
receipts = st.builds(
    Receipt,
    service=st.text(STORABLE),
    id=st.text(STORABLE),
    status=st.sampled_from(Status),
    sent_at=times,
    scheduled_at=times,
    request_id=texts,
    raw=raws,
)


@given(messages)
def test_messages_survive_json(message: Message) -> None:
    back = Message.from_dict(json.loads(json.dumps(message.to_dict())))
    assert back == message
    assert back.raw == message.raw
    assert hash(back) == hash(message)


@given(receipts)
def test_receipts_survive_json(receipt: Receipt) -> None:
    back = Receipt.from_dict(json.loads(json.dumps(receipt.to_dict())))
    assert back == receipt
    assert back.raw == receipt.raw


def test_binary_content_names_its_encoding() -> None:
    record = Message(service="mdi", id="1", content=b"\x00\xff").to_dict()
    assert (record["content"], record["content_encoding"]) == ("AP8=", "base64")
    assert "content_encoding" not in Message(service="mdi", id="1", text="a").to_dict()


def test_times_come_back_in_utc() -> None:
    warsaw = timezone(timedelta(hours=2))
    message = Message(service="mdi", id="1", sent_at=datetime(2024, 7, 1, 12, tzinfo=warsaw))
    back = Message.from_dict(message.to_dict())
    assert back == message
    assert back.sent_at
    assert back.sent_at.tzinfo is UTC
    assert back.sent_at.hour == 10


@pytest.mark.parametrize(
    "record",
    [
        None,
        "text",
        [],
        {},
        {"service": "mdi"},
        {"service": "mdi", "id": 5},
        {"service": None, "id": "5"},
        {"service": "mdi", "id": "5", "sent_at": "yesterday"},
        {"service": "mdi", "id": "5", "sent_at": "2024-10-28T20:00:00"},
        {"service": "mdi", "id": "5", "sent_at": 5},
        {"service": "mdi", "id": "5", "content": "not base64!"},
        {"service": "mdi", "id": "5", "attachments": [{"name": "x"}]},
        {"service": "mdi", "id": "5", "attachments": 5},
        {"service": "mdi", "id": "5", "recipients": 5},
    ],
)
def test_records_that_are_no_messages_are_refused(record: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        Message.from_dict(record)  # type: ignore[arg-type]
    assert caught.value.field == "message"


@pytest.mark.parametrize(
    "change", [{"status": "eaten"}, {"status": None}, {"sent_at": "x"}, {"id": None}, {"scheduled_at": 1}]
)
def test_records_that_are_no_receipts_are_refused(change: dict[str, object]) -> None:
    good = Receipt(service="mdi", id="1", status=Status.SENT).to_dict()
    assert Receipt.from_dict(good)
    with pytest.raises(InvalidInput) as caught:
        Receipt.from_dict({**good, **change})
    assert caught.value.field == "receipt"


def test_fields_of_a_later_version_are_left_out() -> None:
    record = {**Message(service="mdi", id="1").to_dict(), "mood": "good"}
    assert Message.from_dict(record).id == "1"


def test_what_was_written_and_by_whom_is_not_shown() -> None:
    message = Message(
        service="sendhub",
        id="7",
        sender="+16505551234",
        recipients=("+16505559876",),
        subject="subject",
        text="text",
        content=b"content",
        raw={"text": "text"},
    )
    for shown in (repr(message), str(message), f"{message}"):
        assert "id='7'" in shown
        for hidden in ("+1650", "subject", "text", "content"):
            assert hidden not in shown


def test_an_upload_of_bytes_knows_its_digest() -> None:
    upload = upload_from_bytes("a.txt", b"abc", content_type="text/plain")
    assert (upload.size, upload.md5) == (3, "900150983cd24fb0d6963f7d28e17f72")
    with upload.open() as first, upload.open() as second:
        assert first.read() == second.read() == b"abc"


PROGRESS = [Status.SCHEDULED, Status.QUEUED, Status.SENT, Status.DELIVERED]


@pytest.mark.parametrize("wanted", list(Status))
@pytest.mark.parametrize("status", list(Status))
def test_how_far_a_message_has_come(status: Status, wanted: Status) -> None:
    if Status.FAILED in (status, wanted):
        assert has_reached(status, wanted) == (status == wanted)
    else:
        assert has_reached(status, wanted) == (PROGRESS.index(status) >= PROGRESS.index(wanted))


def test_only_two_states_are_final() -> None:
    assert {status for status in Status if status.is_final} == {Status.DELIVERED, Status.FAILED}


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ("+48500600700", ("+48500600700",)),
        (["a", "b"], ("a", "b")),
        (("a",), ("a",)),
        ((name for name in "ab"), ("a", "b")),
        ([], ()),
        ("", ("",)),
        (17, (17,)),
        (None, (None,)),
    ],
)
def test_recipients_may_be_given_alone_or_together(given, held):
    assert as_recipients(given) == held


def test_a_draft_does_not_show_what_is_written_to_whom():
    draft = Draft(
        to=("+48500600700",), text="secret", subject="secret", message_id="m1", options={"sender": "+48500600701"}
    )
    assert repr(draft) == "Draft(attachments=(), in_reply_to=None, message_id='m1')"
