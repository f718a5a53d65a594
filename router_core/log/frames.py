"""The bytes of a log file: a header, then rows one behind the other. Nothing here opens a file.

    file    magic, version, length, checksum, first seq, totals by input as JSON
    row     mark, checksum of the head, head, name of the input | kept headers, body as received
                                       the head ends here       | the payload, with a checksum of its own

All checksums are CRC32C; those of heads begin with a number that only the file's name holds. So a body that contains
rows, even copies of real ones, is never taken for rows when a reader looks for the next one behind a damaged spot.
All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from google_crc32c import extend

from router_core.errors import LogError
from router_core.log.port import NewBatch, StoredBatch

VERSION: Final = 1
MARK: Final = b"\xf5\xabR"
"""Begins every row; no part of a UTF-8 text."""
LIVE: Final = MARK + b"\x5a"
ERASED: Final = MARK + b"\xa5"
"""A row whose user was erased. One byte is the difference, so no crash leaves something in between, and it is outside
of the checksum, so nothing else need change with it."""

_MAGIC: Final = b"routerlg"
_FILE: Final = struct.Struct("<8sIII")  # magic, version, length, checksum: the same in every version to come
_FIRST: Final = struct.Struct("<Q")
_ROW: Final = struct.Struct("<4sIIIIHHQQQQIQ16s")
_MARK_AND_CHECKSUM: Final = struct.Struct("<4sI")
_HEAD: Final = struct.Struct("<IIIHHQQQQIQ16s")
_CHECKED_FROM: Final = _MARK_AND_CHECKSUM.size
HEAD_BYTES: Final = _ROW.size
MOST_NAME_BYTES: Final = 0xFFFF
_HAS_KEY: Final = 1
_NO_KEY: Final = bytes(16)


class FileHeader(msgspec.Struct, frozen=True):
    """What the first bytes of a file say."""

    first: int
    """The lowest `seq` that may be in it."""
    totals: dict[str, int]
    """Records accepted before it, by input."""
    length: int
    """Where the first row begins."""


class Head(NamedTuple):
    """A row without its payload, of which nothing is known yet but its checksum."""

    erased: bool
    seq: int
    user: int
    synced: int
    """Bytes of the file that were durable when the row was written."""
    request_key: bytes | None
    payload_checksum: int
    payload_at: int
    """From the row's first byte."""
    body_at: int
    length: int
    """Of the whole row, the next begins behind it."""


def seed_of(number: int) -> int:
    """What the checksums of a file's heads begin with."""
    seed: int = extend(0, number.to_bytes(4, "little"))
    return seed


# --- the file's header ---


def file_header(seed: int, first: int, totals: Mapping[str, int]) -> bytes:
    """The first bytes of a new file."""
    rest = _FIRST.pack(first) + msgspec.json.encode(dict(totals))
    length = _FILE.size + len(rest)
    checked = _FILE.pack(_MAGIC, VERSION, length, 0) + rest
    return _FILE.pack(_MAGIC, VERSION, length, extend(seed, checked)) + rest


def read_file_header(block: bytes, seed: int, name: str) -> FileHeader | None:
    """The header of a file that begins with `block`; None if it is damaged. Raises `LogError` for a later format."""
    if len(block) < _FILE.size:
        return None
    magic, version, length, checksum = _FILE.unpack_from(block)
    rest = block[_FILE.size : length]
    whole = magic == _MAGIC and length <= len(block)
    if not whole or extend(seed, _FILE.pack(magic, version, length, 0) + rest) != checksum:
        return None
    if version != VERSION:
        raise LogError(
            f"{name} has version {version} of the log's format, and this router writes version {VERSION}. "
            "Run the version of the router that wrote it until all is delivered, or move the file away."
        )
    return FileHeader(_FIRST.unpack_from(rest)[0], msgspec.json.decode(rest[8:], type=dict[str, int]), length)


