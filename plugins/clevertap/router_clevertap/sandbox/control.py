"""The sandbox's own routes: counts, records and faults for tests, and what the page shows.

They ask for no credentials; the sandbox is a tool for one's own machine. What they will not do is obey a page
of another site: a request that changes something and names a foreign Origin is refused.
"""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import islice
from urllib.parse import urlsplit

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router_clevertap.sandbox import answers
from router_clevertap.sandbox.answers import Answer
from router_clevertap.sandbox.faults import Fault, problems_of
from router_clevertap.sandbox.ledger import Entry
from router_clevertap.sandbox.overview import overview
from router_clevertap.sandbox.state import Sandbox

_FAULTS: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])


def control_routes(sandbox: Sandbox) -> list[Route]:
    """Routes under `/sandbox/`. Answers are JSON; a mistake is 400 with `{"status":"fail","error":text}`."""

    def route(path: str, method: str, action: Callable[[Sandbox, Request], Awaitable[Answer]]) -> Route:
        return Route(f"/sandbox/{path}", partial(_answer, sandbox, action), methods=[method])

    return [
        route("stats", "GET", _stats),
        route("records", "GET", _records),
        route("refusals", "GET", _refusals),
        route("damage", "GET", _damage),
        route("overview", "GET", _overview),
        route("faults", "GET", _list_faults),
        route("faults", "POST", _add_faults),
        route("faults", "DELETE", _clear_faults),
        route("reset", "POST", _reset),
    ]


async def _answer(
    sandbox: Sandbox, action: Callable[[Sandbox, Request], Awaitable[Answer]], request: Request
) -> Response:
    origin = request.headers.get("origin")
    if request.method != "GET" and origin and urlsplit(origin).netloc != request.headers.get("host"):
        answer = answers.failed(403, "Requests from other sites are not obeyed")
    else:
        try:
            answer = await action(sandbox, request)
        except ValueError as problem:
            answer = answers.failed(400, str(problem))
    return Response(answer.body, answer.status, media_type=answer.content_type, headers={"cache-control": "no-store"})


async def _stats(sandbox: Sandbox, _: Request) -> Answer:
    return answers.json(200, sandbox.stats())


async def _records(sandbox: Sandbox, request: Request) -> Answer:
    """`?after=n&limit=&account=&identity=|objectId=`: `{"records": [entry...], "next": n}`, oldest first.

    `next` is the `after` of the next page; None if this was the last. Of one person: give `identity` or
    `objectId`.
    """
    query = request.query_params
    entries = sandbox.ledger.after(int(query.get("after", 0)))
    if account := query.get("account"):
        entries = (entry for entry in entries if entry.account == account)
    for name in ("identity", "objectId"):
        if value := query.get(name):
            entries = _of_person(sandbox, entries, name, value)
    limit = min(max(1, int(query.get("limit", 1000))), 100_000)
    page = list(islice(entries, limit))
    has_more = next(iter(entries), None) is not None
    return answers.json(200, {"records": [entry.as_json() for entry in page], "next": page[-1].n if has_more else None})


def _of_person(sandbox: Sandbox, entries: Iterator[Entry], name: str, value: str) -> Iterator[Entry]:
    persons = {account.people.find(name, value) for account in sandbox.accounts.values()} - {None}
    return (entry for entry in entries if entry.person.current() in persons)


async def _refusals(sandbox: Sandbox, _: Request) -> Answer:
    """`{"refusals": [...]}`: the last ones, oldest first: `unprocessed` with `at`, `call`, `account`."""
    return answers.json(200, {"refusals": list(sandbox.refusals)})


async def _damage(sandbox: Sandbox, request: Request) -> Answer:
    """`?account=&code=`: `{"damage": [...], "counts": {code: number}}`, the last ones, oldest first.

    One element a fault of a record: `{"n", "at", "call", "account", "kind", "record", "code", "field", "silently",
    "source"}`. Counts are exact and of all accounts, unless `account` is given.
    """
    account, code = request.query_params.get("account"), request.query_params.get("code")
    if account and account not in sandbox.accounts:
        raise ValueError(f"No account {account} in this sandbox")
    tally = sandbox.accounts[account].tally if account else sandbox.tally
    listed = [
        entry.as_shown() | damage._asdict()
        for entry, damage in sandbox.damage
        if account in (None, entry.account) and code in (None, damage.code)
    ]
    return answers.json(200, {"damage": listed, "counts": dict(sorted(tally.damage.items()))})


async def _list_faults(sandbox: Sandbox, _: Request) -> Answer:
    return answers.json(200, {"faults": list(sandbox.faults)})


async def _add_faults(sandbox: Sandbox, request: Request) -> Answer:
    """Body: one fault or an array of them, added at the end of the program. Answers the program."""
    body = await request.body()
    try:
        content = orjson.loads(body)
        faults = _FAULTS.validate_python(content if isinstance(content, list) else [content])
    except ValidationError as error:
        raise ValueError(problems_of(error)) from None
    if sandbox.settings.fast and any(fault.partial for fault in faults):
        raise ValueError("fast mode does not look into records, so it knows no partial faults")
    sandbox.faults.add(faults)
    return await _list_faults(sandbox, request)


async def _clear_faults(sandbox: Sandbox, request: Request) -> Answer:
    sandbox.faults.clear()
    return await _list_faults(sandbox, request)


async def _reset(sandbox: Sandbox, _: Request) -> Answer:
    sandbox.reset()
    return answers.SUCCESS


async def _overview(sandbox: Sandbox, _: Request) -> Answer:
    return answers.json(200, overview(sandbox))
