"""The `router` command. One command a file; plugins add theirs through the hook `router_commands`.

Exit status: 0 done; 1 it did not work, and a sentence on standard error says why; 2 wrong usage or a configuration
that cannot be used.
"""

from __future__ import annotations

import sys

from router_core.errors import ConfigurationError, RouterError

FAILED = 1
UNUSABLE = 2


def main() -> None:
    """Entry point of the command line."""
    from router_core.cli.app import build

    try:
        build()()
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(UNUSABLE)
    except RouterError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FAILED)
