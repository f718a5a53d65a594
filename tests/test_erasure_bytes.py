"""However a sender writes an erased person's id, no byte of it stays in the data folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_core.erasure import Status
from router_core.events import IDENTITY_ALIASES
from router_core.identifiers import spelled
from router_core.intake import envelope_of
from router_core.log.embedded import EmbeddedLog
from router_core.log.port import PARTITIONS, NewBatch, Settlement
from router_core.testing.log_contract import dead_letter, held_record, read_all

from .people import ask, batch
from .test_eraser import bench
from .test_identifiers import escaped

LOOKS = ("arrived", "held", "parked", "delivered")
VALUES = st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=12)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Type, value, and a batch in which the value stands under one of the type's spellings, escaped here and there."""
    alias = draw(st.sampled_from(sorted(IDENTITY_ALIASES)))
    kind = IDENTITY_ALIASES[alias].value
    number = draw(st.integers(10**9, 10**12))
    value = f"{number}{draw(VALUES)}"
    choice = draw(st.lists(st.booleans(), max_size=7))
    text = str(number) if draw(st.booleans()) and value == str(number) else escaped(value, choice)
    rest = json.dumps({"mpid": number + 1, "user_attributes": {"said": value}, "events": []})[1:]
    return kind, value, f'{{"user_identities": {{{escaped(alias, choice)}: {text}}}, {rest}'.encode()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=st.lists(st.tuples(written(), st.sampled_from(LOOKS)), min_size=1, max_size=6))
def test_no_byte_stays_however_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, people: list[tuple[tuple[str, str, bytes], str]]
) -> None:
    asyncio.run(check(tmp_path_factory.mktemp("data"), people))


async def check(folder: Path, people: list[tuple[tuple[str, str, bytes], str]]) -> None:
    log = EmbeddedLog(folder)
    await log.open(["shop"], {"main": "shop"})
    bodies = [body for (_, _, body), _ in people]
    await log.append([NewBatch("shop", envelope_of(body).user, 1, body) for body in [*bodies, batch("bob")]])
    lease = log.lease("main", range(PARTITIONS))
    ends = dict(zip(bodies, (look for _, look in people), strict=True))
    rows = [row for row in await read_all(lease) if ends.get(row.body, "arrived") != "arrived"]
    letters = [(dead_letter(row, "main"), row) for row in rows if ends[row.body] == "parked"]
    held = [held_record(row) for row in rows if ends[row.body] == "held"]
    await lease.settle(Settlement(letters=letters, held=held))
    for number, (kind, value, _) in enumerate({(k, spelled(k, v)): (k, v, b) for (k, v, b), _ in people}.values()):
        ask(folder, (kind, value), id=f"11111111-1111-4111-8111-{number:012d}")
    async with bench(folder, log=log) as it:
        for _ in range(6):
            it.clock.advance(2.5)
            await it.eraser.step()
        assert it.eraser._opened.unfinished() == []
        assert {one.status for one in it.eraser._opened.listing()} == {Status.COMPLETED}
    await log.close()
    _require_nothing_of(folder, [value for (_, value, _), _ in people], bodies)


def _require_nothing_of(folder: Path, values: list[str], bodies: list[bytes]) -> None:
    content = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(b"bob" in data for data in content.values())
    for value, body in zip(values, bodies, strict=True):
        forms = {value.encode(), json.dumps(value)[1:-1].encode(), body, body[20:]}
        assert not [(name, form) for name, data in content.items() for form in forms if form in data]
