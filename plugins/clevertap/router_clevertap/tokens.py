"""Push registrations → device tokens (official documentation, "Upload Device Tokens").

A token hangs on the CleverTap ID of a device on which the app runs CleverTap's SDK; a derived id will not do. Its kind
must fit the kind of the id (code 534). CleverTap has no call that takes a token back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from router_core.events import PushRegistration


class NoToken(NamedTuple):
    """Why a push registration is not sent: a code and a sentence."""

    code: str
    message: str


def token_of(event: PushRegistration, device: str) -> dict[str, Any] | NoToken:
    """The token record of a push registration; `device` is the CleverTap ID in the batch, empty if it has none."""
    if event.register in (False, "false", "False", 0):
        return NoToken("token_stays", "CleverTap has no call that takes a push token back.")
    if not isinstance(event.registration_token, str) or not event.registration_token.strip():
        return NoToken("nothing_to_say", "The push registration has no token.")
    if not device:
        return NoToken("no_clevertap_id", "A push token needs the CleverTap ID of its device in the batch.")
    kind = "fcm" if device.startswith("__") else "apns" if device.startswith("-") else ""
    if not kind:
        return NoToken("web_token", "A web push token needs keys, which a push registration does not have.")
    return {"type": "token", "objectId": device, "tokenData": {"id": event.registration_token.strip(), "type": kind}}
