"""What can go wrong, named by what happens next.

RouterError
├── ConfigurationError       the start is refused; carries every problem at once
├── PluginError              a plugin that the configuration uses cannot be loaded
├── InvalidBatch             the sender gets a 400 with the place; nothing is stored
├── LogError                 the event log
│   ├── LogFull              the sender gets a 503 with Retry-After; resumes by itself
│   ├── LogInUse             another router holds the data folder
│   └── LogDamaged           a file that cannot be rebuilt is broken; the text says the mend
└── DeliveryError            raised by a destination for a whole call
    ├── Throttled            retried after the time the partner named, or a back-off
    ├── Unavailable          retried after a back-off
    ├── InvalidCredentials   the connection pauses, the data stays, somebody is told
    └── CallRefused          the call is halved until the record at fault stands alone; that one is rejected
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LONGEST_MESSAGE: Final = 2000


def storable(text: object) -> str:
    """The text of an error as any file takes it: at most `LONGEST_MESSAGE` characters, without half surrogate pairs.

    Such halves stand in file names that are no UTF-8, and in what a partner's code makes of odd bytes.
    """
    return str(text)[:LONGEST_MESSAGE].encode("utf-8", "replace").decode()


class RouterError(Exception):
    """Base of all errors that the router raises on purpose; its text is a sentence for a person."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a configuration: what, where, and how to mend it."""

    where: str
    """`file:line` of the value, or the name of the environment variable that set it."""
    path: str
    """Dotted path of the value, such as `outputs.clevertap_eu.settings.region`."""
    what: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f" {self.mend}" if self.mend else ""
        return f"{self.where}: {self.path}: {self.what}{mend}" if self.path else f"{self.where}: {self.what}{mend}"


class ConfigurationError(RouterError):
    """The configuration cannot be used; `problems` lists all that is wrong, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PluginError(RouterError):
    """A plugin is broken or two plugins claim one name; the text names the distributions."""


class InvalidBatch(RouterError):
    """What came in is not an event batch. `place` says where: `$.events[0].event_type`, `byte 17`."""

    def __init__(self, message: str, place: str = "$") -> None:
        self.place = place
        self.message = message
        super().__init__(f"{message} (at {place})")


class LogError(RouterError):
    """Base of the event log's errors."""


class LogFull(LogError):
    """No room: the disk is full or `log.max_bytes` is reached. Nothing of the append was kept."""


class LogInUse(LogError):
    """Another process holds the data folder."""


class LogDamaged(LogError):
    """A file that cannot be rebuilt from others is broken."""


class DeliveryError(RouterError):
    """Base of what a destination raises when a whole call ended without an outcome for each record."""


class Throttled(DeliveryError):
    """The partner asked for a pause. `retry_after` is in seconds, None when it named no time."""

    def __init__(self, message: str = "the partner asks to slow down", retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Unavailable(DeliveryError):
    """No answer, or one that promises that a later try may work. `retry_after` is in seconds."""

    def __init__(self, message: str = "the partner is unavailable", retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class InvalidCredentials(DeliveryError):
    """The partner refuses our credentials or the address: nothing will work until somebody mends the settings."""


class CallRefused(DeliveryError):
    """The partner refused the call as a whole because of something in it.

    Core sends the halves apart, down to single records; a record that is refused alone is rejected with
    `code` and `message`. `code` is short and stable, such as `clevertap_400`.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)
