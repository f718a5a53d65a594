"""CleverTap's regions and their API hosts.

Hosts: official documentation, "Common API Components". `sk1` is a legacy region in CleverTap's Java SDK.
The API without a region is Europe's; the dashboard shows European projects as `global`.
"""

from __future__ import annotations

import re
from typing import Final

DEFAULT_HOST: Final = "api.clevertap.com"
REGIONS: Final = ("eu1", "in1", "sg1", "us1", "aps3", "mec1", "sk1")
_ALIASES: Final = {"none": "", "default": "", "global": "", "eu": "eu1"}
_SHAPE: Final = re.compile(r"[a-z]{2,5}[0-9]{1,2}")


def region_from_text(text: str) -> str:
    """The region code in `text`, lower-case; empty for the default region.

    Raises ValueError with the known codes unless the text is a known word or looks like a region code: the region
    becomes part of a host name. The text itself is not repeated, as it may be a secret in the wrong field.
    """
    region = text.strip().lower()
    region = _ALIASES.get(region, region)
    if region and not _SHAPE.fullmatch(region):
        known = ", ".join(REGIONS)
        raise ValueError(f"This is no CleverTap region. Use one of {known}, or leave it empty for the default (eu1).")
    return region


def host_of(region: str) -> str:
    """The API host of a region code, for all that `region_from_text` lets through."""
    return DEFAULT_HOST if region in ("", "eu1") else f"{region}.{DEFAULT_HOST}"


def is_known(region: str) -> bool:
    """Whether the region is in CleverTap's documentation or SDKs; a new one is worth a warning."""
    return region == "" or region in REGIONS
