"""How one record ended at one connection."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec


class Disposition(StrEnum):
    """The five ends; `retry` is the only one that comes back."""

    DELIVERED = "delivered"
    SKIPPED = "skipped"
    RETRY = "retry"
    REJECTED = "rejected"
    EXPIRED = "expired"


class Skip(NamedTuple):
    """Why a record is not sent."""

    code: str
    """Short and stable; docs/outcomes.md lists all."""
    message: str
    """For people; it names the setting that made it, and holds no value of the record."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The end of one record at one connection, matched to the record by `record_id`, never by position.

    `code` is short and stable (`no_identity`, `clevertap_513`): metrics, filters and tests use it.
    `message` is for people. Build outcomes with the class methods.
    """

    record_id: str
    disposition: Disposition
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    """Seconds to wait before a retry; None leaves the choice to core's back-off."""

    @classmethod
    def delivered(cls, record_id: str) -> Outcome:
        """The partner said that it has taken the record."""
        return cls(record_id, Disposition.DELIVERED)

    @classmethod
    def skipped(cls, record_id: str, code: str, message: str = "") -> Outcome:
        """Deliberately not sent, as a rule or a setting says; counted by its code, not a dead letter."""
        return cls(record_id, Disposition.SKIPPED, code, message)

    @classmethod
    def retry(cls, record_id: str, code: str, message: str = "", retry_after: float | None = None) -> Outcome:
        """A passing fault of this record alone; its user's later records wait behind it."""
        return cls(record_id, Disposition.RETRY, code, message, retry_after)

    @classmethod
    def rejected(cls, record_id: str, code: str, message: str = "") -> Outcome:
        """The record will never be taken as it is: it becomes a dead letter."""
        return cls(record_id, Disposition.REJECTED, code, message)

    @classmethod
    def expired(cls, record_id: str, code: str, message: str = "") -> Outcome:
        """Too old to go on retrying: it becomes a dead letter."""
        return cls(record_id, Disposition.EXPIRED, code, message)
