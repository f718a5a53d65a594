"""A process for tests to kill. For each line on its standard input, `FOLDER FIRST`, it forks a child that appends
batches numbered from FIRST and writes each number when its append has returned. It says the child's process id.

It forks before anything has started a thread, so a round costs no start of Python.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from router_core.log.embedded import EmbeddedLog
from router_core.log.port import NewBatch

SENDERS = 8
CONNECTIONS = {"shop_to_a": "shop", "shop_to_b": "shop", "app_to_a": "app"}


async def append_for_ever(folder: Path, first: int) -> None:
    log = EmbeddedLog(folder, segment_bytes=64 * 1024)
    await log.open(["app", "shop"], CONNECTIONS)

    async def sender(number: int) -> None:
        while True:
            user, key = number % SENDERS, b"%d" % number
            await log.append([NewBatch("shop", user, 1, b"%d " % number + b"x" * 500, request_key=key)])
            os.write(1, b"%d\n" % number)
            number += SENDERS

    await asyncio.gather(*(sender(first + offset) for offset in range(SENDERS)))


def main() -> None:
    for line in sys.stdin:
        folder, first = line.rsplit(" ", 1)
        if (child := os.fork()) == 0:
            asyncio.run(append_for_ever(Path(folder), int(first)))
        os.write(1, b"pid %d\n" % child)
        os.waitpid(child, 0)
        os.write(1, b"end\n")


if __name__ == "__main__":
    main()
