"""CleverTap for Router Core: a destination for its upload API, and a sandbox of that API.

To read it, in this order; each module needs only those before it:

- what can be set: `choices`, `regions`, `settings`
- one name, one value: `notes`, `names`, `dates`, `values`, `phones`, `fields`
- one record: `device`, `identity`, `times`; events: `properties`, `commerce_details`, `charged`, `commerce`; profiles:
  `profile_keys`, `draft`, `profile`, `linking`; what kits forward: `tokens`, `optout`; all of it together: `mapping`
- one delivery: `news`, `plan`, `client`, `refusals`, `marks`, `destination`
- the door: `plugin`; the stand-in for CleverTap: `sandbox`
"""

__version__ = "0.1.0"
