"""Whatever a user's data look like, and whatever is set: mapping does not raise, CleverTap takes what it makes, and
nothing of it is damaged without a word.
"""

import json
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from router_clevertap.choices import NestedValues, NullAttributes, OptOutChoice, ScreenViewName, UserId
from router_clevertap.commerce_details import TEXTS
from router_clevertap.fields import CHECKS
from router_clevertap.mapping import RecordMapper
from router_clevertap.names import RESTRICTED_EVENT_NAMES
from router_clevertap.notes import CODES
from router_clevertap.plan import plan_of
from router_clevertap.sandbox import Damage, SandboxSettings, damage_of
from router_clevertap.sandbox.record_checks import record_refusal
from router_clevertap.settings import ClevertapConnection

from router_core.records import Record

Make = Callable[..., Record]
SANDBOX = SandboxSettings()
HEX = "0123456789abcdef0123456789abcdef"

texts = (
    st.text(max_size=30)
    | st.text("é🙂", min_size=100, max_size=300)
    | st.text("%><!|&.:;$'\"\\# \t\x00aA", max_size=20)
    | st.sampled_from(
        ["1234", "a@b.example", "+35922333232", "(415) 555-0100", "F", "male", "Y", "true", "36", "School"]
    )
    | st.sampled_from(["https://x.example/a.png", "Europe/Berlin", "$D_1700000000", "$D_x", "$D_99999999999999"])
    | st.dates().map(str)
    | st.datetimes().map(str)
    | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
names = (
    st.sampled_from(
        [*CHECKS, *RESTRICTED_EVENT_NAMES, "Charged", "charged", "Items", "Amount", "charged ID", "Currency"]
    )
    | st.sampled_from(["$Gender", "$age", "$FirstName", "$lastname", "name", "birthday", "phone", "email", "msg-PUSH"])
    | st.sampled_from(
        ["identity", "FBID", "objectId", "wzrk_a", "CT b", "ct b", "a.b", "ab", "A B", "$", "", "a_b", "a"]
    )
    | st.text(max_size=150)
    | texts
)
attributes = st.dictionaries(names, values, max_size=12)
many = st.integers(90, 300).map(lambda size: {f"k{n}": n for n in range(size)})
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=130)
identities = st.dictionaries(
    st.sampled_from(
        ["customer_id", "customerid", "email", "mobile_number", "facebook", "google", "other", "other_id_2"]
    ),
    words | scalars,
)
devices = st.fixed_dictionaries(
    {},
    optional={
        "ios_idfv": st.uuids().map(str) | scalars.filter(lambda value: not isinstance(value, (list, dict))),
        "android_advertising_id": st.uuids().map(str) | st.just("00000000-0000-0000-0000-000000000000"),
        "ios_advertising_id": st.uuids().map(str),
        "android_uuid": st.text("0123456789abcdefABCDEF", min_size=15, max_size=16),
        "limit_ad_tracking": st.booleans(),
        "att_authorization_status": st.sampled_from(["authorized", "denied", "restricted"]),
    },
)
clevertap_ids = st.sampled_from([f"__{HEX}", f"-v{HEX}", HEX, "_w_x", "__g" + "0" * 32, "ghost"]) | values
batches = st.fixed_dictionaries(
    {"user_identities": st.just({"customer_id": "c"}) | identities},
    optional={
        "user_attributes": attributes | many,
        "deleted_user_attributes": st.lists(names, max_size=5),
        "integration_attributes": clevertap_ids.map(lambda id: {"135": {"clevertap_id_integration_setting": id}}),
        "device_info": devices,
        "mpid": st.integers(-5, 2**64) | words,
    },
)
any_settings = st.builds(
    ClevertapConnection,
    user_id=st.sampled_from(UserId),
    use_clevertap_id=st.booleans(),
    derive_clevertap_id=st.booleans(),
    fall_back_to_other_identities=st.booleans(),
    fall_back_to_mpid=st.booleans(),
    link_anonymous=st.booleans(),
    link_derived_ids=st.booleans(),
    phone_region=st.sampled_from(["", "US", "IN"]),
    screen_view_name=st.sampled_from(ScreenViewName),
    nested_values=st.sampled_from(NestedValues),
    null_attributes=st.sampled_from(NullAttributes),
    forward_push_registrations=st.booleans(),
    opt_out=st.sampled_from([OptOutChoice.UNSUBSCRIBE, OptOutChoice.SUPPRESS]),
)
chosen = st.just(ClevertapConnection()) | any_settings
anything = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_taken(records: list[Record], settings: ClevertapConnection) -> None:
    mapper = RecordMapper(settings)
    for record in records * 2:  # the second time, names and shapes are remembered
        mapped = mapper.map(record)
        assert bool(mapped.items) != (mapped.outcome is not None)
        assert all(note.code in CODES for note in mapped.notes)
    plan = plan_of(records, mapper, 1000)
    for item in [item for call in plan.calls for item in call.items]:
        sent = json.loads(orjson.dumps(item))
        assert [one for one in damage_of(sent) if not _is_known(one)] == [], item
        assert record_refusal(sent, SANDBOX) is None, item


