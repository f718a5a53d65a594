"""Data plans: what breaks one, what becomes of it by each policy, and what is wrong with a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.components import SourceInput
from router_core.dataplan import CODES, DataPlan, read_data_plan
from router_core.errors import ConfigurationError, InvalidBatch
from router_core.events import Platform
from router_core.feeds import mark_source_feed
from router_core.intake import CoreIntake
from router_core.log.memory import MemoryLog
from router_core.plangate import PlanGate
from router_core.records import Record
from router_core.telemetry import Telemetry
from router_core.testing import custom_event, event_batch, record, records_of

PLAN = """\
name: shop
$defs:
  money: {type: number, minimum: 0}
  place: {properties: {at: {type: string}}}
events:
  custom_event:
    Article Read:
      properties:
        category: {type: string}
        words: {type: integer}
        tags: {type: array, items: {type: string}}
      required: [category]
    Search: {}
    Anything: true
    Sold: {$ref: "#/$defs/place", allOf: [{properties: {price: {$ref: "#/$defs/money"}, shop: true}}]}
  screen_view:
    "*": {properties: {from: {type: string, format: email}}}
  commerce_event:
    purchase: {properties: {coupon: {pattern: "^[A-Z]+$"}}}
    promotion_view:
  session_end: {properties: {reason: {enum: [closed, idle]}}}
user_attributes:
  properties: {plan: {enum: [free, gold]}, age: {type: [integer, "null"]}}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DataPlan:
    return read_data_plan(written(tmp_path_factory.mktemp("plan"), PLAN))


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


def read(name: str = "Article Read", /, **attributes: Any) -> dict[str, Any]:
    return {"event_name": name, "custom_attributes": attributes}


def commerce(action: object) -> dict[str, Any]:
    return {"product_action": {"action": action}}


@pytest.mark.parametrize(
    ("event_type", "data", "expected"),
    [
        ("custom_event", read(category="news", words=3), []),
        ("custom_event", read(category="news", tags=["a"]), []),
        ("custom_event", read(category="news", words="3"), [("plan_wrong_value", "words")]),
        ("custom_event", read(category="news", tags=["a", 3, 4]), [("plan_wrong_value", "tags")]),
        ("custom_event", read(words=1), [("plan_missing_attribute", "category")]),
        ("custom_event", read(category="a", x=1, y=2), [("plan_unknown_attribute", n) for n in ("x", "y")]),
        (
            "custom_event",
            read(words="many", x=1),
            [("plan_missing_attribute", "category"), ("plan_unknown_attribute", "x"), ("plan_wrong_value", "words")],
        ),
        ("custom_event", read("article read"), [("plan_unknown_event", "article read")]),
        ("custom_event", read("Search"), []),
        ("custom_event", {"event_name": "Search", "custom_attributes": None}, []),
        ("custom_event", read("Search", q="x"), [("plan_unknown_attribute", "q")]),
        ("custom_event", read("Anything", q={"a": [1]}), []),
        ("custom_event", read("Sold", price=3.5), []),
        ("custom_event", read("Sold", price=-1), [("plan_wrong_value", "price")]),
        ("custom_event", read("Sold", cost=1), [("plan_unknown_attribute", "cost")]),
        ("custom_event", read("Sold", price=-1, shop="a"), [("plan_wrong_value", "price")]),
        ("custom_event", read("Sold", at="a", x=1), [("plan_unknown_attribute", "x")]),
        ("screen_view", {"screen_name": "Home"}, []),
        ("screen_view", {"screen_name": "X", "custom_attributes": {"from": "me"}}, [("plan_wrong_value", "from")]),
        ("commerce_event", commerce("purchase"), []),
        ("commerce_event", commerce("Purchase"), []),
        ("commerce_event", {**commerce("purchase"), "custom_attributes": {"coupon": "a"}},
         [("plan_wrong_value", "coupon")]),
        ("commerce_event", commerce("refund"), [("plan_unknown_event", "refund")]),
        ("commerce_event", {"promotion_action": {"action": 1}}, []),
        ("commerce_event", {"promotion_action": {"action": "click"}}, [("plan_unknown_event", "promotion_click")]),
        ("commerce_event", {"product_impressions": [{}]}, [("plan_unknown_event", "impression")]),
        ("session_start", {"custom_attributes": {"any": 1}}, []),
        ("session_end", {"custom_attributes": {"reason": "bored"}}, [("plan_wrong_value", "reason")]),
        ("made_up", {}, [("plan_unknown_event", "made_up")]),
        ("user_attribute_change", {"user_attribute_name": "plan", "new": "gold"}, []),
        ("user_attribute_change", {"user_attribute_name": "plan", "new": None, "deleted": True}, []),
        ("user_attribute_change", {"user_attribute_name": "plan", "new": 3}, [("plan_wrong_value", "plan")]),
        ("user_attribute_change", {"user_attribute_name": "hat", "new": 3}, [("plan_unknown_attribute", "hat")]),
    ],
)  # fmt: skip
def test_what_breaks_a_plan(
    plan: DataPlan, event_type: str, data: Mapping[str, Any], expected: list[tuple[str, str]]
) -> None:
    one = record(event_type, data)
    assert one.event is not None
    found = plan.of_event(one.event_type, one.event)
    assert sorted((breach.code, breach.subject) for breach in found) == sorted(expected)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (None, []),
        ({"plan": "gold", "age": None}, []),
        ({"plan": "lead", "hat": 1}, [("plan_unknown_attribute", "hat"), ("plan_wrong_value", "plan")]),
        ({"age": 10**30}, []),
        ({"age": "\ud800"}, [("plan_wrong_value", None)]),
    ],
)
def test_what_user_attributes_break(plan: DataPlan, attributes: Any, expected: list[Any]) -> None:
    assert sorted((breach.code, breach.subject) for breach in plan.of_user(attributes)) == expected


