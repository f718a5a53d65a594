"""The load generator, in a process of its own: a plan on standard input, what came of it on standard output.

Closed loop: each connection sends its next request when it has its answer. Open loop: requests have times at which they
are due, and latency counts from then, so a router that stands still for a second is charged for all who came in it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop

from .bodies import Requests, Shape

_ACCEPTED = b"HTTP/1.1 202"
_END = b"\r\n\r\n"
_ANSWERS_WITHIN = 60.0
_LOOK = 0.05
_TICK = 0.001  # seconds; the event loop's timers are no finer


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send."""

    port: int
    key: str
    secret: str
    shape: Shape
    connections: int = 64
    seconds: float = 10.0
    rate: float = 0.0
    """Requests a second in an open loop; 0 for a closed loop."""
    requests: int = 0
    """Stop after so many, 0 for no such limit."""
    window: float = 0.0
    """Report latencies for each stretch of so many seconds too."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds."""

    count: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a plan."""

    requests: int
    accepted: int
    """Requests answered 202."""
    refused: dict[str, int]
    """Other answers by status."""
    unanswered: int
    """Requests whose connection broke, or that had no answer in time: nobody knows what became of them."""
    body_bytes: int
    """Of one request, in the mean."""
    first_at: float
    """Unix seconds."""
    seconds: float
    """From the first request to the last answer."""
    cpu_seconds: float
    latency: Latency
    lateness: Latency
    """Open loop: how long after its time a request was sent, because of the generator or for lack of a connection."""
    windows: list[Latency]


def latency_of(seconds: array[float]) -> Latency:
    """The percentiles of some measurements."""
    if not seconds:
        return Latency()
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 3)

    return Latency(count=len(ordered), p50=at(0.5), p90=at(0.9), p99=at(0.99), max=at(1.0))


class Run:
    """One plan under way."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.source = Requests(plan.shape, key=plan.key, secret=plan.secret)
        self.next_request: Callable[[], bytes] = iter(self.source).__next__
        self.took = array("d")
        self.late = array("d")
        self.windows: list[Latency] = []
        self.accepted = 0
        self.sent = 0
        self.refused: Counter[str] = Counter()
        self.lost = 0
        """Requests whose connection broke."""
        self.until = 0.0
        self.due: deque[float] = deque()
        self.idle: list[Client] = []

    async def run(self) -> Sent:
        """Carry the plan out."""
        loop = asyncio.get_running_loop()
        clients = []
        for _ in range(self.plan.connections):
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self.plan.port)
            clients.append(client)
        gc.collect()
        gc.freeze()
        gc.disable()  # nothing here makes cycles
        cpu, first_at, started = time.process_time(), time.time(), time.perf_counter()
        self.until = started + self.plan.seconds
        windows = asyncio.create_task(self._cut_windows()) if self.plan.window else None
        if self.plan.rate:
            self.idle = clients[:]
            await self._send_when_due(started)
        else:
            for client in clients:
                client.send_next(time.perf_counter())
            while time.perf_counter() < self.until and any(client.waiting for client in clients):
                await asyncio.sleep(_LOOK)
        await self._answers(clients)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        if windows is not None:
            windows.cancel()
            self._cut_window()
        for client in clients:
            client.transport.close()
        whole = latency_of(self.took) if not self.windows else _merged(self.windows)
        return Sent(
            requests=self.sent,
            accepted=self.accepted,
            refused=dict(self.refused),
            unanswered=self.lost + sum(client.waiting for client in clients),
            body_bytes=self.source.mean_bytes,
            first_at=first_at,
            seconds=seconds,
            cpu_seconds=cpu,
            latency=whole,
            lateness=latency_of(self.late),
            windows=self.windows,
        )

    async def _send_when_due(self, started: float) -> None:
        plan = self.plan
        amount = int(plan.seconds * plan.rate)
        if plan.requests:
            amount = min(amount, plan.requests)
        scheduled = 0
        while scheduled < amount:
            now = time.perf_counter()
            target = min(int((now - started) * plan.rate) + 1, amount)
            for number in range(scheduled, target):
                self.due.append(started + number / plan.rate)
            scheduled = target
            while self.due and self.idle:
                self.idle.pop().send_due(self.due.popleft())
            await asyncio.sleep(_TICK)
        self.until = time.perf_counter()

    async def _answers(self, clients: list[Client]) -> None:
        deadline = time.perf_counter() + _ANSWERS_WITHIN
        while (self.due or any(client.waiting for client in clients)) and time.perf_counter() < deadline:
            if self.lost == len(clients):
                return
            await asyncio.sleep(_TICK)

    async def _cut_windows(self) -> None:
        while True:
            await asyncio.sleep(self.plan.window)
            self._cut_window()

    def _cut_window(self) -> None:
        self.windows.append(latency_of(self.took))
        del self.took[:]


def _merged(windows: list[Latency]) -> Latency:
    """The worst of each figure; over windows, percentiles cannot be had exactly."""
    return Latency(
        count=sum(window.count for window in windows),
        **{name: max(getattr(window, name) for window in windows) for name in ("p50", "p90", "p99", "max")},
    )


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rest = b""
        self._since = 0.0
        self._took = run.took
        self._next = run.next_request
        self._open_loop = run.plan.rate > 0
        self._limit = run.plan.requests or sys.maxsize
        self.waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._write = self.transport.write

    def send_next(self, now: float) -> None:
        """Closed loop: the next request, unless it is over."""
        run = self._run
        if now < run.until and run.sent < self._limit:
            run.sent += 1
            self._since = now
            self.waiting = True
            self._write(self._next())

    def send_due(self, due: float) -> None:
        """Open loop: a request whose time was `due`."""
        run = self._run
        run.sent += 1
        self._since = due
        self.waiting = True
        run.late.append(time.perf_counter() - due)
        self._write(self._next())

    def data_received(self, data: bytes) -> None:
        if self._rest or not (data.startswith(_ACCEPTED) and data.endswith(_END)):
            self._rest += data
            if not self._is_other_answer():
                return
        else:
            self._run.accepted += 1
        now = time.perf_counter()
        self._took.append(now - self._since)
        self.waiting = False
        if not self._open_loop:
            self.send_next(now)
        elif self._run.due:
            self.send_due(self._run.due.popleft())
        else:
            self._run.idle.append(self)

    def _is_other_answer(self) -> bool:
        """Count an answer that came in pieces or is no plain 202; False while it is not whole."""
        head, end, body = self._rest.partition(_END)
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if not end or (lengths and len(body) < int(lengths[0].partition(b":")[2])):
            return False
        status = head.split(b" ", 2)[1].decode()
        if status == "202":
            self._run.accepted += 1
        else:
            self._run.refused[status] += 1
        self._rest = b""
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting:
            self.waiting = False
            self._run.lost += 1
        if self in self._run.idle:
            self._run.idle.remove(self)


def main() -> None:
    """Entry of the process."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)

    async def carry_out() -> Sent:
        return await Run(plan).run()

    sent = uvloop.run(carry_out())
    sys.stdout.buffer.write(msgspec.json.encode(sent))


if __name__ == "__main__":
    main()
