"""docs/clevertap-mapping.md says what the mapping does: each example is run, each code explained.

An example is two blocks of JSON, a batch and what becomes of it. Three short forms keep them readable:
`<600 × é>` is a text, `k1 … k103` as a key is 103 keys, and in a list 103 items.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from router_clevertap.destination import CLEVERTAP
from router_clevertap.mapping import RecordMapper
from router_clevertap.names import RESTRICTED_EVENT_NAMES
from router_clevertap.notes import CODES
from router_clevertap.plan import plan_of
from router_clevertap.sandbox import SandboxSettings, damage_of
from router_clevertap.sandbox.record_checks import record_refusal
from router_clevertap.settings import ClevertapConnection

from router_core.events import Platform, batch_from_json
from router_core.records import BatchContext, records_from_batch
from router_core.selection import Selection

PAGE = (Path(__file__).parents[3] / "docs" / "clevertap-mapping.md").read_text()
_EXAMPLE = re.compile(
    r"(?:^With `(?P<settings>\{.*?\})`(?P<sdk>, from an SDK)?:\n\n|^(?P<only_sdk>From an SDK):\n\n)?"
    r"^```json\n(?P<before>.*?)\n```\n\n^```json\n(?P<after>.*?)\n```$",
    re.MULTILINE | re.DOTALL,
)
NOBODY_ELSE = {"user_identities": {"customer_id": "c-1"}}
"""Whose batch an example is, unless it says so itself."""
_TIMES = re.compile(r"<(\d+) × (.+?)>")
_RANGE = re.compile(r"([^\d…]*)(\d+) … \1(\d+)")


class Example(NamedTuple):
    """One example: the line it stands at, the connection's settings, the batch and what the page says of it."""

    line: int
    settings: dict[str, Any]
    channel: str
    batch: dict[str, Any]
    after: dict[str, Any]


def examples(page: str) -> Iterator[Example]:
    """All examples of the page."""
    for found in _EXAMPLE.finditer(page):
        sdk = found["sdk"] or found["only_sdk"]
        yield Example(
            page.count("\n", 0, found.start("before")),
            json.loads(found["settings"] or "{}"),
            "javascript" if sdk else "server_to_server",
            NOBODY_ELSE | expanded(json.loads(found["before"])),
            expanded(json.loads(found["after"])),
        )


def expanded(value: Any) -> Any:
    """The value with its short forms written out."""
    if isinstance(value, str):
        return _TIMES.sub(lambda found: int(found[1]) * found[2], value)
    if isinstance(value, dict):
        return {name: expanded(one) for key, one in value.items() for name in _names(key)}
    if isinstance(value, list):
        return [one for item in value for one in _items(item)]
    return value


def _names(text: str) -> list[str]:
    found = _RANGE.fullmatch(text)
    return [f"{found[1]}{n}" for n in range(int(found[2]), int(found[3]) + 1)] if found else [str(expanded(text))]


def _items(item: Any) -> list[Any]:
    if isinstance(item, str):
        return _names(item)
    if isinstance(item, dict):
        for key, value in item.items():
            if isinstance(value, str) and _RANGE.fullmatch(value):
                return [expanded(item | {key: name}) for name in _names(value)]
    return [expanded(item)]


def what_becomes_of(example: Example) -> dict[str, Any]:
    """`sent`: the records of the upload; `notes`: code and key; `not_sent`: codes, by kind of record."""
    connection = ClevertapConnection(**example.settings)
    context = BatchContext(
        seq=1,
        input="shop",
        platform=Platform.DATA_FEEDS,
        channel=example.channel,
        received_at_ms=1_700_000_100_000,
    )
    records, malformed = records_from_batch(batch_from_json(json.dumps(example.batch).encode()), context)
    if example.batch.keys() <= {"user_identities", "events"} and example.batch.get("events"):
        # Nearly every example has this profile update, and it says nothing.
        records = [record for record in records if record.event is not None or len(record.batch.identities) != 1]
    chosen, skipped = Selection(CLEVERTAP, connection, context.platform)(records)
    plan = plan_of(chosen, RecordMapper(connection), 1000)
    types = {record.id: record.event_type for record in records}
    unsent = [f"{types[one.record_id]}: {one.code}" for one in (*malformed, *skipped, *plan.settled)]
    unsent += [f"{types[id]}: same_profile" for id, following in plan.followers.items() if not following.has_own]
    found = {
        "sent": [item for call in plan.calls for item in call.items],
        "notes": [f"{note.code}: {note.key}" for _, note in plan.notes],
        "not_sent": unsent,
    }
    return {name: value for name, value in found.items() if value}


def is_taken(item: dict[str, Any]) -> bool:
    """Whether the strict sandbox takes the item and sees no damage, but for dates that a setting leaves text."""
    damages = {damage.code for damage in damage_of(item)} - {"date_as_text"}
    return record_refusal(json.loads(json.dumps(item)), SandboxSettings()) is None and not damages


EXAMPLES = list(examples(PAGE))


@pytest.mark.parametrize("example", [pytest.param(one, id=f"line {one.line}") for one in EXAMPLES])
def test_an_example_is_what_happens(example: Example) -> None:
    found = what_becomes_of(example)
    sent = found.pop("sent", [])
    told = dict(example.after)
    told_of_sent = told.pop("sent", [])
    assert len(sent) == len(told_of_sent)
    assert [{key: item.get(key) for key in told} for item, told in zip(sent, told_of_sent, strict=True)] == told_of_sent
    assert found == told
    assert all(is_taken(item) for item in sent)


def test_every_block_of_json_belongs_to_an_example() -> None:
    assert PAGE.count("```json") == 2 * len(EXAMPLES) > 100


def test_every_code_is_explained_and_has_an_example() -> None:
    for code, meaning in CODES.items():
        assert f"| `{code}` | {meaning} |" in PAGE, code
    shown = {note.partition(":")[0] for example in EXAMPLES for note in example.after.get("notes", [])}
    assert shown == CODES.keys()


def test_every_restricted_name_is_listed() -> None:
    assert all(f"`{name}`" in PAGE for name in RESTRICTED_EVENT_NAMES)


def test_every_setting_of_the_mapping_has_an_example() -> None:
    used = {name for example in EXAMPLES for name in example.settings}
    assert used == ClevertapConnection.model_fields.keys() - {"forward_web_requests_server_side"}
