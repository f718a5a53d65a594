"""CleverTap IDs of devices: the one that mParticle's kit left in the batch, or one derived from the device's ids.

A wrong `objectId` makes a ghost profile and never an error (official documentation), so only ids in a form that
CleverTap's SDKs make count (source of the Android, Apple and Web SDKs; official documentation, "Set CleverTap ID").
"""

from __future__ import annotations

import re
from typing import Any, Final

from router_clevertap.notes import NONE, Note, Notes
from router_core.events import DeviceInfo, EventBatch

MODULE: Final = 135
"""mParticle's number for CleverTap (mParticle Apple kit source)."""
CLEVERTAP_ID: Final = "clevertap_id_integration_setting"
_CUSTOM: Final = "[=|<>;+.A-Za-z0-9()!:$@_-]{1,64}"
_SDK_FORMS: Final = re.compile(
    f"__[gi]?[0-9a-f]{{32}}|__h{_CUSTOM}|-[vgi]?[0-9a-f]{{32}}|-h{_CUSTOM}|[0-9A-Za-z]{{32}}|_w_[a-z0-9()!:@$_-]{{1,64}}"
)
_BLANK: Final = re.compile("0{16}|__g[0-9a-f]*0{8}")  # ad tracking is limited; all such devices would be one
_UUID: Final = re.compile("[0-9a-f]{32}")
_ANDROID_ID: Final = re.compile("[0-9a-f]{16}")


def given_clevertap_id(batch: EventBatch) -> tuple[str, Notes]:
    """The CleverTap ID in the batch's integration attributes; empty if there is none that can be right."""
    value = ((batch.integration_attributes or {}).get(str(MODULE)) or {}).get(CLEVERTAP_ID)
    if value is None or value == "":
        return "", NONE
    if isinstance(value, str) and _SDK_FORMS.fullmatch(value) and not _BLANK.search(value):
        return value, NONE
    return "", (Note("bad_clevertap_id", CLEVERTAP_ID),)


def derived_clevertap_id(batch: EventBatch) -> str:
    """The id that CleverTap's SDK would give to the first user of an install; empty if no device id tells.

    Apple: the vendor id, else the advertising id (only SDKs of 2020 and before used it). Android: the advertising id;
    else `__h` and the Android ID, which is an id of its own unless the app sets it as its custom CleverTap ID.
    Advertising ids count only where the user allows tracking.
    """
    device = batch.device_info
    if device is None:
        return ""
    allowed = _allows_tracking(device)
    candidates = (
        ("-v", device.ios_idfv, _UUID, True),
        (
            "__g",
            device.android_advertising_id or device.google_advertising_id,
            _UUID,
            device.limit_ad_tracking is not True,
        ),
        ("-g", device.ios_advertising_id, _UUID, allowed),
        ("__h", device.android_uuid, _ANDROID_ID, True),
    )
    for prefix, raw, form, may_be_used in candidates:
        plain = _plain(raw)
        found = f"{prefix}{plain}"
        if may_be_used and form.fullmatch(plain) and plain.strip("0") and not _BLANK.search(found):
            return found
    return ""


def _allows_tracking(device: DeviceInfo) -> bool:
    """Apple's answer decides; without one, the older switch does (mParticle's documentation of its Facebook output)."""
    if device.att_authorization_status in (None, ""):
        return device.limit_ad_tracking is not True
    return device.att_authorization_status == "authorized"


def _plain(value: Any) -> str:
    return value.strip().strip("{}").replace("-", "").lower() if isinstance(value, str) else ""
