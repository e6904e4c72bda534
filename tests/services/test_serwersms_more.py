"""Results per recipient, reports, calling back, limits, the token, and finding what was sent."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from airflow_messaging.exceptions import (
    AuthenticationFailed,
    InvalidInput,
    NotFound,
    ServiceError,
    UnsupportedFeature,
)
from airflow_messaging.messages import Draft, Receipt, Status
from airflow_messaging.services.parsing import Reader
from airflow_messaging.services.serwersms import SerwerSms
from airflow_messaging.services.serwersms_sent import SmsReceipt, recipients

from .play import NOW, SetClock, answer, body_of, refused, run_auth, run_flow, unreadable

PHONE, OTHER, THIRD = "+48500600700", "+48500600701", "+48500600702"
WARSAW = ZoneInfo("Europe/Warsaw")
BASE = "https://api2.serwersms.pl/"
DRAFT = Draft(to=(PHONE,), text="hi", message_id="6a2c7f0e-3a0b-5d6e-9c55-2f8f6f6e1c11")


def make(zone=UTC, now=NOW, **credentials):
    return SerwerSms(BASE, **(credentials or {"username": "demo", "password": "pass"}), clock=SetClock(now), zone=zone)


@pytest.fixture
def service():
    return make()


def item(phone, status="queued", id_="a1", **more):
    return {"id": id_, "phone": phone, "status": status, **more}


def send(service, phone, *items, **answered):
    call = service.messages_send_sms(phone=phone, text="hi", unique_id="abc")
    return service.result(call, answer({"success": True, "items": list(items), **answered}))


# -- one result per recipient -----------------------------------------------------------------------------------------


def test_each_recipient_has_a_result_in_the_order_given(service):
    receipt = send(
        service,
        [PHONE, OTHER, THIRD],
        item(THIRD, id_="c"),
        item(PHONE, id_="a", queued="2024-10-28 20:18:03"),
        item(OTHER, "unsent", "b", error_code=4100, error_message=f"Bad number {OTHER}"),
    )
    assert [(one.phone, one.id, one.status, one.accepted) for one in receipt.recipients] == [
        (PHONE, "a", Status.QUEUED, True),
        (OTHER, "b", Status.FAILED, False),
        (THIRD, "c", Status.QUEUED, True),
    ]
    [failed] = receipt.unsent
    assert (failed.error_code, failed.error_message) == ("4100", "Bad number <number>")
    assert (receipt.id, receipt.status) == ("c", Status.QUEUED)
    assert "500600" not in repr(receipt) + repr(receipt.recipients) + json.dumps(failed.to_dict())


def test_a_recipient_that_the_answer_does_not_mention_was_not_accepted(service):
    receipt = send(service, [PHONE, OTHER], item(PHONE))
    assert [(one.phone, one.status, one.accepted) for one in receipt.recipients] == [
        (PHONE, Status.QUEUED, True),
        (OTHER, None, False),
    ]
    assert [one.phone for one in receipt.unsent] == [OTHER]


def test_numbers_are_the_same_however_they_are_written(service):
    given = ["500600700", "0048500600701", "+48 500 600 702"]
    receipt = send(service, given, item(PHONE, id_="a"), item(OTHER, id_="b"), item(THIRD, id_="c"))
    assert [(one.phone, one.id) for one in receipt.recipients] == list(zip(given, "abc", strict=True))


def test_numbers_of_two_countries_are_not_mistaken(service):
    given = ["+49500600700", PHONE]
    receipt = send(service, given, item(PHONE, "unsent", "pl"), item("+49500600700", id_="de"))
    assert [(one.id, one.accepted) for one in receipt.recipients] == [("de", True), ("pl", False)]


@pytest.mark.parametrize("listed", [["a", "b"], ["a"]])
def test_a_number_that_is_given_twice(service, listed):
    receipt = send(service, [PHONE, PHONE], *(item(PHONE, id_=id_) for id_ in listed))
    assert [one.id for one in receipt.recipients] == [listed[0], listed[-1]]


def test_one_of_two_refused_and_the_other_not_mentioned_is_not_a_refusal_of_all(service):
    receipt = send(service, [PHONE, OTHER], item(PHONE, "unsent", error_code=4100))
    assert (receipt.status, len(receipt.unsent)) == (Status.FAILED, 2)
    with pytest.raises(ServiceError):
        send(service, [PHONE], item(PHONE, "unsent", error_code=4100))


def test_without_details_nobody_is_named(service):
    receipt = send(service, [PHONE, OTHER], queued=1, unsent=1)
    assert (receipt.id, receipt.recipients, receipt.raw["unsent"]) == ("abc", (), 1)


def test_odd_words_about_a_recipient_do_not_hide_that_the_message_is_out(service):
    odd = {"id": "a", "phone": {}, "status": "queued", "error_code": [], "error_message": {}, "reason": 5}
    receipt = send(service, [PHONE, OTHER], odd, item(OTHER, id_="b"))
    assert (receipt.id, [one.id for one in receipt.recipients]) == ("a", [None, "b"])


def test_a_hundred_thousand_recipients_take_no_time():
    many = [f"+48{number:09}" for number in range(100_000)]
    record = {"items": [item(phone, id_=phone) for phone in reversed(many)]}
    found = recipients(Reader("serwersms", "messages/send_sms", record), many)
    assert [one.id for one in found] == many


def test_the_receipt_crosses_and_the_neutral_one_stays_as_it_is(service):
    receipt = send(service, [PHONE, OTHER], item(PHONE), item(OTHER, "unsent", error_code=1))
    plain = json.loads(json.dumps(receipt.to_dict()))
    assert SmsReceipt.from_dict(plain) == receipt
    assert Receipt.from_dict(plain) == receipt.plain()
    assert type(receipt.plain()) is Receipt
    with pytest.raises(InvalidInput, match="damaged"):
        SmsReceipt.from_dict({**plain, "recipients": [{"status": "no such"}]})
    body = answer({"success": True, "items": [item(PHONE)]})
    assert type(run_flow(service.send(DRAFT), [body], service).result) is Receipt


# -- reports, calling back, limits -----------------------------------------------------------------------------------


def test_reports_ask_in_the_vendors_words():
    call = make(WARSAW).messages_reports(
        id="a",
        unique_id=["u1", "u2"],
        phone=[PHONE],
        date_from=datetime(2024, 7, 1, 12, tzinfo=UTC),
        date_to="2024-07-01T15:00:00",
        status="delivered",
        type="eco",
        show_contact="true",
        page=2,
        limit=50,
    )
    assert body_of(call) == {
        "id": ["a"],
        "unique_id": ["u1", "u2"],
        "phone": [PHONE],
        "date_from": "2024-07-01 14:00:00",
        "date_to": "2024-07-01 15:00:00",
        "status": "delivered",
        "type": "eco",
        "show_contact": True,
        "page": 2,
        "limit": 50,
    }
    assert body_of(make().messages_reports()) == {}


@pytest.mark.parametrize(
    "field, given",
    [("status", {"status": "queued"}), ("phone", {"phone": []}), ("date_from", {"date_from": "x"})],
)
def test_reports_refuse(service, field, given):
    refused(field, lambda: service.messages_reports(**given))


def test_all_pages_of_reports(service):
    def page(number, *ids):
        return answer({"items": [item(PHONE, "sent", id_) for id_ in ids], "paging": {"page": number, "count": 2}})

    once = [page(1, "a", "b"), page(2, "c")]
    got, calls = run_flow(service.messages_reports_all(phone=PHONE), [*once, *once], service)
    assert [report.id for report in got] == ["a", "b", "c"]
    assert [body_of(call) for call in calls[:2]] == [{"phone": PHONE}, {"phone": PHONE, "page": 2}]


def test_calling_back(service):
    call = service.messages_delete(id="a1b2")
    assert (service.url(call.request), body_of(call)) == (BASE + "messages/delete", {"id": "a1b2"})
    assert not call.repeatable
    assert service.result(call, answer({"success": True})) is None
    assert body_of(service.messages_delete(unique_id="order-1")) == {"unique_id": "order-1"}
    with pytest.raises(NotFound):
        service.result(call, answer({"error": {"code": 1004, "type": "InvalidID", "message": "Invalid id"}}))
    for body in ({"success": False}, {}):
        with pytest.raises(ServiceError, match="not deleted"):
            service.result(call, answer(body))


@pytest.mark.parametrize("given", [{}, {"id": "a", "unique_id": "b"}, {"id": ""}, {"id": 5}, {"unique_id": ["a"]}])
def test_calling_back_wants_one_id(service, given):
    refused("id", lambda: service.messages_delete(**given))


def test_limits(service):
    body = {"items": [{"type": "eco", "chars_limit": 160, "value": 12}, {"type": "mms", "chars_limit": None}]}
    eco, mms = service.result(service.account_limits(), answer(body))
    assert (eco.type, eco.value, eco.chars_limit) == ("eco", 12, 160)
    assert (mms.type, mms.value, mms.chars_limit) == ("mms", None, None)
    assert service.account_limits().repeatable
    unreadable(service, service.account_limits(), answer({"items": [{"type": "eco", "value": "many"}]}))


# -- the token --------------------------------------------------------------------------------------------------------


def test_a_token_goes_into_the_header_and_nothing_into_the_body():
    service = make(token="T0ken/with+signs=")
    call = service.messages_recived(phone=PHONE)
    [sent] = run_auth(service, call.request, [answer("{}")])
    assert sent.headers["Authorization"] == "Bearer T0ken/with+signs="
    assert sent.body.value == {"phone": PHONE}
    assert "Authorization" not in call.request.headers
    assert "T0ken" not in repr(sent) + repr(call)
    assert set(service.derived_secrets()) == {"T0ken%2Fwith%2Bsigns%3D"}


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "żółw"])
def test_a_token_that_fits_into_no_header_is_refused(token):
    with pytest.raises(InvalidInput) as caught:
        make(token=token)
    assert caught.value.field == "password"
    assert "Evil" not in f"{caught.value!r}{caught.value.got}"


def test_a_refused_token(service):
    with pytest.raises(AuthenticationFailed):
        service.result(make(token="x").check(), answer({"error": {"code": 1001, "type": "InvalidUser"}}))


# -- finding what was sent --------------------------------------------------------------------------------------------

SINCE = datetime(2024, 10, 28, 20, 0, 0, 500_000, tzinfo=UTC)


def report(id_="r1", status="sent", queued="2024-10-28 20:00:01", unique_id=DRAFT.message_id, phone=PHONE, **more):
    return {"id": id_, "phone": phone, "status": status, "queued": queued, "unique_id": unique_id, **more}


def find(service, *items, draft=DRAFT, since=SINCE):
    flow = service.find_sent(draft, since=since)
    return run_flow(flow, [answer({"items": list(items)})], service).result


def test_it_is_found_by_its_unique_id_alone(service):
    flow = service.find_sent(DRAFT, since=SINCE)
    found, calls = run_flow(flow, [answer({"items": [report()]})], service)
    assert body_of(calls[0]) == {"unique_id": DRAFT.message_id}
    assert (found.id, found.status, found.scheduled_at) == ("r1", Status.SENT, None)
    assert found.sent_at == SINCE
    assert found.raw == {"items": [report()]}
    assert Receipt.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    "there",
    [
        [],
        [report(unique_id="another")],
        [report(queued="2024-10-28 19:59:59")],
        [report(status="unsent")],
        [report(unique_id=None, phone=OTHER)],
        [report(phone=OTHER)],
    ],
    ids=["nothing", "another id", "older", "refused", "another number", "another number under the same id"],
)
def test_what_is_not_this_message(service, there):
    assert find(service, *there) is None


def test_a_report_that_names_no_unique_id_was_chosen_by_it(service):
    for phone in (PHONE, "500600700"):
        assert find(service, report(unique_id=None, phone=phone)).id == "r1"


@pytest.mark.parametrize("phone", ["500600700", "", None])
def test_a_report_under_the_id_may_write_the_number_otherwise_or_not_at_all(service, phone):
    assert find(service, report(phone=phone)).id == "r1"


def test_the_older_one_of_two_with_the_same_id_is_left_out(service):
    found = find(service, report("old", "delivered", "2024-10-28 19:00:00"), report("new", "pending"))
    assert (found.id, found.status) == ("new", Status.QUEUED)
    assert [entry["id"] for entry in found.raw["items"]] == ["new"]


def test_the_second_in_which_the_attempt_began_counts(service):
    assert find(service, report(queued="2024-10-28 20:00:00")).id == "r1"


def test_a_report_without_any_time_counts(service):
    assert find(service, report(queued=None, status="pending")).id == "r1"


def test_several_recipients_of_which_some_were_refused(service):
    draft = dataclasses.replace(DRAFT, to=(PHONE, OTHER))
    found = find(service, report("a", "unsent", reason="no"), report("b", phone=OTHER), draft=draft)
    assert (found.id, found.status) == ("b", Status.SENT)
    people = recipients(Reader("serwersms", "messages/reports", found.raw), draft.to)
    assert [(one.accepted, one.error_message) for one in people] == [(False, "no"), (True, None)]


def test_a_scheduled_one_is_told_as_such(service):
    found = find(service, report(status="saved", queued="2024-12-24 18:00:00"))
    assert found.status is Status.SCHEDULED
    assert found.scheduled_at == datetime(2024, 12, 24, 18, tzinfo=UTC)


def test_the_hour_that_autumn_repeats_hides_nothing():
    """27 October 2024, 02:30 comes twice in Warsaw; the second time is 01:30 UTC."""
    service = make(WARSAW, datetime(2024, 10, 27, 1, 31, tzinfo=UTC))
    since = datetime(2024, 10, 27, 1, 29, tzinfo=UTC)
    assert find(service, report(queued="2024-10-27 02:30:00"), since=since).id == "r1"


def test_it_stands_on_a_later_page(service):
    def page(number, *items):
        return answer({"items": list(items), "paging": {"page": number, "count": 2}})

    once = [page(1, report("x", queued="2024-10-28 10:00:00")), page(2, report("y"))]
    flow = service.find_sent(DRAFT, since=SINCE)
    assert run_flow(flow, [*once, *once], service).result.id == "y"


def test_where_it_cannot_be_known_it_is_said(service):
    for draft, since in (
        (dataclasses.replace(DRAFT, message_id="ab"), SINCE),
        (dataclasses.replace(DRAFT, message_id="x" * 51), SINCE),
        (DRAFT, NOW - timedelta(days=14)),
    ):
        with pytest.raises(UnsupportedFeature):
            next(service.find_sent(draft, since=since))


def test_the_clock_of_the_service_says_how_old_is_too_old():
    service = make()
    service.skew_s = 3600.0
    with pytest.raises(UnsupportedFeature):
        next(service.find_sent(DRAFT, since=NOW - timedelta(days=13)))
