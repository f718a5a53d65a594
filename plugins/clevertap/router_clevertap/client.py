"""CleverTap's upload API: requests out, answers in. Pure; the transport is core's.

An answer of 200 is no delivery until its body says so. Which record was refused stands in the text of the refusal,
counted from 1 (recorded answers); see `refusals.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from router_clevertap.mapping import Item
from router_clevertap.refusals import Refusal, placed_refusals
from router_clevertap.settings import ClevertapConfiguration
from router_core.components import HttpAnswer
from router_core.errors import CallRefused, DeliveryError, InvalidCredentials, Throttled, Unavailable
from router_core.outcomes import Disposition, Outcome
from router_core.retry import retry_after_seconds

PASSCODE_HEADER: Final = "x-clevertap-passcode"
_LONGEST_TEXT: Final = 300  # characters of CleverTap's text in a message
_PASSING: Final = (408, 423, 425)
_WEIGHTS: Final = (Disposition.DELIVERED, Disposition.REJECTED, Disposition.RETRY)
_CREDENTIALS: Final = (401, 403, 404, 405, 410)


@dataclass(frozen=True)
class UploadRequest:
    """One upload; its headers hold the passcode, so they are not in its repr."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    method: str = "POST"


def request_for(settings: ClevertapConfiguration, items: Sequence[Item], *, dry_run: bool = False) -> UploadRequest:
    """The upload of these items. A dry run is checked and answered as usual, and nothing is stored."""
    headers = {
        "x-clevertap-account-id": settings.account_id,
        PASSCODE_HEADER: settings.passcode.get_secret_value(),
        "content-type": "application/json",
    }
    url = f"{settings.api_url}/1/upload{'?dryRun=1' if dry_run else ''}"
    return UploadRequest(url, headers, orjson.dumps({"d": items}))


def outcomes_from_answer(
    answer: HttpAnswer, record_ids: Sequence[str], items: Sequence[Item], now: float
) -> list[Outcome]:
    """One outcome for each different record id; `record_ids` names the record of each item.

    A record of several items is delivered if all of them are, and retried if one may pass later. `now` is in Unix
    seconds. Raises `Throttled`, `Unavailable`, `InvalidCredentials` or `CallRefused` for the call as a whole.
    """
    body = answered_body(answer, now)
    outcomes: dict[str, Outcome] = {}
    merge(outcomes, _item_outcomes(body, record_ids, items))
    return list(outcomes.values())


def merge(outcomes: dict[str, Outcome], more: Iterable[Outcome]) -> None:
    """Take in more outcomes by record id: of two for one record, the one that needs more attention stays."""
    for outcome in more:
        known = outcomes.get(outcome.record_id)
        if known is None or _WEIGHTS.index(known.disposition) < _WEIGHTS.index(outcome.disposition):
            outcomes[outcome.record_id] = outcome


def answered_body(answer: HttpAnswer, now: float) -> dict[str, Any]:
    """The body of an answer that tells what became of each record. Raises as `outcomes_from_answer` does."""
    body = _json_object(answer.content)
    if answer.status < 200 or answer.status >= 300:
        raise _error_of(answer.status, _text_of(body), answer.headers, now)
    if body.get("status") not in ("success", "partial", "fail"):
        raise Unavailable(f"CleverTap answered {answer.status} without saying what became of the records.")
    code = body.get("code")
    if isinstance(code, int) and 400 <= code <= 508 and not body.get("unprocessed"):  # record codes start at 509
        raise _error_of(code, _text_of(body), answer.headers, now)
    return body


def _item_outcomes(body: Mapping[str, Any], record_ids: Sequence[str], items: Sequence[Item]) -> list[Outcome]:
    entries = body.get("unprocessed")
    entries = entries if isinstance(entries, list) else []
    if body["status"] == "fail" and not entries:
        text = _text_of(body) or "CleverTap refused all records of the call and named none."
        return [Outcome.rejected(record_id, "clevertap_fail", text) for record_id in record_ids]
    refusals = placed_refusals(entries, items)
    rest = Outcome.retry if _leaves_open(body, entries, items) else None
    outcomes = []
    for place, record_id in enumerate(record_ids):
        if place in refusals:
            outcomes.append(_refused(record_id, refusals[place]))
        elif rest is not None:
            outcomes.append(rest(record_id, "clevertap_unaccounted", "CleverTap's answer does not account for it."))
        else:
            outcomes.append(Outcome.delivered(record_id))
    return outcomes


def _leaves_open(body: Mapping[str, Any], entries: Sequence[Any], items: Sequence[Item]) -> bool:
    """Whether CleverTap counts fewer records than it was sent. Those it says nothing of may be lost: ask again."""
    processed = body.get("processed")
    return type(processed) is int and processed + len(entries) < len(items)


def _refused(record_id: str, refusal: Refusal) -> Outcome:
    code, text = f"clevertap_{refusal.code}", refusal.text[:_LONGEST_TEXT]
    if refusal.passes:
        return Outcome.retry(record_id, code, text)
    return Outcome.rejected(record_id, code, text)


def _error_of(status: int, text: str, headers: Mapping[str, str], now: float) -> DeliveryError:
    """The error for a call that was answered as a whole.

    These errors become log lines. CleverTap's text may repeat what was sent, so it is shown only where it is about
    credentials, and in dead letters.
    """
    said = f"CleverTap answered {status}"
    if status == 429:  # too many calls at once, per account (official documentation, "API FAQs")
        return Throttled(f"{said}.", retry_after_seconds(headers.get("retry-after", ""), now))
    if status in _PASSING or (status >= 500 and status != 501):
        return Unavailable(f"{said}.", retry_after_seconds(headers.get("retry-after", ""), now))
    if status in _CREDENTIALS or status < 400:
        told = f": {text.rstrip('.')}" if text and status in (401, 403) else ""
        return InvalidCredentials(f"{said}{told}. {_mend(status, text)}")
    return CallRefused(f"clevertap_{status}", f"{said}: {text}" if text else f"{said}.")


def _mend(status: int, text: str) -> str:
    """Which setting to look at."""
    if status not in (401, 403):
        return "There is no upload API at this address: check the settings region and base_url."
    also = "and region, which must be the account's own."
    if "account id" in text.lower():
        return f"Check the settings account_id {also}"
    if "credentials" in text.lower():
        return f"Check the settings passcode {also}"
    return f"Check the settings account_id, passcode {also}"


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _text_of(body: Mapping[str, Any]) -> str:
    text = body.get("error") or body.get("message")
    return text[:_LONGEST_TEXT] if isinstance(text, str) else ""
