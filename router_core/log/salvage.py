"""Reading what can be read of a damaged file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from router_core.log.files import is_damage

_ONE_BY_ONE = 256
"""More rows than a page holds; a larger hole is a page of the index above, and is leapt over."""

Row = tuple[Any, ...]


def readable_rows(
    read: Callable[[int, int], Iterator[Row]], is_whole: Callable[[Row], bool], after: int, upto: int
) -> Iterator[Row]:
    """The rows with `after` < seq ≤ `upto` that `read(after, upto)` can give, in order; seq is their first column.

    Errors that are no damage are raised, as the rows they hide can be read later.
    """
    while (start := _next_readable(read, after, upto)) is not None:
        after = start
        try:
            for row in read(start, upto):
                if is_whole(row) and after < row[0] <= upto:
                    after = row[0]
                    yield row
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            after = max(after, start + 1)
        else:
            return


def _next_readable(read: Callable[[int, int], Iterator[Row]], after: int, upto: int) -> int | None:
    """The lowest position, `after` at the least, behind which reading gets anywhere; None if there is none."""
    bad, step = after - 1, 1
    while not _reads(read, bad + step, upto):
        bad += step
        if bad >= upto - 1:
            return None
        if bad - after > _ONE_BY_ONE:
            step = min(step * 2, upto - 1 - bad)
    good = bad + step
    while good - bad > 1:
        middle = (bad + good) // 2
        if _reads(read, middle, upto):
            good = middle
        else:
            bad = middle
    return good


def _reads(read: Callable[[int, int], Iterator[Row]], after: int, upto: int) -> bool:
    try:
        next(read(after, upto), None)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False
    return True
