"""Faults on order: what the sandbox does wrong, how often, and to which calls.

A program is a list of faults. Each call walks it from the top; a fault whose `api` and `account` fit sees the
call, and the first that fires has it. A fault fires on every call it sees, or on every `every`-th, until
`times` are used up, so `[A twice, B once]` gives A, A, B, and two `every` faults run side by side.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from router_clevertap.sandbox import answers, refusals, rules
from router_clevertap.sandbox.answers import Answer
from router_clevertap.sandbox.refusals import Refusal

ApiName = Literal["upload", "delete", "profile", "subscribe", "disassociate", "demerge"]
Cut = Literal["before_storing", "after_storing", "mid_answer"]


class Partial(BaseModel):
    """Which good records of a call are refused: those that fit any of the first three fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    positions: frozenset[PositiveInt] = frozenset()
    """Places in the request, counted from 1."""
    event_names: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()
    """Values of the root id, whichever it is."""
    code: int = 555
    error: str | None = None

    @model_validator(mode="after")
    def _fits_something(self) -> Self:
        if not (self.positions or self.event_names or self.identities):
            raise ValueError("partial needs positions, event_names or identities")
        return self

    def refusal(self, position: int, record: dict[str, Any]) -> Refusal | None:
        """The refusal of a record that passed all checks, or None."""
        if (
            position in self.positions
            or (record["type"] == "event" and record["evtName"] in self.event_names)
            or any(str(record[name]) in self.identities for name in rules.ROOT_IDS if name in record)
        ):
            return refusals.injected(self.code, self.error)
        return None


class Fault(BaseModel):
    """One fault. `delay` goes with any of the others or alone; of the others, one kind only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api: ApiName = "upload"
    account: str | None = None
    """Account ID; None fits every account."""
    times: PositiveInt | Literal["forever"] = 1
    every: PositiveInt = 1

    delay: float = Field(default=0, ge=0, le=3600)
    """Seconds before anything else is done; the call counts as under way meanwhile."""
    status: int | None = Field(default=None, ge=200, le=599)
    retry_after: float | str | None = None
    """Seconds, or the text of an HTTP date. Without `status` the status is 429."""
    body: Any = None
    """JSON to answer instead of the real shape."""
    not_json: bool = False
    """Answer HTML, as a proxy in between would; status 200 unless `status` is given."""
    stored: bool = False
    """With `status` or `not_json`: store the records first, so that a retry doubles them."""
    unauthorized: bool | Literal["account_id", "passcode"] = False
    """401: "account_id" for the text about the account, "passcode" or true for the one about credentials."""
    cut: Cut | None = None
    """Close the connection: with nothing stored, with all stored but no answer, or amid the answer."""
    partial: Partial | None = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        kinds = [
            self._answers_by_order,
            bool(self.unauthorized),
            self.cut is not None,
            self.partial is not None,
        ]
        if sum(kinds) > 1:
            raise ValueError("status, unauthorized, cut and partial are faults of different kinds: give one")
        if not any(kinds) and not self.delay:
            raise ValueError("a fault needs one of status, retry_after, delay, cut, partial, unauthorized, not_json")
        if self.stored and not self._answers_by_order:
            raise ValueError("stored goes with status or not_json")
        return self

    @property
    def _answers_by_order(self) -> bool:
        return self.status is not None or self.retry_after is not None or self.not_json or self.body is not None

    def answer(self) -> Answer | None:
        """The answer this fault puts in place of the real one, or None."""
        if self.unauthorized:
            return answers.UNKNOWN_ACCOUNT if self.unauthorized == "account_id" else answers.WRONG_PASSCODE
        if not self._answers_by_order:
            return None
        status = self.status or (200 if self.not_json or self.retry_after is None else 429)
        if self.not_json:
            answer = answers.html(status)
        elif self.body is not None:
            answer = answers.json(status, self.body)
        else:
            answer = answers.failed(status)
        if self.retry_after is None:
            return answer
        return answer.with_header("retry-after", _seconds(self.retry_after))


def _seconds(retry_after: float | str) -> str:
    return retry_after if isinstance(retry_after, str) else f"{retry_after:g}"


def problems_of(error: ValidationError) -> str:
    """What is wrong with faults given as JSON, in one line."""
    problems = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"] if isinstance(part, str))
        message = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{place}: {message}" if place else message)
    return "; ".join(problems)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    seen: int = 0
    fired: int = 0

    def fires(self) -> bool:
        self.seen += 1
        if self.seen % self.fault.every:
            return False
        self.fired += 1
        return True

    @property
    def is_spent(self) -> bool:
        return self.fault.times != "forever" and self.fired >= self.fault.times


class FaultProgram:
    """The faults in force, in order."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._armed = [_Armed(fault) for fault in faults]
        self.fired = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each fault as JSON-like data, with `fired` and the number of calls it has `seen`."""
        for armed in self._armed:
            shown = armed.fault.model_dump(mode="json", exclude_defaults=True)
            if armed.fault.partial:
                shown["partial"]["code"] = armed.fault.partial.code
            yield {**shown, "times": armed.fault.times, "fired": armed.fired, "seen": armed.seen}

    def add(self, faults: Iterable[Fault]) -> None:
        self._armed.extend(_Armed(fault) for fault in faults)

    def clear(self) -> None:
        self._armed.clear()

    def next(self, api: str, account: str) -> Fault | None:
        """The fault that befalls this call, or None."""
        for armed in self._armed:
            fault = armed.fault
            if fault.api == api and fault.account in (None, account) and armed.fires():
                self.fired += 1
                if armed.is_spent:
                    self._armed.remove(armed)
                return fault
        return None