def test_no_value_stands_in_a_text(plan: DataPlan) -> None:
    for value in ("S3CR3T", ["S3CR3T"], {"S3CR3T": "S3CR3T"}):
        for breach in plan.of_user({"plan": value, "age": value}):
            assert "S3CR3T" not in breach.text


def gate(plan: DataPlan, **policies: str) -> PlanGate:
    return PlanGate(plan, {code: policies.get(code.removeprefix("plan_"), "allow") for code in CODES})


BATCH = event_batch(
    custom_event("Article Read", custom_attributes={"category": "news", "words": "x", "extra": 1}),
    custom_event("Nobody knows it"),
    custom_event("Search"),
    {"event_type": "user_attribute_change", "data": {"user_attribute_name": "hat", "new": "red"}},
    user_attributes={"plan": "gold", "hat": "red", "age": "old"},
)


def seen(records: Sequence[Record]) -> dict[str, Any]:
    return {
        one.id.partition(".")[2]: one.batch.user_attributes if one.event is None else one.event.custom_attributes
        for one in records
    }


@pytest.mark.parametrize(
    ("policies", "left", "ended"),
    [
        ({}, {"p": ["plan", "hat", "age"], "0": ["category", "words", "extra"], "1": None, "2": None, "3": None}, []),
        (
            {"unknown_attribute": "strip"},
            {"p": ["plan", "age"], "0": ["category", "words"], "1": None, "2": None},
            [("3", "skipped", "plan_unknown_attribute")],
        ),
        (
            {"wrong_value": "strip"},
            {"p": ["plan", "hat"], "0": ["category", "extra"], "1": None, "2": None, "3": None},
            [],
        ),
        (
            {"unknown_event": "strip"},
            {"p": ["plan", "hat", "age"], "0": ["category", "words", "extra"], "2": None, "3": None},
            [("1", "skipped", "plan_unknown_event")],
        ),
        (
            {"unknown_event": "park", "unknown_attribute": "park", "wrong_value": "strip"},
            {"2": None},
            [
                ("p", "rejected", "plan_unknown_attribute"),
                ("0", "rejected", "plan_unknown_attribute"),
                ("1", "rejected", "plan_unknown_event"),
                ("3", "rejected", "plan_unknown_attribute"),
            ],
        ),
        (
            {"unknown_event": "refuse"},  # accepted before the plan said so
            {"p": ["plan", "hat", "age"], "0": ["category", "words", "extra"], "2": None, "3": None},
            [("1", "rejected", "plan_unknown_event")],
        ),
    ],
)
def test_each_policy(plan: DataPlan, policies: dict[str, str], left: dict[str, Any], ended: list[Any]) -> None:
    kept, outcomes, notes = gate(plan, **policies)(records_of(BATCH))
    assert {name: values and list(values) for name, values in seen(kept).items()} == left
    assert [(o.record_id.partition(".")[2], o.disposition.value, o.code) for o in outcomes] == ended
    assert len(notes) == 6  # whatever the policy: two of the profile, two of the first event, one of two others
    removed = {name for name, policy in (("hat", "unknown_attribute"), ("age", "wrong_value"))
               if policies.get(policy, "allow") != "allow"}  # fmt: skip
    assert all(not removed & (one.batch.user_attributes or {}).keys() for one in kept)


