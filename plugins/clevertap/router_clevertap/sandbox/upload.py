"""`POST /1/upload`: strict, or fast for benchmarks."""

import time
from collections import Counter
from operator import itemgetter
from typing import Any, Final

from router_clevertap.sandbox import answers, rules
from router_clevertap.sandbox.answers import Answer
from router_clevertap.sandbox.calls import BadCall, Call, array_of, shallow_array_of
from router_clevertap.sandbox.record_checks import record_refusal
from router_clevertap.sandbox.state import Account, Sandbox


def upload(sandbox: Sandbox, account: Account, call: Call) -> Answer:
    """Check every record, store the good ones, answer per record what is wrong with the others."""
    records = shallow_array_of(call.body, "d", rules.MAX_RECORDS_PER_CALL)
    tokens = sum(isinstance(record, dict) and record.get("type") == "token" for record in records)
    if tokens > rules.MAX_TOKENS_PER_CALL:
        raise BadCall(f"At most {rules.MAX_TOKENS_PER_CALL} device tokens are allowed in a request")
    accepted: list[dict[str, Any]] = []
    unprocessed: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        refusal = record_refusal(record, sandbox.settings)
        if refusal is None and call.partial is not None:
            refusal = call.partial.refusal(number, record)
        if refusal is None:
            accepted.append(record)
        else:
            unprocessed.append(refusal.entry(number, record))
    if not _is_dry_run(sandbox, account, call):
        sandbox.keep(account, call.number, accepted, unprocessed, len(call.body))
    return answers.uploaded(len(accepted), unprocessed)


def fast_upload(sandbox: Sandbox, account: Account, call: Call) -> Answer:
    """Parse once, count by kind, keep nothing. A call with a record of no known kind is refused whole."""
    records = array_of(call.body, "d", rules.MAX_RECORDS_PER_CALL)
    try:
        kinds = Counter(map(_kind_of, records))
    except (TypeError, KeyError, IndexError):
        raise BadCall("Each record needs a type") from None
    if not kinds.keys() <= _KINDS:
        raise BadCall("Each record needs the type event, profile or token")
    if not _is_dry_run(sandbox, account, call):
        sandbox.count(account, kinds, _NONE_REFUSED, len(call.body), time.time())
    return answers.uploaded(len(records), ())


_kind_of = itemgetter("type")
_KINDS: Final = frozenset({"event", "profile", "token"})
_NONE_REFUSED: Final[Counter[int]] = Counter()


def _is_dry_run(sandbox: Sandbox, account: Account, call: Call) -> bool:
    """Recorded, 2018: `dryRun=0` is a normal upload. `dryRun=1` answers as usual and stores nothing."""
    if call.query.get("dryRun") != "1":
        return False
    sandbox.tally.dry_runs += 1
    account.tally.dry_runs += 1
    return True
