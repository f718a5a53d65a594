"""User sampling: a fixed part of all users, the same ones at each connection, each start and each router."""

from __future__ import annotations

from typing import Final

_MASK: Final = 2**64 - 1
_PARTS: Final = 1_000_000


def is_sampled(user: int, percent: float) -> bool:
    """Whether the user is among the `percent` (0 to 100) of all. A smaller sample lies within a larger one.

    `user` is the stable hash of the user key. Its low bits decide on the partition too, so it is mixed once more
    (the finalizer of splitmix64), and a sample takes from all partitions.
    """
    mixed = user & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    mixed ^= mixed >> 31
    return mixed % _PARTS < percent * _PARTS / 100
