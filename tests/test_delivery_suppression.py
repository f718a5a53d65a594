"""Delivery and people who are to be forgotten: nothing of them is called, held or parked from the instant on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import orjson

from router_core.components import DestinationType, Limits, Transform, Transformed
from router_core.erasurefile import opened
from router_core.errors import InvalidCredentials, Unavailable
from router_core.events import Platform
from router_core.filters import Filtering, Filters
from router_core.outcomes import Outcome
from router_core.pipeline import Pipeline
from router_core.records import Record
from router_core.selection import Selection
from router_core.testing import Bench, ScriptedDestination, in_virtual_time

from .people import ask, batch, erasure_of, suppression_of


def users_of(partner: ScriptedDestination) -> list[set[str]]:
    """The customers in each call."""
    return [{record.batch.user_identities["customer_id"] for record in call.records} for call in partner.calls]  # type: ignore[index]


async def forget(bench: Bench, folder: Path, customer: str) -> None:
    """What a request does in the delivering process, half a second later."""
    ask(folder, ("customer_id", customer))
    bench.connection.suppression.refresh()


def skipped(bench: Bench) -> float:
    return bench.telemetry.value("skipped_records", connection="connection", code="suppressed")


@in_virtual_time
async def test_what_arrives_of_a_suppressed_user_is_skipped(tmp_path: Path) -> None:
    partner = ScriptedDestination()
    async with Bench(partner, suppression=suppression_of(tmp_path)) as bench:
        await forget(bench, tmp_path, "ann")
        await bench.append(batch("ann", events=2), batch("bob"))
        await bench.idle()
        assert users_of(partner) == [{"bob"}]
        assert skipped(bench) == 3
        assert bench.connection.suppression.met


@in_virtual_time
async def test_a_group_in_memory_loses_the_users_records_before_the_next_try(tmp_path: Path) -> None:
    partner = ScriptedDestination(Unavailable(), Unavailable())
    async with Bench(partner, suppression=suppression_of(tmp_path)) as bench:
        await bench.append(batch("ann", events=2), batch("bob"))
        await partner.called()
        await forget(bench, tmp_path, "ann")
        await bench.idle()
        assert users_of(partner) == [{"ann", "bob"}, {"bob"}, {"bob"}]
        assert skipped(bench) == 3
        assert await bench.letters() == []


@in_virtual_time
async def test_a_filter_of_identities_does_not_lose_records_of_others_on_the_same_device(tmp_path: Path) -> None:
    partner = ScriptedDestination(Unavailable())
    async with Bench(partner, suppression=suppression_of(tmp_path)) as bench:
        filters = Filtering(Filters.model_validate({"user_identities": {"block": ["customer_id"]}}), "filters")
        kind = DestinationType(name="p", title="P", summary="", create=lambda _: partner)
        selection = Selection(kind, None, Platform.DATA_FEEDS, stages=[filters])
        suppression = bench.connection.suppression
        bench.connection.pipeline = Pipeline(
            Platform.DATA_FEEDS, "server_to_server", [], selection, suppression=suppression
        )
        await bench.append(batch("bob", mp_deviceid="D-1"))
        await partner.called()
        ask(tmp_path, ("customer_id", "ann"))
        with opened(tmp_path) as file:
            file.collected(erasure_of(tmp_path), {"mp_deviceid": ["D-1"]})
        suppression.refresh()
        await bench.idle()
        assert [[record.batch.user_identities for record in call.records] for call in partner.calls] == [[{}], [{}]]
        assert skipped(bench) == 0


@in_virtual_time
async def test_a_group_of_nobody_else_ends_without_a_call(tmp_path: Path) -> None:
    partner = ScriptedDestination(Unavailable())
    async with Bench(partner, suppression=suppression_of(tmp_path)) as bench:
        await bench.append(batch("ann"))
        await partner.called()
        await forget(bench, tmp_path, "ann")
        await bench.idle()
        assert len(partner.calls) == 1
        await bench.append(batch("bob"))
        await bench.idle()
        assert users_of(partner)[1:] == [{"bob"}]


@in_virtual_time
async def test_a_paused_connection_does_not_hand_out_the_user_when_it_resumes(tmp_path: Path) -> None:
    partner = ScriptedDestination(InvalidCredentials("no"))
    async with Bench(partner, suppression=suppression_of(tmp_path)) as bench:
        await bench.append(batch("ann"), batch("bob"))
        await partner.called()
        await asyncio.sleep(10)
        await forget(bench, tmp_path, "ann")
        await bench.connection.replace_destination(partner)
        await bench.idle()
        assert users_of(partner)[1:] == [{"bob"}]


@in_virtual_time
async def test_held_records_end_as_suppressed(tmp_path: Path) -> None:
    partner = ScriptedDestination([Outcome.retry("1.p", "busy", retry_after=60.0), Outcome.retry("1.0", "busy")])
    async with Bench(partner, suppression=suppression_of(tmp_path)) as bench:
        await bench.append(batch("ann"))
        await partner.called()
        await asyncio.sleep(1)
        assert (await bench.stats()).held == 2
        await forget(bench, tmp_path, "ann")
        await bench.idle()
        assert len(partner.calls) == 1
        assert skipped(bench) == 2


@in_virtual_time
async def test_a_replayed_letter_is_skipped_and_goes(tmp_path: Path) -> None:
    partner = ScriptedDestination([Outcome.rejected("1.p", "no"), Outcome.rejected("1.0", "no")])
    async with Bench(partner, suppression=suppression_of(tmp_path)) as bench:
        await bench.append(batch("ann"))
        await bench.idle()
        assert len(await bench.letters()) == 2
        await forget(bench, tmp_path, "ann")
        await bench.log.replay_letters(None)
        await asyncio.sleep(10)
        assert await bench.letters() == []
        assert len(partner.calls) == 1


class Knows(Transform):
    """Finds out who an anonymous user is."""

    async def apply(self, records: Sequence[Record]) -> Transformed:
        return Transformed(
            records=[
                msgspec.structs.replace(
                    record, batch=msgspec.structs.replace(record.batch, user_identities={"customer_id": "ann"})
                )
                for record in records
            ]
        )


@in_virtual_time
async def test_a_user_whom_only_a_transform_knows_is_suppressed_as_well(tmp_path: Path) -> None:
    partner = ScriptedDestination(Unavailable())
    async with Bench(partner, transforms={"knows": Knows()}, suppression=suppression_of(tmp_path)) as bench:
        await bench.append(batch(mp_deviceid="d"))
        await partner.called()
        await forget(bench, tmp_path, "ann")
        await bench.append(batch(mp_deviceid="e"))
        await bench.idle()
        assert len(partner.calls) == 1
        assert skipped(bench) == 2


@in_virtual_time
async def test_a_batch_that_cannot_be_decoded_leaves_no_letter(tmp_path: Path) -> None:
    async with Bench(ScriptedDestination(), suppression=suppression_of(tmp_path)) as bench:
        await forget(bench, tmp_path, "ann")
        wrong = orjson.dumps({"user_identities": {"customer_id": "ann"}, "device_info": {"brand": []}, "events": []})
        await bench.append(wrong)
        await bench.idle()
        assert await bench.letters() == []
        assert skipped(bench) == 1


@in_virtual_time
async def test_an_answer_that_comes_too_late_leaves_no_letter_and_the_lane_tells(
    tmp_path: Path,
) -> None:
    class Slow(ScriptedDestination):
        async def deliver(self, records: Sequence[Record]) -> Sequence[Outcome]:
            await asyncio.sleep(5.0)
            await super().deliver(records)
            return [Outcome.rejected(record.id, "refused", "because of ann") for record in records]

    partner = Slow()
    bench = Bench(partner, suppression=suppression_of(tmp_path), limits=Limits(records=10))
    async with bench:
        await bench.append(batch("ann"), batch("bob"))
        await asyncio.sleep(2.0)
        (lane,) = bench.lanes
        before = bench.connection.suppression.version
        assert lane.under_way == before
        await forget(bench, tmp_path, "ann")
        assert lane.under_way < bench.connection.suppression.version
        await bench.idle()
        assert bench.lanes[0].under_way is None
        assert {letter.seq for letter in await bench.letters()} == {2}
        assert skipped(bench) == 2
