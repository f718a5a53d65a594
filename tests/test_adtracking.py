"""Advertising ids: which of them anybody gets, by a table; and that no way leads round it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_core.adtracking import ADVERTISING_IDS, AttStatus, withheld_ids, without_withheld_ids
from router_core.components import DestinationType, Transform, Transformed
from router_core.events import DeviceInfo, EventBatch, Platform
from router_core.pipeline import Pipeline
from router_core.records import Record
from router_core.selection import Selection
from router_core.testing import event_batch, stored_batch

IDFA, GAID = "6D92078A-8246-4BA4-AE5B-76104861E7DC", "38400000-8cf0-11bd-b23e-10b96e40000d"
ZEROS = "00000000-0000-0000-0000-000000000000"
AUTHORIZED, DENIED, UNDECIDED = AttStatus.AUTHORIZED, AttStatus.DENIED, AttStatus.NOT_DETERMINED

IDFA_TABLE = [
    # att_authorization_status, the input's att_status, limit_ad_tracking, kept
    (None, None, None, True),
    (None, None, False, True),
    (None, None, True, False),
    (None, None, "true", False),
    (None, None, 1, False),
    (None, None, "0", True),
    ("authorized", None, None, True),
    ("Authorized", None, True, True),
    ("denied", None, False, False),
    ("not_determined", None, None, False),
    ("restricted", None, None, False),
    ("something new", None, None, False),
    ("", None, None, True),
    (None, DENIED, None, False),
    (None, UNDECIDED, None, False),
    (None, AUTHORIZED, True, True),
    ("authorized", DENIED, None, True),
    ("denied", AUTHORIZED, None, False),
]


@pytest.mark.parametrize(("status", "default", "limited", "kept"), IDFA_TABLE)
def test_an_idfa_needs_att_and_without_it_no_limit(
    status: Any, default: AttStatus | None, limited: Any, kept: bool
) -> None:
    device = DeviceInfo(ios_advertising_id=IDFA, att_authorization_status=status, limit_ad_tracking=limited)
    assert ("ios_advertising_id" not in withheld_ids(device, default)) is kept


@pytest.mark.parametrize("name", [name for name in ADVERTISING_IDS if name != "ios_advertising_id"])
@pytest.mark.parametrize(("limited", "kept"), [(None, True), (False, True), (True, False), ("True", False)])
def test_the_other_ids_need_no_limit_and_do_not_ask_att(name: str, limited: Any, kept: bool) -> None:
    device = DeviceInfo(**{name: GAID}, limit_ad_tracking=limited, att_authorization_status="denied")
    assert (name not in withheld_ids(device)) is kept


@pytest.mark.parametrize("name", ADVERTISING_IDS)
@pytest.mark.parametrize("zeros", [ZEROS, "0", "", " ", "0" * 32, 0])
def test_an_id_of_zeros_counts_as_none(name: str, zeros: Any) -> None:
    device = DeviceInfo(**{name: zeros}, att_authorization_status="authorized", limit_ad_tracking=False)
    assert withheld_ids(device) == {name: "it is all zeros"}


def test_only_what_is_withheld_goes_and_the_batch_given_stays() -> None:
    device = DeviceInfo(ios_advertising_id=IDFA, ios_idfv=IDFA, android_uuid="u", limit_ad_tracking=True)
    batch = EventBatch(device_info=device)
    lawful = without_withheld_ids(batch)
    assert lawful.device_info is not None
    assert (lawful.device_info.ios_advertising_id, lawful.device_info.ios_idfv) == (None, IDFA)
    assert lawful.device_info.android_uuid == "u"
    assert device.ios_advertising_id == IDFA
    assert without_withheld_ids(lawful) is lawful
    bare = EventBatch()
    assert without_withheld_ids(bare) is bare


class PutsBack(Transform):
    """Remembers better days."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def apply(self, records: Sequence[Record]) -> Transformed:
        self.seen += [record.batch.device_info for record in records]
        device = DeviceInfo(android_advertising_id=GAID, limit_ad_tracking=True)
        batch = msgspec.structs.replace(records[0].batch, device_info=device)
        return Transformed(records=[msgspec.structs.replace(record, batch=batch) for record in records])


def pipeline(*transforms: Transform, att_status: AttStatus | None = None) -> Pipeline:
    kind = DestinationType(name="p", title="P", summary="", create=lambda _: pytest.fail("never created"))
    named = [(f"t{number}", one) for number, one in enumerate(transforms)]
    selection = Selection(kind, None, Platform.IOS)
    return Pipeline(Platform.IOS, "native", named, selection, att_status=att_status)


LIMITED = event_batch(device_info={"android_advertising_id": GAID, "limit_ad_tracking": True}, customer_id="c")


async def test_neither_transforms_nor_destinations_see_a_withheld_id() -> None:
    transform = PutsBack()
    records, _ = await pipeline(transform).prepare([stored_batch(LIMITED)])
    assert [device.android_advertising_id for device in transform.seen] == [None, None]
    assert len(records) == 2
    assert GAID not in msgspec.json.encode(records).decode()
    assert all(record.context.body == b"" for record in records)  # the received bytes hold the id


async def test_the_received_bytes_stay_where_nothing_is_withheld() -> None:
    body = event_batch(device_info={"ios_advertising_id": IDFA})
    (record,), _ = await pipeline().prepare([stored_batch(body)])
    assert record.context.body == body
    (record,), _ = await pipeline(att_status=DENIED).prepare([stored_batch(body)])
    assert record.context.body == b""
    assert record.batch.device_info is not None
    assert record.batch.device_info.ios_advertising_id is None


@given(device=st.fixed_dictionaries({}, optional={
    **{name: st.sampled_from([IDFA, GAID, ZEROS, "", 7]) for name in ADVERTISING_IDS},
    "limit_ad_tracking": st.sampled_from([True, False, "true", "false", 0, 1, None]),
    "att_authorization_status": st.sampled_from([*AttStatus, "AUTHORIZED", "odd", None, 3]),
}), default=st.sampled_from([None, *AttStatus]))  # fmt: skip
def test_no_id_of_a_user_who_limits_tracking_is_kept(device: dict[str, Any], default: AttStatus | None) -> None:
    lawful = without_withheld_ids(EventBatch(device_info=DeviceInfo(**device)), default)
    assert lawful.device_info is not None
    kept = {name for name in ADVERTISING_IDS if getattr(lawful.device_info, name) is not None}
    if device.get("limit_ad_tracking") in (True, "true", 1):
        assert kept <= {"ios_advertising_id"}
    status = device.get("att_authorization_status") or default
    if status is not None and str(status).lower() != "authorized":
        assert "ios_advertising_id" not in kept
    assert ZEROS not in {getattr(lawful.device_info, name) for name in kept}
