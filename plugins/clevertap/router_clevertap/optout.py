"""Opt-outs → switches of the profile. CleverTap has no opt-out in its API.

`MSG-… = false` means: send this person nothing there (official documentation). An opt-in switches nothing on: the
person may have left a channel by other means.

Where a connection suppresses, nothing more of the user is sent once the opt-out was seen, also not what waits for a
retry, until an opt-in.
"""

from __future__ import annotations

from typing import Any, Final

from router_core.events import OptOut

_CHANNELS: Final = ("MSG-email", "MSG-push", "MSG-sms", "MSG-whatsapp")


def opted_out(event: OptOut) -> bool:
    """Whether the event is an opt-out; without a word it is an opt-in (mParticle's documentation)."""
    return event.is_opted_out in (True, "true", "True")


def unsubscribed() -> dict[str, Any]:
    """`profileData` of a person who gets no more messages."""
    return dict.fromkeys(_CHANNELS, False)