def _is_known(damage: Damage) -> bool:
    """Ids and names of commerce stay text, also where the sandbox takes them for dates."""
    return damage.code in ("date_as_text", "malformed_date") and damage.field.rpartition(".")[2] in TEXTS


@anything
@given(batch=batches, name=names | scalars, own=attributes | many, time=scalars, settings=chosen)
def test_any_event_is_taken(record: Make, batch: Any, name: Any, own: Any, time: Any, settings: Any) -> None:
    data = {"custom_attributes": own, "timestamp_unixtime_ms": time}
    named = record(data={**data, "event_name": name}, **batch)
    shown = record("screen_view", {**data, "screen_name": name}, **batch)
    assert_taken([named, shown], settings)


@anything
@given(batch=batches, channel=st.sampled_from(["server_to_server", "javascript"]), settings=chosen)
def test_any_profile_is_taken(record: Make, batch: Any, channel: str, settings: Any) -> None:
    assert_taken([record("profile_update", channel=channel, **batch)], settings)


sides = st.none() | st.fixed_dictionaries({"identity_type": st.sampled_from([*UserId]) | scalars, "identity": scalars})


@anything
@given(batch=batches, name=names, new=values, deleted=scalars, sides=st.tuples(sides, sides), settings=chosen)
def test_any_change_is_taken(
    record: Make, batch: Any, name: str, new: Any, deleted: Any, sides: Any, settings: Any
) -> None:
    change = {"user_attribute_name": name, "new": new, "deleted": deleted}
    attribute = record("user_attribute_change", change, **batch)
    identity = record("user_identity_change", {"new": sides[0], "old": sides[1]}, **batch)
    assert_taken([record("profile_update", **batch), identity, attribute], settings)


@anything
@given(batch=batches, token=scalars, register=scalars, out=scalars, settings=chosen)
def test_any_registration_and_opt_out_is_taken(
    record: Make, batch: Any, token: Any, register: Any, out: Any, settings: Any
) -> None:
    registration = record("push_registration", {"registration_token": token, "register": register}, **batch)
    assert_taken([registration, record("opt_out", {"is_opted_out": out}, **batch)], settings)


product = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["id", "name", "price", "quantity", "total_product_amount", "coupon_code"], scalars),
        "custom_attributes": attributes,
    },
)
products = st.none() | st.lists(product, max_size=3) | st.just([{"id": str(n), "price": n} for n in range(60)])
actions = scalars | st.sampled_from(["purchase", "refund", "click", "remove_from_wish_list"])


@anything
@given(action=actions, number=scalars, products=products, own=attributes | many, settings=chosen)
def test_any_commerce_event_is_taken(
    record: Make, action: Any, number: Any, products: Any, own: Any, settings: Any
) -> None:
    details = {"action": action, "total_amount": number, "transaction_id": number, "products": products}
    event = {
        "product_action": details,
        "promotion_action": {"action": action, "promotions": [{"id": number, "name": action}]},
        "product_impressions": [{"product_impression_list": action, "products": products}],
        "currency_code": number,
        "custom_attributes": own,
    }
    assert_taken([record("commerce_event", event)], settings)
