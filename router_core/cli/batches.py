"""Reads recorded batches: a list of them, one on each line, a single one, or a recorded request.

Bytes are kept as they stand, faults included: whether a batch is good is for the input to say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import typer

STDIN: Final = "-"
_whole = msgspec.json.Decoder(msgspec.Raw)
_slices = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What one request brought, or is to bring."""

    batches: Sequence[bytes]
    bulk: bool = False
    path: str | None = None
    """Where a recorded request went to; None for a bare batch."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of a recorded request, lower-case."""

    @property
    def body(self) -> bytes:
        """The request's body."""
        return b"[" + b",".join(self.batches) + b"]" if self.bulk else self.batches[0]


class _Recorded(msgspec.Struct):
    """A recorded request in one of the two shapes that recordings have; no event batch has any of these fields."""

    path: str | None = None
    headers: Any = None
    body_text: str | None = None
    body_json: msgspec.Raw = msgspec.Raw()
    request: _Inner | None = None


class _Inner(msgspec.Struct):
    path: str
    headers: Any = None
    body: msgspec.Raw = msgspec.Raw()


_recorded = msgspec.json.Decoder(_Recorded)


def read_uploads(file: str) -> Sequence[Upload]:
    """All uploads in a file, or in standard input for `-`. Raises a usage error if there is nothing to read."""
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}.", param_hint="FILE") from None
    except ValueError:
        raise typer.BadParameter("this is no path.", param_hint="FILE") from None
    uploads = uploads_in(content)
    if not uploads:
        name = "standard input" if file == STDIN else file
        raise typer.BadParameter(f"{name} holds no batch.", param_hint="FILE")
    return uploads


def uploads_in(content: bytes) -> Sequence[Upload]:
    """All uploads in the text of a file."""
    if not content.strip():
        return []
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not _is_json(content) and len(lines) > 1 and _is_json(lines[0]):
        return [upload for line in lines for upload in _uploads(line)]
    return list(_uploads(content.strip()))


def _is_json(text: bytes) -> bool:
    try:
        _whole.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _uploads(document: bytes) -> Iterator[Upload]:
    if document.startswith(b"[") and _is_json(document):
        for part in _slices.decode(document):
            yield _upload(bytes(part))
    else:
        yield _upload(document)


def _upload(document: bytes) -> Upload:
    try:
        found = _recorded.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Upload(batches=[document])
    if found.request is not None:
        return _replayed(found.request.path, found.request.headers, bytes(found.request.body))
    body = found.body_text.encode() if found.body_text is not None else bytes(found.body_json)
    if not body:
        return Upload(batches=[document])
    return _replayed(found.path, found.headers, body)


def _replayed(path: str | None, headers: Any, body: bytes) -> Upload:
    known = _headers(headers)
    text = body.strip()
    if text.startswith(b"[") and _is_json(text):
        parts = [bytes(part) for part in _slices.decode(text)]
        return Upload(batches=parts, bulk=True, path=path, headers=known)
    if text.startswith(b'"'):  # a body that was recorded as text
        decoded = orjson.loads(text) if _is_json(text) else ""
        return Upload(batches=[decoded.encode() if isinstance(decoded, str) else text], path=path, headers=known)
    return Upload(batches=[body], path=path, headers=known)


def _headers(recorded: Any) -> dict[str, str]:
    """Headers from a mapping or a list of pairs."""
    pairs = recorded.items() if isinstance(recorded, dict) else recorded if isinstance(recorded, list) else ()
    return {str(pair[0]).lower(): str(pair[1]) for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2}
