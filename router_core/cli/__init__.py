"""The `router` command. One command a file; plugins add theirs through the hook `router_commands`.

Exit status: 0 done; 1 it did not work, and a sentence on standard error says why; 2 wrong usage or a configuration
that cannot be used.
"""

from __future__ import annotations

import io
import sys

FAILED = 1
UNUSABLE = 2


def main() -> None:
    """Entry point of the command line."""
    from router_core.cli.app import build

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name or a value may not fit the terminal's encoding
    build()()