def length_of_header(block: bytes) -> int:
    """How many bytes the header says it has, right or wrong."""
    return int(_FILE.unpack_from(block)[2]) if len(block) >= _FILE.size else 0


# --- rows ---


def pack(seed: int, batch: NewBatch, key: bytes | None, seq: int, total: int, now_ms: int, synced: int) -> list[bytes]:
    """One row, in pieces to write one behind the other. `key` has 16 bytes."""
    headers, body, name = batch.headers, batch.body, batch.input.encode()
    checksum = extend(extend(0, headers), body) if headers else extend(0, body)
    head = _HEAD.pack(
        checksum, len(body), len(headers), len(name), 0 if key is None else _HAS_KEY,
        seq, batch.user, synced, total, batch.records, now_ms, _NO_KEY if key is None else key,
    ) + name  # fmt: skip
    return [_MARK_AND_CHECKSUM.pack(LIVE, extend(seed, head)) + head, headers, body]


def taken(seed: int, seq: int, synced: int) -> bytes:
    """A row of no input: positions up to `seq` are given away, to rows that were taken back."""
    return b"".join(pack(seed, NewBatch("", 0, 0, b""), None, seq, 0, 0, synced))


def whole_rows(block: bytes, seed: int, last: int, names: dict[bytes, str]) -> tuple[list[StoredBatch], list[int], int]:
    """The rows from the start of `block` up to the first that is not whole, their offsets, and where they end.

    A row is whole if its checksums are right, all of it is there, and its position is above `last` and those before.
    """
    rows: list[StoredBatch] = []
    offsets: list[int] = []
    at, size = 0, len(block)
    furthest = size - HEAD_BYTES
    unpack, checksum_of = _ROW.unpack_from, extend
    while at <= furthest:
        mark, checksum, payload_checksum, body, headers, name, _, seq, user, _, total, records, received, _ = unpack(
            block, at
        )
        payload_at = at + HEAD_BYTES + name
        body_at = payload_at + headers
        end = body_at + body
        if end > size or seq <= last or checksum_of(seed, block[at + _CHECKED_FROM : payload_at]) != checksum:
            break
        if mark == LIVE:
            content = block[body_at:end]
            if headers:
                kept = block[payload_at:body_at]
                if checksum_of(checksum_of(0, kept), content) != payload_checksum:
                    break
            else:
                kept = b""
                if checksum_of(0, content) != payload_checksum:
                    break
        elif mark == ERASED:
            kept = content = b""
        else:
            break
        raw = block[at + HEAD_BYTES : payload_at]
        source = names.get(raw)
        if source is None:
            source = names[raw] = raw.decode("utf-8", "replace")
        rows.append(StoredBatch(seq, source, user, records, total, received, kept, content))
        offsets.append(at)
        last, at = seq, end
    return rows, offsets, at


def head_at(block: bytes, at: int, seed: int) -> Head | None:
    """The head at an offset; None if there is none whose checksum is right."""
    if at + HEAD_BYTES > len(block):
        return None
    mark, checksum, payload_checksum, body, headers, name, flags, seq, user, synced, _, _, _, key = _ROW.unpack_from(
        block, at
    )
    payload_at = at + HEAD_BYTES + name
    if mark not in (LIVE, ERASED) or payload_at > len(block):
        return None
    if extend(seed, block[at + _CHECKED_FROM : payload_at]) != checksum:
        return None
    length = HEAD_BYTES + name + headers + body
    request_key = key if flags & _HAS_KEY else None
    return Head(
        mark == ERASED, seq, user, synced, request_key, payload_checksum,
        HEAD_BYTES + name, HEAD_BYTES + name + headers, length,
    )  # fmt: skip


def is_whole(head: Head, row: bytes) -> bool:
    """Whether these bytes, from the row's first on, hold the payload that belongs to its head."""
    if len(row) < head.length:
        return False
    return head.erased or extend(0, row[head.payload_at : head.length]) == head.payload_checksum
