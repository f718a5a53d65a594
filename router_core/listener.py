"""Core's one listener: which source answers a path, and the port."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import unquote

import httptools

from router_core.components import Route
from router_core.errors import ConfigurationError, Problem, RouterError
from router_core.http import BadRequest, Request, Response

_BACKLOG: Final = 2048


class Found(NamedTuple):
    """Who answers a request."""

    route: Route
    owner: str
    """The source that the route is of; `unknown` if nobody's."""


class Target(NamedTuple):
    """A request's target, taken apart."""

    found: Found
    path: str
    query: str


class Listener:
    """Exact paths first, then the longest prefix."""

    def __init__(self, routes: Iterable[tuple[str, Route]]) -> None:
        """Pairs of a source's name and a route of it. Raises `ConfigurationError` if two want one path."""
        self._exact: dict[str, Found] = {}
        self._prefixes: list[Found] = []
        for owner, route in routes:
            if route.prefix:
                self._prefixes.append(Found(route, owner))
            elif route.path in self._exact:
                raise ConfigurationError(
                    [Problem(where="plugins", path="", what=f"two sources serve the path {route.path}.")]
                )
            else:
                self._exact[route.path] = Found(route, owner)
        self._prefixes.sort(key=lambda found: -len(found.route.path))
        self._targets = {
            path.encode(): Target(found, path, "") for path, found in self._exact.items() if "%" not in path
        }

    def target(self, url: bytes) -> Target:
        """Who answers a request line's target. Raises `BadRequest` 400 if it is none."""
        known = self._targets.get(url)
        return known if known is not None else self._taken_apart(url)

    def _taken_apart(self, url: bytes) -> Target:
        try:
            parts = httptools.parse_url(url)
            path = unquote((parts.path or b"").decode("ascii"), errors="strict")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            raise BadRequest(400, "BAD_REQUEST", "The request's path is not a valid URL.") from None
        return Target(self.find(path), path, (parts.query or b"").decode("ascii", "replace"))

    def find(self, path: str) -> Found:
        """Who answers a path; somebody always does, if only with a 404."""
        found = self._exact.get(path)
        if found is None:
            found = next((found for found in self._prefixes if path.startswith(found.route.path)), _NOBODY)
        return found


async def _not_found(request: Request) -> Response:
    raise BadRequest(404, "NOT_FOUND", "No input listens on this path.")


_NOBODY: Final = Found(Route(path="", handle=_not_found, prefix=True), "unknown")
NOWHERE: Final = Target(_NOBODY, "", "")
"""Of a request that did not get as far as its path."""


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket. Raises `RouterError` with a sentence that names the setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RouterError(
            f"cannot listen on {host}:{port}: {reason}. Stop what uses it, or set `{setting}` to a free port."
        ) from None
    listening.setblocking(False)
    listening.set_inheritable(True)
    return listening
