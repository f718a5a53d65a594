"""Event names and property keys in the form that CleverTap takes.

Forbidden characters are taken out; restricted names get a prefix, so that nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

MAX_EVENT_NAME_CHARS: Final = 512  # CleverTap Android SDK source; the Apple SDK allows 1024
MAX_KEY_BYTES: Final = 120  # official documentation, "Platform considerations"
RESTRICTED_PREFIX: Final = "mP "
OWN_PREFIXES: Final = ("wzrk_", "ct ")  # CleverTap's own fields in SDK traffic and exports, in lower case
CHARGED: Final = "Charged"
_FORBIDDEN: Final = "%><!|&.:;$'\"\\"  # official documentation; what the API does with them is not written
_IN_NAMES: Final = str.maketrans("", "", _FORBIDDEN)
_IN_PROFILE_KEYS: Final = str.maketrans("", "", _FORBIDDEN + "#")

RESTRICTED_EVENT_NAMES: Final = (
    # Official documentation, "Upload Events": restricted system events.
    *("Notification Sent", "Notification Viewed", "Notification Clicked", "Notification Delivered"),
    *("Notification Replied", "UTM Visited", "App Launched", "App Uninstalled", "App Version Changed", "Stayed"),
    *("Reply Sent", "Experiment Rendered", "Reachable By", "Identity Reset", "Identity Set", "Identity Error"),
    # CleverTap Android, Apple and Web SDK source.
    *("Notification Bounced", "wzrk_d", "wzrk_fetch", "Geocluster Entered", "Geocluster Exited", "SCOutgoing"),
    *("SCIncoming", "SCEnd", "SCCampaignOptOut"),
    # Recorded answer of 2024: code 513.
    "Web Page Viewed",
    # Official documentation lists these as system events without saying that they are refused.
    *("App Installed", "Push Impressions", "State Transitioned", "Session Concluded", "Channel Unsubscribed"),
)


class CleanName(NamedTuple):
    """A name as it is sent."""

    text: str
    """Empty: it cannot be sent."""
    compared: str
    """The form in which CleverTap compares names."""
    note: str = ""
    """Code of what was changed; empty if nothing was."""


def compared(name: str) -> str:
    """The form in which CleverTap compares names: no whitespace, lower case (Android SDK source, its normaliser)."""
    return "".join(name.split()).lower()


_CHARGED: Final = compared(CHARGED)
_RESTRICTED: Final = frozenset(compared(name) for name in RESTRICTED_EVENT_NAMES)


def clean_event_name(raw: str) -> CleanName:
    """An event name of at most 512 characters that CleverTap does not keep for itself."""
    text = _without(raw, _IN_NAMES)
    if compared(text) == _CHARGED:  # another spelling would be an event beside it, without revenue
        return CleanName(CHARGED, _CHARGED, "name_changed" if raw != CHARGED else "")
    if compared(text) in _RESTRICTED or text.lower().startswith(OWN_PREFIXES):
        renamed = (RESTRICTED_PREFIX + text)[:MAX_EVENT_NAME_CHARS].rstrip()
        return CleanName(renamed, compared(renamed), "restricted_name")
    text = text[:MAX_EVENT_NAME_CHARS].rstrip()
    return CleanName(text, compared(text), "name_changed" if text != raw else "")


def clean_key(raw: str) -> CleanName:
    """A key of an event's properties."""
    return _clean_key(raw, _without(raw, _IN_NAMES))


def clean_profile_key(raw: str) -> CleanName:
    """A key of a profile's own properties; one leading `$` of mParticle's reserved names falls away."""
    return _clean_key(raw, _without(raw, _IN_PROFILE_KEYS))


def _clean_key(raw: str, text: str) -> CleanName:
    text = cut(text, MAX_KEY_BYTES).rstrip()
    if text.lower().startswith(OWN_PREFIXES) or not text:
        return CleanName("", "", "reserved_key" if text else "bad_key")
    return CleanName(text, compared(text), "key_changed" if text != raw else "")


def _without(raw: str, forbidden: dict[int, int | None]) -> str:
    text = raw.translate(forbidden)
    return raw.strip() if text == raw else " ".join(text.split())  # "A & B" becomes "A B"


def cut(text: str, max_bytes: int) -> str:
    """The longest start of the text that fits into `max_bytes` of UTF-8 and ends on a whole character."""
    if len(text) * 4 <= max_bytes:
        return text
    encoded = text.encode()
    return text if len(encoded) <= max_bytes else encoded[:max_bytes].decode(errors="ignore")


class Remembered(dict[str, CleanName]):
    """Cleaned names by raw name. A stream has few of them; if it has many, all are forgotten now and then."""

    def __init__(self, clean: Callable[[str], CleanName], capacity: int = 4096) -> None:
        super().__init__()
        self._clean = clean
        self._capacity = capacity

    def __missing__(self, raw: str) -> CleanName:
        name = self._clean(raw)
        if len(raw) > MAX_EVENT_NAME_CHARS:
            return name  # the capacity bounds memory only if names are short
        if len(self) >= self._capacity:
            self.clear()
        self[raw] = name
        return name