def test_a_profile_update_of_which_nothing_is_left_is_skipped(plan: DataPlan) -> None:
    attributes = {"hat": "red", "plan": "lead"}
    strict = gate(plan, unknown_attribute="strip", wrong_value="strip")
    kept, [outcome], notes = strict(records_of(event_batch(user_attributes=attributes)))
    assert [one.id for one in kept] == ["1.0"]
    assert (outcome.disposition.value, outcome.message) == ("skipped", "nothing is left of the profile update")
    assert len(notes) == 2 + 1  # and the event, which is not planned
    kept, outcomes, _ = strict(records_of(event_batch(customer_id="ada", user_attributes=attributes)))
    assert [one.id for one in kept] == ["1.p", "1.0"]
    assert outcomes == []


def test_a_missing_attribute_is_parked(plan: DataPlan) -> None:
    records = records_of(event_batch(custom_event("Article Read"), custom_event("Search")))
    kept, [outcome], [note] = gate(plan, missing_attribute="park")(records)
    assert [one.id for one in kept] == ["1.1"]
    assert (outcome.code, outcome.message) == (
        "plan_missing_attribute",
        "'category' is missing; the data plan requires it",
    )
    assert note.policy == "park"


VALUES = st.sampled_from(["news", 3, None, True])
EVENTS = st.builds(
    lambda name, attributes: custom_event(name, custom_attributes=attributes),
    st.sampled_from(["Article Read", "Search", "Anything", "Unknown"]),
    st.dictionaries(st.sampled_from(["category", "words", "x", "y"]), VALUES),
)
POLICIES = st.fixed_dictionaries(
    {
        **{n: st.sampled_from(["allow", "strip", "park", "refuse"])
           for n in ("unknown_event", "unknown_attribute", "wrong_value")},
        "missing_attribute": st.sampled_from(["allow", "park", "refuse"]),
    }
)  # fmt: skip


@given(events=st.lists(EVENTS, max_size=6), policies=POLICIES, user=st.dictionaries(st.sampled_from("ab"), VALUES))
def test_every_record_ends_once_counts_are_exact_and_nothing_stripped_gets_through(
    plan: DataPlan, events: list[Any], policies: dict[str, str], user: dict[str, Any]
) -> None:
    records = records_of(event_batch(*events, user_attributes=user)) if events else []
    guard = gate(plan, **policies)
    kept, outcomes, notes = guard(records)
    assert sorted([one.id for one in kept] + [one.record_id for one in outcomes]) == sorted(one.id for one in records)
    assert [one.id for one in kept] == [one.id for one in records if one.id in {other.id for other in kept}]
    # what a plain model of the plan counts
    expected: Counter[str] = Counter({"plan_unknown_attribute": len(user) if events else 0})
    for event in events:
        name, attributes = event["data"]["event_name"], event["data"]["custom_attributes"]
        known = {"category": (str,), "words": (int,)} if name == "Article Read" else {}
        if name == "Unknown":
            expected["plan_unknown_event"] += 1
        elif name != "Anything":
            expected["plan_unknown_attribute"] += sum(key not in known for key in attributes)
            wrong = [k for k, v in attributes.items() if k in known and type(v) not in known[k]]
            expected["plan_wrong_value"] += len(wrong)
            parked = policies["unknown_attribute"] in ("park", "refuse") and not attributes.keys() <= known.keys()
            stripped = "category" in wrong and policies["wrong_value"] == "strip" and not parked
            expected["plan_missing_attribute"] += "category" in known and ("category" not in attributes or stripped)
    assert Counter(note.code for note in notes) == +expected
    assert all(note.policy == policies[note.code.removeprefix("plan_")] for note in notes)
    # what goes on breaks nothing any more but what is allowed
    again = guard(kept)[2]
    assert {note.policy for note in again} <= {"allow"}
    body = event_batch(*events, user_attributes=user)
    as_sent = gate(plan)(records)[2]
    if any(policies[note.code.removeprefix("plan_")] == "refuse" for note in as_sent):
        with pytest.raises(InvalidBatch):
            guard.require_accepted(body)
    elif events:
        guard.require_accepted(body)


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ({"events": [custom_event("Search"), custom_event("No")]},
         "This event is not in the input's data plan. (at $.events[1].data.event_name)"),
        ({"events": [{"event_type": "made_up"}]},
         "This event is not in the input's data plan. (at $.events[0].event_type)"),
        ({"events": [{"event_type": "commerce_event", "data": commerce("refund")}]},
         "This event is not in the input's data plan. (at $.events[0].data)"),
        ({"events": [custom_event("Search", custom_attributes={"a b": 1})]},
         "An attribute is not in the input's data plan. (at $.events[0].data.custom_attributes['a b'])"),
        ({"events": [custom_event("Article Read")]},
         "An attribute is required by the input's data plan. (at $.events[0].data.custom_attributes.category)"),
        ({"events": [custom_event("Article Read", custom_attributes={"category": 3})]},
         "A value breaks the input's data plan: the value is not of type \"string\". "
         "(at $.events[0].data.custom_attributes.category)"),
        ({"user_attributes": {"age": "x"}},
         "A value breaks the input's data plan: the value is not of types \"null\", \"integer\". "
         "(at $.user_attributes.age)"),
        ({"events": [{"event_type": "user_attribute_change", "data": {"user_attribute_name": "hat", "new": 1}}]},
         "An attribute is not in the input's data plan. (at $.events[0].data.user_attribute_name)"),
    ],
)  # fmt: skip
async def test_a_refused_batch_gets_the_place_and_is_counted(plan: DataPlan, batch: Any, text: str) -> None:
    log, telemetry = MemoryLog(), Telemetry()
    await log.open(["shop"], {})
    refusing = gate(plan, **dict.fromkeys([code.removeprefix("plan_") for code in CODES], "refuse"))
    intake = CoreIntake(log, telemetry, plans={"shop": refusing})
    source = SourceInput(name="shop", platform=Platform.WEB, key=None, secret=None, settings=None)
    good = event_batch(custom_event("Search"))
    results = await intake.accept(source, [good, orjson.dumps(batch)])
    assert [str(result.error) if result.error else None for result in results] == [None, text]
    codes = {code: telemetry.cell("data_plan_refusals", input="shop", code=code).value for code in CODES}
    assert sum(codes.values()) == 1
    assert telemetry.cell("invalid_batches", input="shop").value == 1
    await log.close()


