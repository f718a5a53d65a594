"""The kit for tests of plugins, and of the router itself: builders, clocks, a destination that follows a script.

Nothing here opens a socket or sleeps. `in_virtual_time` runs a whole test on a clock that only goes on while nothing
else happens, so an hour of back-off passes in microseconds and in the right order.
"""

from router_core.testing.bench import Bench, new_batch
from router_core.testing.builders import (
    custom_event,
    event_batch,
    record,
    records_of,
    stored_batch,
    user_of_partition,
)
from router_core.testing.clock import FakeClock
from router_core.testing.configtests import ConfigTest, config_tests
from router_core.testing.scripted import Answer, Call, ScriptedDestination
from router_core.testing.virtual import EPOCH, VirtualClock, VirtualTimeLoop, in_virtual_time, run_in_virtual_time

__all__ = [
    "EPOCH",
    "Answer",
    "Bench",
    "Call",
    "ConfigTest",
    "FakeClock",
    "ScriptedDestination",
    "VirtualClock",
    "VirtualTimeLoop",
    "config_tests",
    "custom_event",
    "event_batch",
    "in_virtual_time",
    "new_batch",
    "record",
    "records_of",
    "run_in_virtual_time",
    "stored_batch",
    "user_of_partition",
]
