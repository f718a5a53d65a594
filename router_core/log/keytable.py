"""A set of 16-byte keys in a file: a hash table of fixed size that is only ever added to.

Half the price of a B-tree and flat in memory, because nothing here needs order, deletion or transactions. What was
written survives the death of the process; after a power cut some keys may be missing, never wrong, as a key matches
only as a whole and at its own place.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 16
_LINE_BYTES: Final = 64  # four keys are read at once; a pread costs more than what it reads
_HEADER_BYTES: Final = 64
_HEADER: Final = struct.Struct("<8sQQQ")  # magic, lines, keys, through
_MAGIC: Final = b"seenkeys"
_EMPTY: Final = bytes(KEY_BYTES)
_MOST_LINES_LOOKED_AT: Final = 64


class KeyTable:
    """One file. `lines` is a power of two; it holds two keys a line comfortably and four at the most."""

    def __init__(self, path: Path, lines: int) -> None:
        """Open the file, or make it with room for `2 * lines` keys. Raises `ValueError` if it is no such file."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            size = os.fstat(self._file).st_size
            if size == 0:
                os.ftruncate(self._file, _HEADER_BYTES + lines * _LINE_BYTES)  # a sparse file: room comes with keys
                self.lines, self.keys, self.through = lines, 0, 0
                self._write_header()
            else:
                self._read_header(size)
        except BaseException:
            os.close(self._file)
            raise
        self._mask = self.lines - 1
        self.changed = False
        """Whether keys were added since the last `sync`."""

    def _read_header(self, size: int) -> None:
        header = os.pread(self._file, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            raise ValueError(f"{self.path} is cut short")
        magic, self.lines, self.keys, self.through = _HEADER.unpack(header)
        if magic != _MAGIC or size != _HEADER_BYTES + self.lines * _LINE_BYTES or self.lines & (self.lines - 1):
            raise ValueError(f"{self.path} is no table of keys")

    def _write_header(self) -> None:
        os.pwrite(self._file, _HEADER.pack(_MAGIC, self.lines, self.keys, self.through), 0)

    @property
    def is_full(self) -> bool:
        """Whether it is time for a larger one."""
        return self.keys >= 2 * self.lines

    def __contains__(self, key: bytes) -> bool:
        line = int.from_bytes(key[:8], "little") & self._mask
        for _ in range(_MOST_LINES_LOOKED_AT):
            slots = os.pread(self._file, _LINE_BYTES, _HEADER_BYTES + line * _LINE_BYTES)
            if key in slots and key in _slots(slots):
                return True
            if slots.endswith(_EMPTY):  # lines fill from the front, so this one never overflowed
                return False
            line = (line + 1) & self._mask
        return False

    def add(self, key: bytes) -> None:
        """Put a key in. Raises `OSError` if there is no room on the disk."""
        line = int.from_bytes(key[:8], "little") & self._mask
        for _ in range(_MOST_LINES_LOOKED_AT):
            at = _HEADER_BYTES + line * _LINE_BYTES
            slots = _slots(os.pread(self._file, _LINE_BYTES, at))
            if key in slots:
                return
            if _EMPTY in slots:
                os.pwrite(self._file, key, at + slots.index(_EMPTY) * KEY_BYTES)
                self.keys += 1
                self.changed = True
                return
            line = (line + 1) & self._mask
        self.keys = 2 * self.lines  # crowded, for whatever reason: ask for a larger one

    def sync(self, through: int) -> None:
        """Make all keys durable, then note that those of all batches up to `through` are on record."""
        self.changed = False
        os.fdatasync(self._file)
        self.through = through
        self._write_header()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def _slots(line: bytes) -> list[bytes]:
    return [line[at : at + KEY_BYTES] for at in range(0, _LINE_BYTES, KEY_BYTES)]


def fitting(key: bytes) -> bytes:
    """A key of the right length for a request key of any."""
    return key if len(key) == KEY_BYTES else blake2b(key, digest_size=KEY_BYTES).digest()
