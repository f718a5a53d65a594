"""Log lines through structlog: JSON for machines, pretty on a terminal. Never a payload value, never a secret."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

# Without the local variables that structlog shows by default: they hold payload values and secrets.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure_logs(log_format: str, level: str) -> None:
    """Set structlog up for this process; `log_format` is auto, json or pretty. Lines go to standard error."""
    pretty = log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any
    if pretty:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if pretty else _TRACEBACKS,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger(**context: str) -> Any:
    """A logger with these fields on every line."""
    return structlog.get_logger(**context)
