"""One HTTP request and its answer, over plain ASGI."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from router_clevertap.sandbox import rules
from router_clevertap.sandbox.answers import Answer
from router_clevertap.sandbox.protocol import cut_connection


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an application got from its server for one request."""

    scope: Scope
    receive: Receive
    send: Send

    def query(self) -> dict[str, str]:
        text = self.scope["query_string"]
        return dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True)) if text else {}

    async def body(self) -> bytes | None:
        """The whole body, or None if the caller went away. A body over the limit ends just above it."""
        message = await self.receive()
        if not message.get("more_body"):
            return message.get("body") if message["type"] == "http.request" else None
        parts: list[bytes] = [message["body"]]
        size = len(message["body"])
        while message.get("more_body"):
            message = await self.receive()
            if message["type"] != "http.request":
                return None
            if size <= rules.MAX_BODY_BYTES:
                parts.append(message["body"])
                size += len(message["body"])
        return b"".join(parts)

    async def answer(self, answer: Answer) -> None:
        await self._start(answer)
        await self.send({"type": "http.response.body", "body": answer.body})

    async def half_answer(self, answer: Answer) -> None:
        """Send the head and half of the body. Only `cut` may follow."""
        await self._start(answer)
        half = answer.body[: len(answer.body) // 2]
        await self.send({"type": "http.response.body", "body": half, "more_body": True})

    async def cut(self) -> None:
        """Close the connection. The body must have been read."""
        await cut_connection(self.scope, self.receive)

    async def _start(self, answer: Answer) -> None:
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers),
        ]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
