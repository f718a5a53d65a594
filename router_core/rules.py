"""Forwarding rules of a connection: which users, batches and events it sends at all.

In this order; the first that holds a record back names the code. All but the last two are asked once a batch.

| code | rule |
|---|---|
| other_environment | `environments` |
| old_app_version | `minimum_app_version` |
| not_logged_in | `logged_in_users_only` |
| no_consent | `consent` |
| user_attribute_rule | `user_attribute` |
| not_sampled | `user_sampling_percent` |
| data_too_old | `maximum_data_age` |
| event_attribute_rule | `event_attribute` |

Rules see the data as it came, before filters take anything out (as mParticle's web SDK does for its kits).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from router_core.appversion import app_version
from router_core.components import setting
from router_core.consent import ON_MATCH_HELP, ConsentRule, OnMatch, consent_matches
from router_core.events import CommerceEvent, CustomEvent, EventBatch, Platform, ScreenView
from router_core.outcomes import Outcome, Skip
from router_core.records import BatchContext, Record
from router_core.sampling import is_sampled
from router_core.values import Duration, Section, Several

Environment = Literal["production", "development"]
_PRODUCTION: Final = ("production", "", "unknown")
OTHER_ENVIRONMENT: Final = "other_environment"
_APPS: Final = frozenset(Platform) - {Platform.DATA_FEEDS, Platform.OUT_OF_BAND}


def _version(value: str) -> str:
    if app_version(value) is None:
        raise ValueError("is not a version, such as 2.4.0.")
    return value


class ValueRule(Section):
    """Sends by the value of one attribute."""

    name: str = setting(title="Name", help="Of the attribute, to the letter.", example="plan", min_length=1)
    value: Annotated[str, Field(coerce_numbers_to_str=True)] = setting(
        title="Value",
        help="As text, to the letter: `true`, `33`. A list matches by any entry.",
        example="gold",
    )
    on_match: OnMatch = setting("include", title="On match", help=ON_MATCH_HELP)


class ForwardingRules(Section):
    """Which users, batches and events go to the destination."""

    environments: Several[Environment] = setting(
        ("production", "development"), title="Environments", help="Batches of these. One that names none, or "
        "`unknown`, is of `production`; any other name counts as `development`.", example=["production"],
    )  # fmt: skip
    minimum_app_version: Annotated[str, AfterValidator(_version)] | None = setting(
        None, title="Minimum app version", help="Batches of older versions are not sent, nor those that name none. In "
        "quotes.", example="2.4.0", platforms=_APPS,
    )  # fmt: skip
    logged_in_users_only: bool = setting(
        False, title="Logged-in users only", help="Send only batches that name their user by a user identity."
    )
    consent: ConsentRule | None = setting(
        None,
        title="Consent",
        help="By the user's consent. What a partner's feed says of it does not count.",
    )
    user_attribute: ValueRule | None = setting(
        None, title="User attribute", help="By a user attribute of the batch. A missing one does not match."
    )
    user_sampling_percent: float = setting(
        100, title="User sampling", help="Send this part of all users; always the same ones.", example=10, ge=0, le=100
    )
    maximum_data_age: Duration | None = setting(
        None, title="Maximum data age", help="Events that were older than this when they came in are not sent.",
        example="24h", gt=timedelta(0),
    )  # fmt: skip
    event_attribute: ValueRule | None = setting(
        None, title="Event attribute", help="By an attribute of custom events, screen views and commerce events. A "
        "missing one does not match."
    )  # fmt: skip


# --- one rule a function ----------------------------------------------------------------------------------------------


def environment_of(batch: EventBatch) -> Environment:
    """What the batch says; production if it says nothing, as mParticle documents, or `unknown`.

    Any other name (`dev`, `staging`) is development: test data must not get into a production account for its spelling.
    """
    said = "" if batch.environment is None else str(batch.environment).strip().lower()
    return "production" if said in _PRODUCTION else "development"


def has_app_version(batch: EventBatch, minimum: str) -> bool:
    """Whether the batch comes from this version of the app or a later one."""
    wanted = app_version(minimum)
    found = app_version(batch.application_info.application_version) if batch.application_info else None
    return found is not None and wanted is not None and found >= wanted


def has_consent(batch: EventBatch, context: BatchContext, rule: ConsentRule) -> bool:
    """Whether the rule lets the batch through. Only an app or a custom feed can speak for a user, not a partner."""
    state = None if context.channel == "partner" else batch.consent_state
    return consent_matches(state, rule.any_of) == (rule.on_match == "include")


def has_value(attributes: Mapping[str, Any] | None, rule: ValueRule) -> bool:
    """Whether the rule lets these attributes through."""
    value = (attributes or {}).get(rule.name)
    values = value if isinstance(value, list) else [value]
    matches = any(one is not None and _text(one) == rule.value for one in values)
    return matches == (rule.on_match == "include")


def _text(value: Any) -> str:
    """As JavaScript writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_recent(record: Record, maximum_ms: float) -> bool:
    """Whether the event was not older than this when it was accepted: waiting in the router does not age it."""
    return record.context.received_at_ms - record.occurred_at_ms <= maximum_ms