@pytest.mark.parametrize(
    ("text", "line", "path", "what"),
    [
        ("evnts: {}", 1, "evnts", "a data plan has no 'evnts'. Did you mean 'events'?"),
        ("name: x", 1, "", "plans nothing."),
        ("events:\n  custom_evnt: {}", 2, "events.custom_evnt", "'custom_evnt' is no event type. Did you mean"),
        ("events:\n  custom_event: [a]", 2, "events.custom_event", "must be a mapping of names to values."),
        ("events:\n  custom_event:\n    A: 3", 3, "events.custom_event.A", "is no JSON Schema."),
        (
            "events:\n  custom_event:\n    A:\n      properties:\n        x: {type: strng}",
            5,
            "events.custom_event.A.properties.x.type",
            '"strng" is not valid under any',
        ),
        ('{"user_attributes":\n {"properties":\n {"x": {"pattern": "("}}}}', 3, "user_attributes.properties.x.pattern",
         'is not a "regex"'),
        ("user_attributes: {$ref: 'http://127.0.0.1:1/x'}", 1, "user_attributes", "Retrieval is disabled"),
        ("user_attributes: {$ref: '#/$defs/x'}", 1, "user_attributes", "Pointer '/$defs/x' does not exist"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    tmp_path: Path, text: str, line: int, path: str, what: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_data_plan(written(tmp_path, text))
    [problem] = error.value.problems
    assert (problem.where, problem.path) == (f"{tmp_path}/plan.yaml:{line}", path)
    assert what in f"{problem.what} {problem.mend}"


def test_a_plan_without_events_judges_none_but_changes_of_user_attributes(tmp_path: Path) -> None:
    plan = read_data_plan(written(tmp_path, "user_attributes: {properties: {plan: {type: string}}}"))
    change = {"event_type": "user_attribute_change", "data": {"user_attribute_name": "plan", "new": 3}}
    records = records_of(event_batch(custom_event("Any"), {"event_type": "made_up"}, change))
    assert [note.record_id for note in gate(plan)(records)[2]] == ["1.2"]


def test_a_pattern_that_backtracks_without_end_is_cut_off(tmp_path: Path) -> None:
    plan = read_data_plan(written(tmp_path, 'user_attributes: {properties: {a: {pattern: "^(a|a)*\\\\1?(?=b)$"}}}'))
    [breach] = plan.of_user({"a": "a" * 200 + "!"})
    assert breach.code == "plan_wrong_value"


@pytest.mark.parametrize("policy", ["allow", "strip", "park", "refuse"])
@pytest.mark.parametrize("required", ["", ", required: [mParticle Source Feed]"])
def test_the_mark_of_a_feed_is_not_judged_and_stays(tmp_path: Path, policy: str, required: str) -> None:
    text = f"events: {{custom_event: {{x: {{properties: {{a: {{type: string}}}}, maxProperties: 1{required}}}}}}}\n"
    plan = read_data_plan(written(tmp_path, text))
    judged = gate(plan, **dict.fromkeys(("unknown_attribute", "wrong_value", "missing_attribute"), policy))
    records = records_of(event_batch(custom_event("x", custom_attributes={"a": "b"})))
    mark_source_feed(records, "Email Results")
    kept, outcomes, notes = judged(records)
    assert (kept, outcomes, notes) == (records, [], [])
    assert kept[0].event is not None
    assert kept[0].event.custom_attributes == {"a": "b", "mParticle Source Feed": "Email Results"}
    if policy == "strip" and not required:
        records = records_of(event_batch(custom_event("x", custom_attributes={"z": "b"})))
        mark_source_feed(records, "Email Results")
        ((record,), _, _) = judged(records)
        assert record.event is not None
        assert record.event.custom_attributes == {"mParticle Source Feed": "Email Results"}


# --- what a sender can make of it -------------------------------------------------------------------------------------


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        value = {"c": value}
    return value


def test_a_value_nested_without_end_is_wrong_unseen(tmp_path: Path) -> None:
    plan = read_data_plan(written(tmp_path, "events: {custom_event: {x: {properties: {t: {type: object}}}, y: true}}"))
    assert found(plan, "x", {"t": nested(8)}) == []
    assert found(plan, "y", {"t": nested(60)}) == []
    assert found(plan, "x", {"t": nested(60), "u": 1}) == [("plan_unknown_attribute", "u"), ("plan_wrong_value", "t")]


@pytest.mark.parametrize(
    "text",
    [
        "$defs: {n: {anyOf: [{properties: {c: {$ref: '#/$defs/n'}}}, {items: {$ref: '#/$defs/n'}}]}}\n"
        "events: {custom_event: {x: {properties: {t: {$ref: '#/$defs/n'}}}}}",
        "$defs: {a: {items: {$ref: '#/$defs/b'}}, b: {not: {$ref: '#/$defs/a/items'}}}\n"
        "user_attributes: {properties: {t: {$ref: '#/$defs/a'}}}",
        "user_attributes: {properties: {t: {anyOf: [{$ref: '#'}, {$ref: '#/properties/t'}]}}}",
    ],
)
def test_a_plan_that_refers_back_to_itself_is_refused(tmp_path: Path, text: str) -> None:
    """A sender's wide list kept the process busy for a minute with two such references in one `anyOf`."""
    with pytest.raises(ConfigurationError, match="refers back to itself"):
        read_data_plan(written(tmp_path, text))


def test_what_breaks_a_plan_in_very_many_ways_is_wrong_as_a_whole(tmp_path: Path) -> None:
    text = "events: {custom_event: {x: {properties: {t: {items: {type: string, minLength: 3}}, u: {type: string}}}}}"
    plan = read_data_plan(written(tmp_path, text))
    attributes = {"t": list(range(60_000)), "u": 1, "z": 1}
    codes = ("plan_missing_attribute", "plan_unknown_attribute", "plan_wrong_value")
    assert {(code, None) for code in codes} <= set(found(plan, "x", attributes))
    records = records_of(event_batch(custom_event("x", custom_attributes=attributes)))
    for code in ("wrong_value", "unknown_attribute"):
        kept, outcomes, _ = gate(plan, **{code: "strip"})(records)
        assert kept == []
        assert [outcome.code for outcome in outcomes] == [f"plan_{code}"]


def test_a_message_has_an_end(tmp_path: Path) -> None:
    names = [f"'value {number}'" for number in range(1000)]
    plan = read_data_plan(
        written(tmp_path, f"events: {{custom_event: {{x: {{properties: {{t: {{enum: [{', '.join(names)}]}}}}}}}}}}")
    )
    (record,) = records_of(event_batch(custom_event("x", custom_attributes={"t": "b"})))
    assert record.event is not None
    (breach,) = plan.of_event("custom_event", record.event)
    assert len(breach.message) <= 300


def found(plan: DataPlan, name: str, attributes: dict[str, Any]) -> list[tuple[str, str | None]]:
    (record,) = records_of(event_batch(custom_event(name, custom_attributes=attributes)))
    assert record.event is not None
    breaches = plan.of_event("custom_event", record.event)
    return sorted(((one.code, one.subject) for one in breaches), key=str)
