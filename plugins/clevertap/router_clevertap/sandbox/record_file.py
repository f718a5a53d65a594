"""A file with every accepted record, for tests that kill a sender and then count."""

from collections.abc import Sequence
from pathlib import Path

import orjson

from router_clevertap.sandbox.ledger import Entry


class RecordFile:
    """Appends one JSON line per record, in the shape of `Ledger` entries.

    The lines of a call are handed to the operating system in one write before the call is answered, so that
    they outlive the sandbox's own death (not a power cut). Raises OSError if the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, entries: Sequence[Entry]) -> None:
        lines = memoryview(b"".join(orjson.dumps(e.as_json(), option=orjson.OPT_APPEND_NEWLINE) for e in entries))
        while lines:  # an unbuffered write may take a part only
            lines = lines[self._file.write(lines) or 0 :]

    def close(self) -> None:
        self._file.close()
