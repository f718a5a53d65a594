"""Carries erasures out, in the delivering process: search, wipe, have the partners forget, forget oneself.

What is done is written down before the next step begins, and each step may be done twice, so a crash anywhere costs
nothing but its repetition. Requests that come together share one walk through the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from router_core.clock import SystemClock
from router_core.components import Clock
from router_core.deliverer import Deliverer
from router_core.erasure import Erasure, identifiers_beyond, identifiers_of_person
from router_core.erasurefile import ErasureFile
from router_core.errors import LogDamaged, LogError
from router_core.findings import Findings
from router_core.identifiers import Identifier, identifiers_in
from router_core.log.port import EventLog
from router_core.logs import logger
from router_core.partners import REFUSED_AGAIN_AFTER, Partners
from router_core.suppression import Hashes, Reach, Suppression, hashes_of, holds_any
from router_core.telemetry import Telemetry

LOOK_EVERY: Final = 0.5
"""Seconds after which each worker looks for new requests."""
NOTICED_WITHIN: Final = 2.0
"""Seconds after which the accepting worker has noticed who is suppressed, and has stored what it had in hand."""
AGAIN_AFTER: Final = 5.0
"""Seconds after an error of ours, such as a full disk."""
DAMAGED_AGAIN_AFTER: Final = 60.0
SWEEP_EVERY: Final = 30.0


class Stopped(Exception):  # not an error: the next start goes on
    """The walk through the log ends, because the router does."""


class Eraser:
    """All erasures of one data folder."""

    def __init__(
        self,
        folder: Path,
        log: EventLog,
        suppression: Suppression,
        deliverer: Deliverer,
        telemetry: Telemetry,
        *,
        clock: Clock | None = None,
        noticed_within: float = NOTICED_WITHIN,
        refused_again_after: float = REFUSED_AGAIN_AFTER,
    ) -> None:
        self._folder = folder
        self._log = log
        self._suppression = suppression
        self._deliverer = deliverer
        self._telemetry = telemetry
        self._clock = clock or SystemClock()
        self._noticed_within = noticed_within
        self.partners = Partners(deliverer, self._clock, refused_again_after)
        self._logger = logger(part="eraser")
        self._file: ErasureFile | None = None
        self._stopping = False
        self._known_since: dict[tuple[int, bool], float] = {}
        """Request, and whether it was searched for, to when this process saw it so."""
        self._wipe_at: dict[int, float] = {}
        self._ready: set[int] = set()
        """Requests whose people can be in no partner's hands any more."""
        self._swept_at = 0.0
        self._last_error = ""

    async def run(self) -> None:
        """Carry out what comes, until cancelled."""
        while True:
            wait = LOOK_EVERY
            try:
                await self.step()
                self._last_error = ""
            except Stopped:
                return
            except Exception as error:
                # Never the text of an error that may know a value; ours do not.
                said = str(error) if isinstance(error, LogError) else type(error).__name__
                if said != self._last_error:
                    self._logger.error("erasure_failed", error=said)
                self._last_error, wait = said, AGAIN_AFTER
            await self._clock.sleep(wait)

    def stop(self) -> None:
        """End a walk through the log soon, and the calls under way."""
        self._stopping = True
        self.partners.stop()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def step(self) -> None:
        """One look at what there is to do."""
        if not self._suppression.refresh():
            return  # lanes do not know yet whom they must not hand out
        if self._file is None:
            if not ErasureFile.exists(self._folder):
                return
            self._file = ErasureFile(self._folder)
            self._file.wipe()  # a crash may have left older pages behind
        erasures = self._file.unfinished()
        self._telemetry.gauge("erasures_open", len(erasures))
        now = self._clock.monotonic()
        for erasure in erasures:
            self._known_since.setdefault((erasure.number, erasure.collected), now)
        if fresh := [e for e in erasures if not e.collected and self._is_noticed(e)]:
            await self._search(fresh)
        if found := [e for e in erasures if e.collected and not e.wiped and self._is_noticed(e)]:
            found = [e for e in found if self._wipe_at.get(e.number, 0.0) <= now]
            if found and await self._lanes_are_past(self._suppression.version):
                await self._wipe(found)
        erasures = self._file.unfinished()  # calls may have ended meanwhile
        self._ready |= {e.number for e in erasures if e.wiped}  # by this process or the one before
        ready = [erasure for erasure in erasures if erasure.number in self._ready]
        self.partners.go_on(ready, self._file)
        self._complete([erasure for erasure in ready if erasure.wiped and self.partners.is_done(erasure)])
        await self._sweep(erasures)

    def _is_noticed(self, erasure: Erasure) -> bool:
        since = self._known_since[erasure.number, erasure.collected]
        return self._clock.monotonic() - since >= self._noticed_within

    # --- search ---

    async def _search(self, erasures: Sequence[Erasure]) -> None:
        """Look through all that is kept for other ids of these people."""
        file = self._opened
        noticed = {erasure.number for erasure in erasures}
        file.start(noticed)
        # One that was cancelled at the last instant has not started.
        erasures = [e for e in file.unfinished() if e.number in noticed]
        hashes = self._hashes(erasures, found_too=False)
        findings = {e.number: Findings(e.person.requested) for e in erasures if e.person is not None}

        def look(body: bytes) -> bool:
            self._go_on()
            named = identifiers_in(body)
            for number in hashes.whose(named) if named is not None else ():
                findings[number].take(body)
            return False

        with suppress(LogDamaged):  # nothing can be learned from there; the wipe says so
            await self._log.erase(look)
        await self._look_whose_devices(findings.values())
        for erasure in erasures:
            found = findings[erasure.number]
            file.collected(erasure, found.of_the_person(), found.shared())
            self._logger.info("erasure_searched", erasure=erasure.id)

    async def _look_whose_devices(self, findings: Iterable[Findings]) -> None:
        """Look once more for others on the devices that were found."""
        wanted: dict[Identifier, list[Findings]] = {}
        for found in findings:
            for device in found.devices():
                wanted.setdefault(device, []).append(found)
        if not wanted:
            return

        def look(body: bytes) -> bool:
            self._go_on()
            named = identifiers_in(body)
            if named is not None:
                for found in {id(f): f for one in named.own for f in wanted.get(one, ())}.values():
                    found.meet(named)
            return False

        with suppress(LogDamaged):
            await self._log.erase(look)

    def _hashes(self, erasures: Iterable[Erasure], *, found_too: bool) -> Hashes:
        people = {}
        for erasure in erasures:
            assert erasure.person is not None
            known = [(one, Reach.REQUESTED) for one in identifiers_of_person(erasure.person.requested)]
            if found_too:
                known += identifiers_beyond(erasure.person)
            people[erasure.number] = known
        return hashes_of(self._opened.salt, people)

    # --- wipe ---

    async def _lanes_are_past(self, version: int) -> bool:
        """Wait until no call and no settlement is under way that was made before the people were suppressed."""
        while any(lane.under_way is not None and lane.under_way < version for lane in self._deliverer.lanes):
            await self._clock.sleep(0.05)
            self._go_on()
        return True

    async def _wipe(self, erasures: Sequence[Erasure]) -> None:
        """Overwrite all that is kept of these people."""
        hashes = self._hashes(erasures, found_too=True)
        values = {e.number: holds_any(v for vs in e.person.requested.values() for v in vs)
                  for e in erasures if e.person is not None}  # fmt: skip
        counts: dict[int, int] = dict.fromkeys((erasure.number for erasure in erasures), 0)

        def is_theirs(body: bytes) -> bool:
            self._go_on()
            named = identifiers_in(body)
            if named is None:
                numbers = {number for number, holds in values.items() if holds(body)}
            else:
                numbers = hashes.whose(named)
            for number in numbers:
                counts[number] += 1
            return bool(numbers)

        started = time.monotonic()
        was_met, self._suppression.met = self._suppression.met, False
        problem = ""
        try:
            erased = await self._log.erase(is_theirs)
            if len(counts) == 1:  # else a batch that is also a dead letter's counts twice
                counts = dict.fromkeys(counts, erased)
            self._opened.wiped(counts)
            self._telemetry.count("erased_batches", erased)
        except LogDamaged as error:
            problem = str(error)
        except LogError as error:
            problem = str(error)
            self._logger.error("erasure_wipe_failed", error=problem)
        for erasure in erasures:
            self._ready.add(erasure.number)
            if problem:
                self._suppression.met |= was_met
                self._opened.note(erasure.number, problem)
                self._wipe_at[erasure.number] = self._clock.monotonic() + DAMAGED_AGAIN_AFTER
            else:
                seconds = round(time.monotonic() - started, 2)
                self._logger.info("erasure_wiped", erasure=erasure.id, batches=counts[erasure.number], seconds=seconds)

    async def _sweep(self, erasures: Sequence[Erasure]) -> None:
        """Wipe what slipped in behind an erasure: accepted before the other worker had noticed, or replayed since."""
        now = self._clock.monotonic()
        if not self._suppression.met or now < self._swept_at or any(not e.wiped for e in erasures):
            return
        # Cleared before the walk, which passes by what comes in meanwhile; set again if the walk did not end well.
        self._suppression.met = False
        self._swept_at = now + SWEEP_EVERY

        def is_theirs(body: bytes) -> bool:
            self._go_on()
            return self._suppression.covers_body(body)

        try:
            erased = await self._log.erase(is_theirs)
        except LogDamaged:
            self._suppression.met = True
            self._swept_at = now + DAMAGED_AGAIN_AFTER
            return
        except BaseException:
            self._suppression.met = True
            raise
        self._telemetry.count("erased_batches", erased)
        self._logger.info("erasure_swept", batches=erased)

    def _go_on(self) -> None:
        if self._stopping:
            raise Stopped

    def _complete(self, erasures: Sequence[Erasure]) -> None:
        if not erasures:
            return
        self._opened.complete([erasure.number for erasure in erasures])
        for erasure in erasures:
            self._ready.discard(erasure.number)
            self._wipe_at.pop(erasure.number, None)
            for was_searched in (False, True):
                self._known_since.pop((erasure.number, was_searched), None)
            self.partners.forget(erasure)
            self._logger.info("erasure_completed", erasure=erasure.id, batches=erasure.batches)

    @property
    def _opened(self) -> ErasureFile:
        assert self._file is not None
        return self._file
