"""The sandbox as one ASGI application."""

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from router_clevertap.sandbox.api import CleverTapApi
from router_clevertap.sandbox.control import control_routes
from router_clevertap.sandbox.page import page_routes
from router_clevertap.sandbox.state import Sandbox


class SandboxApplication:
    """Sends `/1/...` straight to the API and everything else through Starlette."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._api = CleverTapApi(sandbox)
        self._rest = Starlette(routes=[*control_routes(sandbox), *page_routes()])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/1/"):
            await self._api(scope, receive, send)
        else:
            await self._rest(scope, receive, send)
