"""Requests, and every answer of CleverTap's."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from router_clevertap.client import outcomes_from_answer, request_for
from router_clevertap.settings import ClevertapConfiguration

from router_core.components import HttpAnswer
from router_core.errors import CallRefused, InvalidCredentials, Throttled, Unavailable
from router_core.outcomes import Outcome

Answer = Callable[..., HttpAnswer]
NOW = 1_700_000_000.0


def event(name: str, identity: str = "cust-1", **data: Any) -> dict[str, Any]:
    return {"type": "event", "identity": identity, "evtName": name, "evtData": data}


def profile(identity: str, **data: Any) -> dict[str, Any]:
    return {"type": "profile", "identity": identity, "profileData": data}


ITEMS = [event("A"), event("B"), profile("cust-2", Email="1234")]
IDS = ["r1", "r2", "r3"]


def ends(answer: HttpAnswer, items: Any = ITEMS, ids: Any = IDS) -> dict[str, tuple[str, str]]:
    outcomes = outcomes_from_answer(answer, ids, items, NOW)
    assert len({outcome.record_id for outcome in outcomes}) == len(outcomes)
    return {outcome.record_id: (outcome.disposition.value, outcome.code) for outcome in outcomes}


def refusal(code: int, text: str, record: Any = None) -> dict[str, Any]:
    return {"status": "fail", "code": code, "error": text, "record": record}


def partial(*unprocessed: Any, of: int = 3, **more: Any) -> dict[str, Any]:
    return {"status": "partial", "processed": of - len(unprocessed), "unprocessed": list(unprocessed), **more}


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_has_cleverTaps_headers_and_one_array(configuration: Callable[..., ClevertapConfiguration]) -> None:
    request = request_for(configuration(region="in1"), ITEMS)
    assert (request.method, request.url) == ("POST", "https://in1.api.clevertap.com/1/upload")
    assert request.headers == {
        "x-clevertap-account-id": "TEST-123-456Z",
        "x-clevertap-passcode": "s3cret-passcode",
        "content-type": "application/json",
    }
    assert json.loads(request.content) == {"d": ITEMS}
    assert "s3cret" not in repr(request)


def test_a_dry_run_says_so(configuration: Callable[..., ClevertapConfiguration]) -> None:
    url = request_for(configuration(base_url="http://127.0.0.1:1/ct/"), ITEMS, dry_run=True).url
    assert url == "http://127.0.0.1:1/ct/1/upload?dryRun=1"


# --- answers about records --------------------------------------------------------------------------------------------


def test_success_delivers_all(answer: Answer) -> None:
    body = {"status": "success", "processed": 3, "unprocessed": []}
    assert ends(answer(body)) == dict.fromkeys(IDS, ("delivered", ""))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (509, "Event Name is incorrect. ErrorCode: 509 - Event name is mandatory. Skipped record number : 2"),
        (512, "Event data is incorrect. 512 - Only Items can have a nested structure, incorrect nested structure for "
              "field : F.Skipped record number : 2"),
        (513, "Event Name is incorrect. ErrorCode: 513 - Trying to raise a restricted system event. "
              "Skipped record number : 2"),
        (514, "Profile data is incorrect. Gender needs to be M/F.Skipped record number : 2"),
        (515, "Profile data is incorrect. Email is not valid.Skipped record number : 2"),
        (516, "Profile data is incorrect. Phone number is not valid.Skipped record number : 2"),
        (517, "Profile data is incorrect. Employed needs to be Y/N.Skipped record number : 2"),
        (518, "Profile data is incorrect. Education needs to be School/College/Graduate..Skipped record number : 2"),
        (519, "Profile data is incorrect. Married needs to be Y/N.Skipped record number : 2"),
        (520, "Profile data is incorrect. Age is invalid.Skipped record number : 2"),
        (523, "'identity' or 'fbId' or 'gpId' or 'objectId' is necessary under 120 chars to identify the user. "
              "Skipped record number : 2"),
        (525, "Timestamp should be present in the Unix Epoch format. Skipped record number : 2"),
        (528, "Event Name is incorrect. ErrorCode: 528 - Trying to raise a discarded event. Skipped record number : 2"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("of", [2, 3])
def test_a_partial_answer_rejects_only_the_refused_record(answer: Answer, code: int, text: str, of: int) -> None:
    outcomes = outcomes_from_answer(answer(partial(refusal(code, text), of=of)), IDS[:of], ITEMS[:of], NOW)
    rejected = Outcome.rejected("r2", f"clevertap_{code}", text)
    assert outcomes == [rejected if id == "r2" else Outcome.delivered(id) for id in IDS[:of]]


def test_code_555_is_retried(answer: Answer) -> None:
    body = partial(refusal(555, "Miscellaneous server error. Skipped record number : 3"))
    assert ends(answer(body))["r3"] == ("retry", "clevertap_555")


def test_fail_rejects_each_record_with_its_own_code(answer: Answer) -> None:
    body = {
        "status": "fail",
        "processed": 0,
        "unprocessed": [
            refusal(513, "x. Skipped record number : 1"),
            refusal(555, "x. Skipped record number : 2"),
            refusal(515, "x.Skipped record number : 3"),
        ],
    }
    assert ends(answer(body)) == {
        "r1": ("rejected", "clevertap_513"),
        "r2": ("retry", "clevertap_555"),
        "r3": ("rejected", "clevertap_515"),
    }


def test_success_that_lists_refusals_is_read_by_its_list(answer: Answer) -> None:
    body = {"status": "success", "processed": 0, "unprocessed": [refusal(513, "x. Skipped record number : 1")]}
    assert ends(answer(body), ITEMS[:1], IDS[:1]) == {"r1": ("rejected", "clevertap_513")}


@pytest.mark.parametrize("unprocessed", [[], None])
def test_fail_without_a_list_rejects_all(answer: Answer, unprocessed: Any) -> None:
    body = {"status": "fail", "processed": 0, "unprocessed": unprocessed}
    assert ends(answer(body)) == dict.fromkeys(IDS, ("rejected", "clevertap_fail"))


def test_records_that_cleverTap_does_not_count_are_retried(answer: Answer) -> None:
    body = {"status": "partial", "processed": 1, "unprocessed": [refusal(513, "x. Skipped record number : 1")]}
    assert ends(answer(body)) == {
        "r1": ("rejected", "clevertap_513"),
        "r2": ("retry", "clevertap_unaccounted"),
        "r3": ("retry", "clevertap_unaccounted"),
    }


def test_a_long_text_is_cut(answer: Answer) -> None:
    body = partial(refusal(512, "x" * 5000 + "Skipped record number : 1"))
    outcome = outcomes_from_answer(answer(body), IDS, ITEMS, NOW)[0]
    assert len(outcome.message) == 300


@pytest.mark.parametrize(
    ("refused", "end"),
    [([1], ("rejected", "clevertap_513")), ([1, 3], ("retry", "clevertap_555")), ([], ("delivered", ""))],
)
def test_a_record_of_several_items_has_one_outcome(answer: Answer, refused: list[int], end: tuple[str, str]) -> None:
    codes = {1: 513, 3: 555}
    body = partial(*(refusal(codes[n], f"x. Skipped record number : {n}") for n in refused))
    assert ends(answer(body), ids=["r1", "r1", "r1"]) == {"r1": end}


# --- which record a refusal is about ----------------------------------------------------------------------------------


def test_without_a_number_the_echo_tells_the_record(answer: Answer) -> None:
    echo = {"type": "profile", "identity": "cust-2", "profileData": {"Email": "1234", "Phone": 35922333232}}
    assert ends(answer(partial(refusal(515, "Email is not valid.", echo))))["r3"] == ("rejected", "clevertap_515")


@pytest.mark.parametrize("number", ["0", "4", "999999"])
def test_a_number_outside_the_call_is_not_believed(answer: Answer, number: str) -> None:
    text = f"x. Skipped record number : {number}"
    assert ends(answer(partial(refusal(513, text, event("B"))))) == {
        "r1": ("delivered", ""),
        "r2": ("rejected", "clevertap_513"),
        "r3": ("delivered", ""),
    }


def test_among_like_records_the_data_decide(answer: Answer) -> None:
    items = [event("A", n=1), event("A", n=2), event("A", n=3)]
    body = partial(refusal(512, "odd", event("A", n=2)))
    assert ends(answer(body), items)["r2"] == ("rejected", "clevertap_512")


def test_among_equal_records_any_is_the_right_one(answer: Answer) -> None:
    items = [event("A"), event("A"), event("B")]
    body = partial(refusal(512, "odd", event("A")), refusal(512, "odd", event("A")))
    assert ends(answer(body), items) == {
        "r1": ("rejected", "clevertap_512"),
        "r2": ("rejected", "clevertap_512"),
        "r3": ("delivered", ""),
    }


def test_a_refusal_that_fits_several_records_goes_to_all_of_them(answer: Answer) -> None:
    items = [event("A", n=1), event("A", n=2), event("B")]
    body = partial(refusal(512, "odd", event("A")))
    outcomes = outcomes_from_answer(answer(body), IDS, items, NOW)
    assert [outcome.code for outcome in outcomes] == ["clevertap_512", "clevertap_512", ""]
    assert "which of 2 records" in outcomes[0].message


@pytest.mark.parametrize(("code", "end"), [(513, "rejected"), (555, "retry")])
@pytest.mark.parametrize("entry", [{}, {"record": {"type": "event", "identity": "nobody", "evtName": "C"}}])
def test_a_refusal_that_fits_nothing_goes_to_all_that_may_be_meant(
    answer: Answer, code: int, end: str, entry: dict[str, Any]
) -> None:
    body = partial(refusal(515, "x.Skipped record number : 3"), {"code": code, "error": "odd", **entry})
    found = ends(answer(body))
    assert found == {
        "r1": (end, f"clevertap_{code}"),
        "r2": (end, f"clevertap_{code}"),
        "r3": ("rejected", "clevertap_515"),
    }


@pytest.mark.parametrize("entry", [None, 5, "text", [], {"code": "513"}, {"error": 5, "record": 7}])
def test_an_odd_entry_breaks_nothing(answer: Answer, entry: Any) -> None:
    assert set(ends(answer(partial(entry))).values()) == {("rejected", "clevertap_unknown")}


# --- answers about the call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "setting"),
    [("Account ID is not valid", "account_id"), ("Invalid Credentials", "passcode"), ("No", "account_id, passcode")],
)
@pytest.mark.parametrize("status", [401, 403, 200])
def test_refused_credentials_name_the_setting(answer: Answer, status: int, text: str, setting: str) -> None:
    code = 401 if status == 200 else status
    with pytest.raises(InvalidCredentials) as caught:
        ends(answer({"status": "fail", "error": text, "code": code}, status=status))
    assert f"Check the settings {setting} and region" in str(caught.value).replace(
        "passcode and region", "passcode and region"
    )
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 404, 405, 410])
def test_a_wrong_address_is_a_matter_of_region_or_base_url(answer: Answer, status: int) -> None:
    with pytest.raises(InvalidCredentials, match="region and base_url"):
        ends(answer(b"<html>", status=status))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
    ],
)
@pytest.mark.parametrize(("status", "error"), [(429, Throttled), (503, Unavailable)])
def test_cleverTap_may_name_the_time_to_wait(
    answer: Answer, status: int, error: type[Throttled | Unavailable], headers: Mapping[str, str], seconds: float | None
) -> None:
    with pytest.raises(error) as caught:
        ends(answer({"status": "fail", "error": "Too many concurrent requests"}, status=status, headers=headers))
    assert getattr(caught.value, "retry_after", -1.0) == seconds


@pytest.mark.parametrize("status", [408, 423, 425, 500, 502, 503, 504, 599])
def test_a_passing_fault_is_unavailable(answer: Answer, status: int) -> None:
    with pytest.raises(Unavailable, match=str(status)):
        ends(answer(b"<html>", status=status))


@pytest.mark.parametrize("status", [400, 409, 413, 422, 501])
def test_a_refused_call_has_its_code(answer: Answer, status: int) -> None:
    with pytest.raises(CallRefused) as caught:
        ends(answer({"status": "fail", "error": "Bad"}, status=status))
    assert caught.value.code == f"clevertap_{status}"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"success"', b"{}", b'{"status":"ok"}', b'{"status":["success"]}',
             b'{"status":"success","proc'],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 202, 204])
def test_an_answer_that_says_nothing_of_the_records_is_no_delivery(answer: Answer, body: bytes, status: int) -> None:
    with pytest.raises(Unavailable):
        ends(answer(body, status=status))
