"""Whatever a user's data look like: mapping does not raise, and CleverTap takes what it makes."""

import json
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from router_clevertap.mapping import map_record
from router_clevertap.sandbox import SandboxSettings
from router_clevertap.sandbox.record_checks import record_refusal
from router_clevertap.settings import ClevertapConnection

from router_core.records import Record

Make = Callable[..., Record]
SANDBOX = SandboxSettings()

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.text("é🙂", min_size=100, max_size=300)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
known = st.sampled_from([
    "$Gender", "$age", "name", "birthday", "phone", "Email", "DOB", "Tz", "Photo", "MSG-email", "Married", "Employed",
    "Education", "identity", "wzrk_a", "CT b", "a.b", "ab", "A B", "Items", "Amount", "$", "", "Customer Type",
])  # fmt: skip
attributes = st.dictionaries(known | st.text(max_size=150), values, max_size=12)
anything = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def assert_taken(record: Record) -> None:
    mapped = map_record(record, ClevertapConnection())
    assert bool(mapped.items) != (mapped.outcome is not None)
    for item in mapped.items:
        sent = json.loads(orjson.dumps(item))
        assert record_refusal(sent, SANDBOX) is None, item


@anything
@given(name=st.text(max_size=600) | known, own=attributes, time=scalars)
def test_any_custom_event_is_taken(record: Make, name: str, own: dict[str, Any], time: Any) -> None:
    assert_taken(record(data={"event_name": name, "custom_attributes": own, "timestamp_unixtime_ms": time}))


@anything
@given(own=attributes, deleted=st.lists(known | st.text(), max_size=5), email=scalars, phone=scalars)
def test_any_profile_is_taken(record: Make, own: dict[str, Any], deleted: list[str], email: Any, phone: Any) -> None:
    identities = {"customer_id": "c", "email": email, "mobile_number": phone, "google": email}
    assert_taken(
        record("profile_update", user_attributes=own, deleted_user_attributes=deleted, user_identities=identities)
    )


@anything
@given(name=known | st.text(), new=values, deleted=scalars)
def test_any_attribute_change_is_taken(record: Make, name: str, new: Any, deleted: Any) -> None:
    assert_taken(record("user_attribute_change", {"user_attribute_name": name, "new": new, "deleted": deleted}))


fields = {"id": scalars, "price": scalars, "quantity": scalars, "custom_attributes": attributes}
products = st.lists(st.fixed_dictionaries({}, optional=fields), max_size=4)


@anything
@given(action=scalars | st.sampled_from(["purchase", "refund", "click"]), total=scalars, some=products, own=attributes)
def test_any_commerce_event_is_taken(record: Make, action: Any, total: Any, some: Any, own: dict[str, Any]) -> None:
    details = {"action": action, "total_amount": total, "transaction_id": total, "products": some}
    assert_taken(record("commerce_event", {"product_action": details, "custom_attributes": own}))
