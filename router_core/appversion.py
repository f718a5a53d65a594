"""Versions of apps, in order."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_VERSION: Final = re.compile(r"\s*[vV]?(\d{1,18}(?:\.\d{1,18})*)\s*(.*)", re.DOTALL)


class AppVersion(NamedTuple):
    """`2.10` is above `2.9`, `2.4` is `2.4.0`, and `2.4.0-beta` comes before `2.4.0`."""

    numbers: tuple[int, ...]
    is_final: bool = True


def app_version(text: object) -> AppVersion | None:
    """The version that a text or number names; None if it names none."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        return None
    match = _VERSION.fullmatch(str(text))
    if match is None:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    # What follows a hyphen or begins with a letter is a pre-release; `+7` and `(7)` are numbers of builds.
    return AppVersion(tuple(numbers), not re.match(r"\.?[-A-Za-z]", match[2]))