# --- at work ----------------------------------------------------------------------------------------------------------

BatchRule = tuple[Callable[[EventBatch, BatchContext], bool], Skip]
RecordRule = tuple[Callable[[Record], bool], Skip]


class Forwarding:
    """The forwarding rules of one connection at work.

    `where` is the setting's path, for the sentences; `split_by` that of the one which left it a single environment.
    """

    def __init__(self, rules: ForwardingRules, where: str, *, split_by: str | None = None) -> None:
        self._of_batch = list(_batch_rules(rules, where, split_by or f"{where}.environments"))
        self._of_record = list(_record_rules(rules, where))

    def __call__(self, records: Sequence[Record]) -> tuple[list[Record], list[Outcome]]:
        """The records to send, in order, and a skipped outcome for each other."""
        kept: list[Record] = []
        outcomes: list[Outcome] = []
        seen: EventBatch | None = None
        of_batch: Skip | None = None
        for record in records:
            if record.batch is not seen:
                seen = record.batch
                of_batch = next((skip for holds, skip in self._of_batch if not holds(seen, record.context)), None)
            skip = of_batch
            if skip is None:
                for holds, why in self._of_record:
                    if not holds(record):
                        skip = why
                        break
                else:
                    kept.append(record)
                    continue
            outcomes.append(Outcome.skipped(record.id, *skip))
        return kept, outcomes


def _batch_rules(rules: ForwardingRules, where: str, split_by: str) -> Iterator[BatchRule]:
    if len(set(rules.environments)) == 1:
        (only,) = set(rules.environments)
        yield (
            lambda batch, _: environment_of(batch) == only,
            Skip(OTHER_ENVIRONMENT, f"only {only} goes here, by {split_by}"),
        )
    if (minimum := rules.minimum_app_version) is not None:
        yield (
            lambda batch, _: has_app_version(batch, minimum),
            Skip("old_app_version", f"{where}.minimum_app_version: the app is not known to be {minimum} or later"),
        )
    if rules.logged_in_users_only:
        yield (
            lambda batch, _: bool(batch.identities),
            Skip("not_logged_in", f"{where}.logged_in_users_only is on and the batch has no user identity"),
        )
    if (consent := rules.consent) is not None:
        yield (
            lambda batch, context: has_consent(batch, context, consent),
            Skip("no_consent", f"{where}.consent {_held_back(consent.on_match)}"),
        )
    if (attribute := rules.user_attribute) is not None:
        yield (
            lambda batch, _: has_value(batch.user_attributes, attribute),
            Skip("user_attribute_rule", f"{where}.user_attribute {_held_back(attribute.on_match)}"),
        )
    if (percent := rules.user_sampling_percent) < 100:
        yield (
            lambda _, context: is_sampled(context.user, percent),
            Skip("not_sampled", f"{where}.user_sampling_percent leaves this user out"),
        )


def _record_rules(rules: ForwardingRules, where: str) -> Iterator[RecordRule]:
    if rules.maximum_data_age is not None:
        maximum_ms = rules.maximum_data_age / timedelta(milliseconds=1)
        yield (
            lambda record: is_recent(record, maximum_ms),
            Skip("data_too_old", f"it was older than {where}.maximum_data_age when it came in"),
        )
    if (attribute := rules.event_attribute) is not None:
        yield (
            lambda record: (
                type(record.event) not in (CustomEvent, ScreenView, CommerceEvent)
                or has_value(record.event.custom_attributes if record.event else None, attribute)
            ),
            Skip("event_attribute_rule", f"{where}.event_attribute {_held_back(attribute.on_match)}"),
        )


def _held_back(on_match: OnMatch) -> str:
    return "sends only what matches" if on_match == "include" else "excludes what matches"
