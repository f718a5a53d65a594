"""Consent in a batch, and rules about it: GDPR purposes and the CCPA opt-out from the sale of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import model_validator

from router_core.components import setting
from router_core.values import Section, Several

OnMatch = Literal["include", "exclude"]
ON_MATCH_HELP: Final = "`include`: only what matches is sent. `exclude`: what matches is not sent."


class ConsentCondition(Section):
    """One answer of a user. Without any answer it does not match."""

    gdpr: str | None = setting(
        None, title="GDPR purpose", help="Name of the purpose, in any case.", example="marketing", min_length=1
    )
    ccpa: Literal["data_sale_opt_out"] | None = setting(
        None, title="CCPA", help="`consented: true` there means: opted out of the sale of data.",
        example="data_sale_opt_out",
    )  # fmt: skip
    consented: bool = setting(True, title="Consented", help="The answer that matches.")

    @model_validator(mode="after")
    def _one_regulation(self) -> ConsentCondition:
        if (self.gdpr is None) == (self.ccpa is None):
            raise ValueError("needs one of the two: `gdpr` with a purpose, or `ccpa`.")
        return self


class ConsentRule(Section):
    """Sends by what the user has consented to."""

    on_match: OnMatch = setting("include", title="On match", help=ON_MATCH_HELP)
    any_of: Several[ConsentCondition] = setting(
        title="Any of", help="One that matches is enough. A user who gave no answer matches none.",
        example=[{"gdpr": "marketing", "consented": True}],
    )  # fmt: skip


def consented_to(state: Any, condition: ConsentCondition) -> bool | None:
    """What the user answered; None without an answer. `state` is a batch's `consent_state`, as it came.

    mParticle's clients send a map of purposes. The one flat `gdpr` state of its published schema names no purpose, so
    it answers nothing.
    """
    regulation = state.get("gdpr" if condition.gdpr is not None else "ccpa") if isinstance(state, Mapping) else None
    if not isinstance(regulation, Mapping):
        return None
    wanted = (condition.gdpr or condition.ccpa or "").strip().lower()
    for purpose, answer in regulation.items():
        if purpose.strip().lower() == wanted and isinstance(answer, Mapping):
            return _answer(answer.get("consented"))
    return None


def _answer(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def consent_matches(state: Any, conditions: Sequence[ConsentCondition]) -> bool:
    """Whether one of the conditions is met. A missing answer meets none (mParticle web SDK, `consent.ts`)."""
    return any(consented_to(state, condition) is condition.consented for condition in conditions)
