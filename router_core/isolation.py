"""Finds the record that makes a whole call fail, by halving, so that the others go on."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Sequence

from router_core.errors import LONGEST_MESSAGE, CallRefused, DeliveryError, storable
from router_core.records import Record


async def isolate(
    records: Sequence[Record],
    attempt: Callable[[Sequence[Record]], Awaitable[None]],
    give_up: Callable[[Record, Exception], Awaitable[None]],
    still: Callable[[Sequence[Record]], Sequence[Record]] = lambda records: records,
) -> None:
    """Run `attempt` on the records; if it fails because of one of them, on halves, in order, down to single records.

    `give_up` gets each record that fails alone, with its error. Errors that say nothing of a record (`Throttled`,
    `Unavailable`, `InvalidCredentials`) pass through. One bad record among n costs about 2·log2 n further calls.
    `still` says which of the records are to be attempted after what the halves before have brought.
    """
    records = still(records)
    if not records:
        return
    try:
        await attempt(records)
    except Exception as error:
        if isinstance(error, DeliveryError) and not isinstance(error, CallRefused):
            raise
        if len(records) == 1:
            await give_up(records[0], error)
            return
    else:
        return
    middle = len(records) // 2
    await isolate(records[:middle], attempt, give_up, still)
    await isolate(records[middle:], attempt, give_up, still)


def fault_of(error: BaseException) -> str:
    """The last line of the traceback and where it was raised: `KeyError: 'x' (mapping.py:12)`.

    Of a `SyntaxError`, the line of the file that cannot be read.
    """
    text = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        text = f"{type(error).__name__}: {error.msg}"
        place = _place(error.filename, error.lineno)
    else:
        place = _place(frames[-1].filename, frames[-1].lineno) if frames else ""
    return storable(text)[: LONGEST_MESSAGE - 200] + storable(place)


def _place(filename: str, line: int | None) -> str:
    return f" ({filename.rsplit('/', 1)[-1][-150:]}:{line})"
