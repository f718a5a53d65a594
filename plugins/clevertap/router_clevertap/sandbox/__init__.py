"""A local stand-in for CleverTap's upload API, for people and tests without a CleverTap account.

`router clevertap sandbox` runs it; `SandboxServer` runs it for a test. It is strict: where the real service
is known it does the same, down to the texts; where it is not known, it refuses.
"""

from router_clevertap.sandbox.damage import Damage
from router_clevertap.sandbox.damage_checks import damage_of
from router_clevertap.sandbox.faults import Fault, Partial
from router_clevertap.sandbox.server import SandboxServer
from router_clevertap.sandbox.settings import DEMO_ACCOUNT, DEMO_PASSCODE, SandboxSettings

__all__ = [
    "DEMO_ACCOUNT",
    "DEMO_PASSCODE",
    "Damage",
    "Fault",
    "Partial",
    "SandboxServer",
    "SandboxSettings",
    "damage_of",
]
