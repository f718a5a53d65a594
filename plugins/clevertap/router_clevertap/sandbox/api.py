"""CleverTap's API as a plain ASGI callable: credentials, concurrency and faults around the call itself.

No framework here, for the upload is the hot path of benchmarks.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from router_clevertap.sandbox import answers, profile_calls, rules
from router_clevertap.sandbox.answers import Answer
from router_clevertap.sandbox.calls import BadCall, Call
from router_clevertap.sandbox.credentials import account_of
from router_clevertap.sandbox.exchange import Exchange
from router_clevertap.sandbox.faults import Fault
from router_clevertap.sandbox.state import Account, Sandbox
from router_clevertap.sandbox.upload import fast_upload, upload

Handler = Callable[[Sandbox, Account, Call], Answer]

ROUTES: Final[Mapping[str, tuple[str, str, Handler]]] = {
    "/1/upload": ("POST", "upload", upload),
    "/1/profile.json": ("GET", "profile", profile_calls.profile),
    "/1/delete/profiles.json": ("POST", "delete", profile_calls.delete),
    "/1/demerge/profiles.json": ("POST", "demerge", profile_calls.demerge),
    "/1/subscribe": ("POST", "subscribe", profile_calls.subscribe),
    "/1/disassociate": ("POST", "disassociate", profile_calls.disassociate),
}


class CleverTapApi:
    """ASGI application for every path under `/1/`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._routes = dict(ROUTES)
        if sandbox.settings.fast:
            self._routes["/1/upload"] = ("POST", "upload", fast_upload)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        method, api, handler = self._routes.get(scope["path"], ("", "", None))
        if handler is None:
            await self._refuse(exchange, answers.failed(404))
            return
        if scope["method"] != method:
            await self._refuse(exchange, answers.failed(405))
            return
        account = account_of(scope["headers"], self._sandbox.accounts, has_body=method == "POST")
        if isinstance(account, Answer):
            await self._refuse(exchange, account)
            return
        under_way = account.in_flight[api] + 1
        account.in_flight[api] = under_way
        account.tally.at_once[api] = max(account.tally.at_once[api], under_way)
        try:
            await self._answer(exchange, api, handler, account)
        finally:
            account.in_flight[api] -= 1

    async def _refuse(self, exchange: Exchange, answer: Answer) -> None:
        if await exchange.body() is not None:
            self._sandbox.tally.answers[str(answer.status)] += 1
            await exchange.answer(answer)

    async def _answer(self, exchange: Exchange, api: str, handler: Handler, account: Account) -> None:
        is_crowded = account.in_flight[api] > self._calls_at_once(api)
        body = await exchange.body()
        if body is None:
            return
        number = self._counted(api, account)
        fault = None if is_crowded else self._sandbox.faults.next(api, account.id)
        if fault and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault and fault.cut == "before_storing":
            await self._cut(exchange, account)
            return
        if is_crowded:
            answer = answers.TOO_MANY_CALLS
        elif len(body) > rules.MAX_BODY_BYTES:
            answer = answers.failed(413)
        else:
            call = Call(number, exchange.query(), body, fault.partial if fault else None)
            answer = self._handled(handler, account, call, fault)
        if fault and fault.cut:
            if fault.cut == "mid_answer":
                await exchange.half_answer(answer)
            await self._cut(exchange, account)
            return
        self._count_ending(account, str(answer.status))
        await exchange.answer(answer)

    def _calls_at_once(self, api: str) -> int:
        return self._sandbox.settings.concurrency if api == "upload" else rules.OTHER_CALLS_AT_ONCE

    def _counted(self, api: str, account: Account) -> int:
        """Count a call; answers the number of an upload."""
        for tally in (self._sandbox.tally, account.tally):
            if api == "upload":
                tally.calls += 1
            else:
                tally.other_calls[api] += 1
        return self._sandbox.tally.calls if api == "upload" else 0

    def _handled(self, handler: Handler, account: Account, call: Call, fault: Fault | None) -> Answer:
        """The answer of a call, done or not done and answered as the fault orders."""
        instead = fault.answer() if fault else None
        if instead and fault and not fault.stored:
            return instead
        try:
            answer = handler(self._sandbox, account, call)
        except BadCall as problem:
            answer = answers.failed(400, str(problem))
        return instead or answer

    async def _cut(self, exchange: Exchange, account: Account) -> None:
        self._count_ending(account, "cut")
        await exchange.cut()

    def _count_ending(self, account: Account, ending: str) -> None:
        for tally in (self._sandbox.tally, account.tally):
            tally.answers[ending] += 1
