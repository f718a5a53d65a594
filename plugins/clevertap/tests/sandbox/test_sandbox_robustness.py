"""Whatever comes in, the sandbox answers."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from router_clevertap.sandbox import SandboxServer, damage_of

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$set", "$add", "$remove", "$incr", "$decr", "$delete", "id", "type", "Email", "a"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
DATA = VALUES | st.dictionaries(
    st.sampled_from(
        ["Email", "Phone", "Age", "Gender", "identity", "MSG-sms", "Items", "id", "type", "keys", "a", "b"]
    ),
    VALUES,
    max_size=4,
)
KINDS = st.sampled_from(["event", "profile", "token", "other"])
RECORDS = VALUES | st.fixed_dictionaries(
    {"type": KINDS | VALUES},
    optional={
        "identity": st.sampled_from(["u1", "u2", 3]) | VALUES,
        "objectId": st.sampled_from(["__g1", "-v1"]) | VALUES,
        "ts": st.just(1795000000) | VALUES,
        "evtName": st.text(max_size=5) | VALUES,
        "evtData": DATA,
        "profileData": DATA,
        "tokenData": DATA,
    },
)


@pytest.fixture(scope="module")
def page() -> Iterator[httpx.Client]:
    """One client for all examples: to make one costs more than to ask."""
    with httpx.Client() as client:
        yield client


@settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(records=st.lists(RECORDS, max_size=6))
def test_every_record_is_either_processed_or_refused(
    sandbox: SandboxServer, page: httpx.Client, records: list[Any]
) -> None:
    sandbox.reset()
    response = sandbox.upload(*records)
    assert response.status_code == 200
    answer = response.json()
    assert answer["processed"] + len(answer["unprocessed"]) == len(records)
    assert answer["processed"] == len(sandbox.records())
    assert page.get(f"{sandbox.url}/sandbox/overview").status_code == 200
    assert all(isinstance(damage_of(record), list) for record in records)
