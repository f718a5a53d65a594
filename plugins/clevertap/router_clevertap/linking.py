"""Anonymous to known: one record that gives a device's CleverTap profile the identity of the person who logged in.

A CleverTap ID is linked once, to the first person who is seen with it. mParticle's Apple kit tells the id that it had
when the app started, which stays there when another person logs in; linked again, CleverTap would merge the two people
(official user documentation, "How profiles merge").
"""

from __future__ import annotations

from typing import Any


def link(device: str, person: str) -> dict[str, Any]:
    """The linking record: root `objectId`, and the identity inside."""
    return {"type": "profile", "objectId": device, "profileData": {"identity": person}}
