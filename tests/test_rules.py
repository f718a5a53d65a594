"""Forwarding rules: each by a table, and their order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router_core.appversion import app_version
from router_core.consent import ConsentCondition, consent_matches
from router_core.rules import Forwarding, ForwardingRules
from router_core.sampling import is_sampled
from router_core.testing import custom_event, event_batch, records_of
from router_core.testing.builders import RECEIVED_AT_MS


def codes(rules: dict[str, Any], body: bytes, **context: Any) -> list[str]:
    """The code of each record, empty for those that are sent."""
    records = records_of(body, **context)
    kept, outcomes = Forwarding(ForwardingRules.model_validate(rules), "connections.c.rules")(records)
    skipped = {outcome.record_id: outcome for outcome in outcomes}
    assert all("connections.c.rules." in outcome.message for outcome in outcomes)
    assert [one.id for one in kept] == [one.id for one in records if one.id not in skipped]
    return [skipped[one.id].code if one.id in skipped else "" for one in records]


def consent(on_match: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"consent": {"on_match": on_match, "any_of": list(conditions)}}


def gdpr(**purposes: Any) -> dict[str, Any]:
    return {"consent_state": {"gdpr": {name: {"consented": value} for name, value in purposes.items()}}}


def ccpa(opted_out: Any) -> dict[str, Any]:
    return {"consent_state": {"ccpa": {"data_sale_opt_out": {"consented": opted_out}}}}


MARKETING, NO_MARKETING = {"gdpr": "marketing"}, {"gdpr": "marketing", "consented": False}
OPTED_OUT = {"ccpa": "data_sale_opt_out", "consented": True}
PLAN = {"name": "plan", "value": "gold"}

OF_BATCH: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # rules, fields of the batch, code
    ({}, {}, ""),
    ({"environments": ["production"]}, {}, ""),
    ({"environments": ["production"]}, {"environment": "unknown"}, ""),
    ({"environments": ["production"]}, {"environment": "Development"}, "other_environment"),
    ({"environments": ["production"]}, {"environment": " PRODUCTION "}, ""),
    ({"environments": ["production"]}, {"environment": ""}, ""),
    *(
        ({"environments": ["production"]}, {"environment": e}, "other_environment")
        for e in ("dev", "staging", "prod2", 1)
    ),
    ({"environments": ["development"]}, {"environment": "staging"}, ""),
    ({"environments": ["development"]}, {}, "other_environment"),
    ({"environments": ["development"]}, {"environment": "development"}, ""),
    ({"environments": ["production", "development"]}, {"environment": "development"}, ""),
    ({"minimum_app_version": "2.4"}, {"application_info": {"application_version": "2.4.0"}}, ""),
    ({"minimum_app_version": "2.4"}, {"application_info": {"application_version": "2.10"}}, ""),
    ({"minimum_app_version": "2.4"}, {"application_info": {"application_version": 2.5}}, ""),
    ({"minimum_app_version": "2.4"}, {"application_info": {"application_version": "2.3.9"}}, "old_app_version"),
    ({"minimum_app_version": "2.4"}, {"application_info": {"application_version": "2.4-beta"}}, "old_app_version"),
    ({"minimum_app_version": "2.4"}, {"application_info": {"application_version": "newest"}}, "old_app_version"),
    ({"minimum_app_version": "2.4"}, {"application_info": {}}, "old_app_version"),
    ({"minimum_app_version": "2.4"}, {}, "old_app_version"),
    ({"logged_in_users_only": True}, {"user_identities": {"customerid": "c"}}, ""),
    ({"logged_in_users_only": True}, {"user_identities": {"customer_id": ""}}, "not_logged_in"),
    ({"logged_in_users_only": True}, {"mpid": 7}, "not_logged_in"),
    (consent("include", MARKETING), gdpr(Marketing=True), ""),
    (consent("include", MARKETING), gdpr(marketing="true"), ""),
    (consent("include", MARKETING), gdpr(marketing=False), "no_consent"),
    (consent("include", MARKETING), gdpr(analytics=True), "no_consent"),
    (consent("include", MARKETING), {}, "no_consent"),
    (consent("include", NO_MARKETING), {}, "no_consent"),
    (consent("include", MARKETING, {"gdpr": "analytics"}), gdpr(analytics=True), ""),
    (consent("exclude", OPTED_OUT), ccpa(True), "no_consent"),
    (consent("exclude", OPTED_OUT), ccpa(False), ""),
    (consent("exclude", OPTED_OUT), {}, ""),
    (consent("exclude", NO_MARKETING), gdpr(marketing=False), "no_consent"),
    (consent("exclude", NO_MARKETING, OPTED_OUT), ccpa(True), "no_consent"),
    (consent("exclude", OPTED_OUT), {"consent_state": {"ccpa": [1]}}, ""),
    (consent("include", MARKETING), {"consent_state": {"gdpr": {"consented": True}}}, "no_consent"),
    (consent("include", MARKETING), {"consent_state": "all"}, "no_consent"),
    ({"user_attribute": PLAN}, {"user_attributes": {"plan": "gold"}}, ""),
    ({"user_attribute": PLAN}, {"user_attributes": {"plan": ["silver", "gold"]}}, ""),
    ({"user_attribute": PLAN}, {"user_attributes": {"plan": "Gold"}}, "user_attribute_rule"),
    ({"user_attribute": PLAN}, {"user_attributes": {"Plan": "gold"}}, "user_attribute_rule"),
    ({"user_attribute": PLAN}, {}, "user_attribute_rule"),
    ({"user_attribute": {**PLAN, "on_match": "exclude"}}, {}, ""),
    ({"user_attribute": {**PLAN, "on_match": "exclude"}}, {"user_attributes": {"plan": "gold"}}, "user_attribute_rule"),
    ({"user_attribute": {"name": "n", "value": "33"}}, {"user_attributes": {"n": 33.0}}, ""),
    ({"user_attribute": {"name": "n", "value": 33}}, {"user_attributes": {"n": 33}}, ""),
    ({"user_attribute": {"name": "n", "value": "true"}}, {"user_attributes": {"n": True}}, ""),
    ({"user_sampling_percent": 0}, {}, "not_sampled"),
    ({"user_sampling_percent": 100}, {}, ""),
]


@pytest.mark.parametrize(("rules", "batch", "code"), OF_BATCH)
def test_rules_about_users_and_batches_hold_for_all_their_records(rules: Any, batch: Any, code: str) -> None:
    found = codes(rules, event_batch(custom_event(), {"event_type": "session_start"}, **batch))
    assert set(found) == {code}
    assert len(found) >= 2


@pytest.mark.parametrize(("on_match", "expected"), [("include", "no_consent"), ("exclude", "")])
def test_a_partner_cannot_speak_of_a_users_consent(on_match: str, expected: str) -> None:
    body = event_batch(**gdpr(marketing=True))
    assert codes(consent(on_match, MARKETING), body, channel="partner") == [expected]


@pytest.mark.parametrize(
    ("event", "on_match", "code"),
    [
        (custom_event(custom_attributes={"plan": "gold"}), "include", ""),
        (custom_event(custom_attributes={"plan": "gold"}), "exclude", "event_attribute_rule"),
        (custom_event(custom_attributes={"plan": "x"}), "include", "event_attribute_rule"),
        (custom_event(), "include", "event_attribute_rule"),
        (custom_event(), "exclude", ""),
        ({"event_type": "screen_view", "data": {}}, "include", "event_attribute_rule"),
        ({"event_type": "commerce_event", "data": {}}, "include", "event_attribute_rule"),
        ({"event_type": "session_start"}, "include", ""),
        ({"event_type": "user_attribute_change", "data": {"user_attribute_name": "a"}}, "include", ""),
    ],
)
def test_events_are_sent_by_an_attributes_value_and_profile_updates_are_not_asked(
    event: Any, on_match: str, code: str
) -> None:
    rules = {"event_attribute": {**PLAN, "on_match": on_match}}
    assert codes(rules, event_batch(event, customer_id="c")) == ["", code]


@pytest.mark.parametrize(("hours", "code"), [(23, ""), (24, ""), (25, "data_too_old"), (-5, "")])
def test_data_is_as_old_as_it_was_when_it_came_in(hours: int, code: str) -> None:
    at = RECEIVED_AT_MS - hours * 3_600_000
    body = event_batch(custom_event(timestamp_unixtime_ms=at), customer_id="c")
    assert codes({"maximum_data_age": "24h"}, body) == ["", code]


def test_the_first_rule_of_the_table_names_the_code() -> None:
    every: list[tuple[str, Any, str]] = [
        ("environments", ["development"], "other_environment"),
        ("minimum_app_version", "2", "old_app_version"),
        ("logged_in_users_only", True, "not_logged_in"),
        ("consent", consent("include", MARKETING)["consent"], "no_consent"),
        ("user_attribute", PLAN, "user_attribute_rule"),
        ("user_sampling_percent", 0, "not_sampled"),
        ("maximum_data_age", "1h", "data_too_old"),
        ("event_attribute", PLAN, "event_attribute_rule"),
    ]
    body = event_batch(custom_event(timestamp_unixtime_ms=RECEIVED_AT_MS - 10**8))
    for start in range(len(every)):
        rules = {name: value for name, value, _ in every[start:]}
        assert codes(rules, body) == [every[start][2]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"environments": []},
        {"minimum_app_version": "newest"},
        {"user_sampling_percent": 101},
        {"maximum_data_age": "0s"},
        {"consent": {"any_of": []}},
        {"consent": {"any_of": [{}]}},
        {"consent": {"any_of": [{"gdpr": "a", "ccpa": "data_sale_opt_out"}]}},
        {"event_attribute": {"name": "a"}},
    ],
)
def test_what_says_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        ForwardingRules.model_validate(wrong)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_versions_are_in_order() -> None:
    order = ["0", "0.9", "1.0-alpha", "1.0.0", "1.2", "1.10.0.rc1", "1.10", "v2", "2.0.1", "10.0 (1203)", "1000000"]
    found = [app_version(text) for text in order]
    assert found == sorted(found, key=lambda version: version or app_version("0"))  # type: ignore[arg-type,return-value]
    assert len(set(found)) == len(order)
    assert app_version("1.0.0") == app_version("1") == app_version(1)
    assert not any(map(app_version, ("", None, "newest", True, [])))


@given(user=st.integers(-(2**63), 2**63 - 1), less=st.floats(0, 100), more=st.floats(0, 100))
def test_a_smaller_sample_lies_within_a_larger_one(user: int, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert is_sampled(user, less) <= is_sampled(user, more)
    assert is_sampled(user, 100)
    assert not is_sampled(user, 0)


def test_a_sample_has_its_size_in_every_partition_and_never_changes() -> None:
    for partition in range(64):
        sampled = sum(is_sampled(partition + 64 * number, 10) for number in range(2000))
        assert 140 < sampled < 260
    assert [user for user in range(60) if is_sampled(user, 10)] == SAMPLED  # another set would be other users' data


SAMPLED = [0, 14, 17, 18, 51, 52]


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=3), lambda inner: st.dictionaries(
    st.sampled_from(["gdpr", "ccpa", "marketing", "consented"]), inner, max_size=3)))  # fmt: skip
def test_consent_of_any_shape_is_read_without_a_fault(state: Any) -> None:
    yes, no = (ConsentCondition(gdpr="marketing", consented=answer) for answer in (True, False))
    assert not (consent_matches(state, [yes]) and consent_matches(state, [no]))


def test_ages_are_durations() -> None:
    assert ForwardingRules.model_validate({"maximum_data_age": "1h 30m"}).maximum_data_age == timedelta(minutes=90)
