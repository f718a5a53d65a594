"""Who is suppressed: the person who was asked for, that person's other ids, and nobody else."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router_core.components import SourceInput
from router_core.erasurefile import opened
from router_core.errors import LogDamaged
from router_core.events import Platform, batch_from_json
from router_core.filters import Filtering, Filters
from router_core.intake import CoreIntake
from router_core.log.memory import MemoryLog
from router_core.records import BatchContext, records_from_batch
from router_core.suppression import Suppression, holds_any
from router_core.telemetry import Telemetry
from router_core.testing import stored_batch

from .people import ask, batch, erasure_of, suppression_of


def found(folder: Path, **identities: list[str]) -> None:
    with opened(folder) as file:
        file.collected(erasure_of(folder), {name.replace("__", ":"): values for name, values in identities.items()})


def test_without_an_erasure_there_is_no_file_and_nobody_is_suppressed(tmp_path: Path) -> None:
    suppression = suppression_of(tmp_path)
    assert not suppression.active
    assert not suppression.covers_body(batch("c-1"))
    assert list(tmp_path.iterdir()) == []


def test_a_requested_identity_is_suppressed_in_every_spelling_and_others_are_not(tmp_path: Path) -> None:
    ask(tmp_path, ("customerId", "c-1"), ("email", "A@b.c"))
    suppression = suppression_of(tmp_path)
    email = {"email": "a@B.c"}
    for body in (batch("c-1"), batch(user_identities={"customerid": "c-1"}), batch(mpid=5, user_identities=email)):
        assert suppression.covers_body(body)
    other = {"other": "c-1"}
    for body in (batch("c-2"), batch("C-1"), batch(user_identities=other), batch(mp_deviceid="c-1"), b"{", b""):
        assert not suppression.covers_body(body)


def test_an_identity_that_is_given_up_in_an_event_counts_too(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    change = {
        "event_type": "user_identity_change",
        "data": {"old": {"identity_type": "customer_id", "identity": "c-1"}},
    }
    body = orjson.dumps({"user_identities": {"customer_id": "c-9"}, "events": [change]})
    assert suppression_of(tmp_path).covers_body(body)


def test_ids_that_were_found_count_where_they_cannot_be_somebody_elses(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    found(tmp_path, email=["a@b.c"], mpid=["17"], mp_deviceid=["D-1"], integration__135__k=["__g"], ios_idfv=["V"])
    suppression = suppression_of(tmp_path)
    for body in (
        batch(user_identities={"email": "a@b.c"}),
        batch(mpid=17),
        batch(mp_deviceid="d1"),
        batch(integration_attributes={"135": {"k": "__g"}}),
        batch(device_info={"ios_idfv": "v"}),  # a partner may have had a profile of it
    ):
        assert suppression.covers_body(body)
    for body in (
        batch("c-2", mpid=17),  # a number that some clients round
        batch("c-2", mp_deviceid="D-1", integration_attributes={"135": {"k": "__g"}}),
        batch(user_identities={"email": "x@y.z"}, mp_deviceid="D-1"),
        batch("c-2", device_info={"ios_idfv": "V"}),
    ):
        assert not suppression.covers_body(body)


def test_a_filter_of_identities_does_not_make_somebody_else_the_erased_person(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    found(tmp_path, email=["a@b.c"], mp_deviceid=["D-1"])
    suppression = suppression_of(tmp_path)
    somebody = {"customer_id": "c-2", "email": "a@b.c"}  # of the same family, and on the same device
    bodies = [
        batch(user_identities=somebody, mp_deviceid="D-1"),
        batch("c-2", mp_deviceid="D-1"),
        batch(mp_deviceid="D-1"),  # nobody knows of whom, so it may be of the erased person
        batch("c-1"),
    ]
    for block in ([], ["customer_id"], ["customer_id", "email"]):
        filters = Filtering(Filters.model_validate({"user_identities": {"block": block}}), "filters")
        batches = {seq: stored_batch(body, seq=seq) for seq, body in enumerate(bodies, 1)}
        context = BatchContext(seq=0, input="shop", platform=Platform.DATA_FEEDS)
        records = [
            record
            for seq, body in enumerate(bodies, 1)
            for record in records_from_batch(batch_from_json(body), replace(context, seq=seq, body=body))[0]
        ]
        filtered, _ = filters(records)
        covered = suppression.suppressed_of(filtered, batches)
        assert {record.context.seq for record in filtered if record.id in covered} == {3, 4}
    suppression.close()


def test_a_process_notices_what_another_has_stored(tmp_path: Path) -> None:
    suppression = suppression_of(tmp_path)
    ask(tmp_path, ("customer_id", "c-1"))
    suppression.refresh()
    version = suppression.version
    assert suppression.covers_body(batch("c-1"))
    suppression.refresh()
    assert suppression.version == version
    ask(tmp_path, ("customer_id", "c-2"), id="22222222-2222-4222-8222-222222222222")
    suppression.refresh()
    assert suppression.covers_body(batch("c-2"))
    assert suppression.version > version
    with opened(tmp_path) as file:
        file.cancel("22222222-2222-4222-8222-222222222222")
    suppression.refresh()
    assert not suppression.covers_body(batch("c-2"))
    assert suppression.covers_body(batch("c-1"))
    suppression.close()


def test_a_broken_file_stops_the_start_and_not_a_running_router(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    running = suppression_of(tmp_path)
    running.close()
    for name in ("erasures.db-wal", "erasures.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "erasures.db").write_bytes(b"broken" * 2000)
    running.refresh()
    assert running.covers_body(batch("c-1"))
    with pytest.raises(LogDamaged, match=r"erasures\.db .*is damaged.*backup"):
        Suppression(tmp_path / "erasures.db").open()


async def test_intake_acknowledges_and_does_not_keep(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    log, telemetry = MemoryLog(), Telemetry()
    await log.open(["shop"], {})
    intake = CoreIntake(log, telemetry, suppression_of(tmp_path))
    source = SourceInput(name="shop", platform=Platform.DATA_FEEDS, key=None, secret=None, settings=None)
    answers = await intake.accept(source, [batch("c-1"), batch("c-2"), b"{", batch("c-1", source_request_id="r")])
    assert [(a.suppressed, a.duplicate, a.error is None) for a in answers] == [
        (True, False, True), (False, False, True), (False, False, False), (True, False, True),
    ]  # fmt: skip
    assert [row.body for row in log.after(0)] == [batch("c-2")]
    assert telemetry.value("suppressed_batches", input="shop") == 2
    assert telemetry.value("accepted_batches", input="shop") == 1
    assert telemetry.value("invalid_batches", input="shop") == 1
    await intake.accept(source, [batch("c-1")])
    assert telemetry.value("suppressed_batches", input="shop") == 3


def test_what_is_no_json_is_searched_for_the_value_itself() -> None:
    holds = holds_any(["Zoé-77", "ab"])
    assert holds('{"x": "zoé-77'.encode())
    assert holds(b'{"x": "Zo\\u00E9-77')
    assert not holds(b"ab")


def test_asking_is_cheap_where_nobody_is_suppressed() -> None:
    suppression, body = Suppression(), batch("c-1", events=20)
    started = time.perf_counter()
    for _ in range(10_000):
        suppression.covers_body(body)
    assert time.perf_counter() - started < 0.1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([f"c-{n}" for n in range(6)]), min_size=1, max_size=4, unique=True), st.data())
def test_exactly_those_are_suppressed_whose_erasures_are_not_lifted(
    tmp_path_factory: pytest.TempPathFactory, people: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("data")
    suppression, wanted = suppression_of(folder), set()
    for number, person in enumerate(people):
        id = f"11111111-1111-4111-8111-{number:012d}"
        ask(folder, ("customer_id", person), id=id)
        wanted.add(person)
        if data.draw(st.booleans()):
            with opened(folder) as file:
                file.cancel(id)
            wanted.remove(person)
        suppression.refresh()
        assert {f"c-{n}" for n in range(6) if suppression.covers_body(batch(f"c-{n}"))} == wanted
    suppression.close()


def test_a_file_that_cannot_be_read_leaves_the_set_as_it_was(tmp_path: Path) -> None:
    ask(tmp_path, ("customer_id", "c-1"))
    gone = "22222222-2222-4222-8222-222222222222"
    ask(tmp_path, ("customer_id", "c-2"), id=gone)
    suppression = suppression_of(tmp_path)
    with opened(tmp_path) as file:
        file.cancel(gone)  # from now on the whole set is to be read anew
    real = suppression._connection

    class Failing:
        def execute(self, statement: str, *arguments: Any) -> object:
            if "FROM suppressed" in statement:
                raise sqlite3.OperationalError("disk I/O error")
            assert real is not None
            return real.execute(statement, *arguments)

    suppression._connection = Failing()  # type: ignore[assignment]
    assert not suppression.refresh()
    assert suppression.active
    assert suppression.covers_body(batch("c-1"))
    suppression._connection = real
    assert suppression.refresh()
    assert suppression.covers_body(batch("c-1"))
    assert not suppression.covers_body(batch("c-2"))
