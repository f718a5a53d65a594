"""uvicorn's HTTP protocol with one ability more: an application may cut its connection.

ASGI has no message for that. A missing answer would be turned into a 500, so the protocol hands out its
transport.
"""

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CUT = "router_clevertap.cut"


class CuttableProtocol(HttpToolsProtocol):
    """Puts `transport.close` into the scope's extensions."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_CUT: {"close": self.transport.close}}


async def cut_connection(scope: Scope, receive: Receive) -> None:
    """Close the connection under a call whose body was read; what was sent before still goes out.

    Raises RuntimeError on a server other than `CuttableProtocol`.
    """
    extension = scope.get("extensions", {}).get(_CUT)
    if extension is None:
        raise RuntimeError("Cutting connections needs the sandbox's own server.")
    extension["close"]()
    while (await receive())["type"] != "http.disconnect":
        pass
