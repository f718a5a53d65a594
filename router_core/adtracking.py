"""Advertising ids that a user has not agreed to, taken out before any destination sees them.

| id | kept if |
|---|---|
| `ios_advertising_id` | its ATT status is `authorized`; without a status, unless `limit_ad_tracking` |
| the others | unless `limit_ad_tracking` |

An id of zeros counts as none. Ids that are not for advertising (`ios_idfv`, `android_uuid`) stay.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from router_core.events import DeviceInfo, EventBatch

IDFA: Final = "ios_advertising_id"
ADVERTISING_IDS: Final = (
    IDFA, "android_advertising_id", "google_advertising_id", "fire_advertising_id", "roku_advertising_id",
    "microsoft_advertising_id",
)  # fmt: skip


_IDS: Final = attrgetter(*ADVERTISING_IDS)
_NONE: Final = (None,) * len(ADVERTISING_IDS)


class AttStatus(StrEnum):
    """Answers of App Tracking Transparency."""

    AUTHORIZED = "authorized"
    DENIED = "denied"
    NOT_DETERMINED = "not_determined"
    RESTRICTED = "restricted"


def withheld_ids(device: DeviceInfo, default_att: AttStatus | None = None) -> Mapping[str, str]:
    """Each advertising id that must not be used, with the reason. `default_att` stands in where the batch has none."""
    withheld: dict[str, str] = {}
    for name, value in zip(ADVERTISING_IDS, _IDS(device), strict=True):
        if value is None:
            continue
        if not str(value).strip(" 0-"):
            withheld[name] = "it is all zeros"
        elif name == IDFA and (status := _att(device) or default_att) is not None:
            if status != AttStatus.AUTHORIZED:
                source = "att_authorization_status" if _att(device) else "the input's att_status"
                withheld[name] = f"{source} is not authorized"
        elif _is_true(device.limit_ad_tracking):
            withheld[name] = "limit_ad_tracking is on"
    return withheld


def _att(device: DeviceInfo) -> str | None:
    status = device.att_authorization_status
    return None if status is None or status == "" else str(status).strip().lower()


def _is_true(value: Any) -> bool:
    return value is True or (not isinstance(value, bool) and str(value).strip().lower() in ("true", "1"))


def without_withheld_ids(batch: EventBatch, default_att: AttStatus | None = None) -> EventBatch:
    """The batch without the ids that must not be used; the same one if there is none."""
    if batch.device_info is None or _IDS(batch.device_info) == _NONE:
        return batch
    if not (withheld := withheld_ids(batch.device_info, default_att)):
        return batch
    device = copy.copy(batch.device_info)
    for name in withheld:
        setattr(device, name, None)
    cleared = copy.copy(batch)
    cleared.device_info = device
    return cleared
