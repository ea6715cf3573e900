"""How answers leave: the app's with our headers, or a refusal in its place. Knows nothing of rules."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Receive, Send

from tl_app.serving import doors
from tl_app.serving.asked import Asked
from tl_app.serving.bodies import Body, Refusal

BUSY = Refusal(503, "Many people are asking at the moment. Please try again in a few seconds.", 5)
_DRAIN_SECONDS, _DRAIN_BYTES = 15.0, 50_000_000
_END_SECONDS = 1.0
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Incoming:
    """The server's ``receive``, which remembers whether anything is still to come."""

    def __init__(self, receive: Receive) -> None:
        """Nothing was read."""
        self._receive, self.ended = receive, False

    async def receive(self) -> Message:
        """The next message."""
        message = await self._receive()
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message


class Reply:
    """A ``send`` for the app: its answer with our headers, or nothing where that will not be the answer.

    Args:
        send: The server's.
        body: Of the request; when it was refused, so is the app's answer.
        queues: Whether the app may answer that its queue is full.
        cookie: Sent along; empty for none.
    """

    def __init__(self, send: Send, body: Body | None, queues: bool, cookie: str) -> None:
        """Nothing was sent."""
        self.started = self._ended = False
        self._send, self._body, self._queues, self._cookie = send, body, queues, cookie
        self._full = False

    @property
    def refusal(self) -> Refusal | None:
        """What is to be said instead of the app's answer."""
        return BUSY if self._full else self._body.refusal if self._body is not None else None

    async def send(self, message: Message) -> None:
        """Passes a message on."""
        if message["type"] == "http.response.start":
            self._full = self._queues and message["status"] == 503
        if not self.started and (self.refusal is not None or (self._body is not None and self._body.failed)):
            return
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._cookie:
                headers.append("set-cookie", self._cookie)
        elif not message.get("more_body", False):
            self._ended = True
        await self._send(message)

    async def end(self) -> None:
        """Ends an answer that the app was kept from ending; whoever does not read it is not waited for."""
        if self.started and not self._ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self.send({"type": "http.response.body", "body": b""})


async def say(
    answer: Response | Refusal, asked: Asked, incoming: Incoming, send: Send, *, reads: bool = True
) -> None:
    """Sends an answer of the guard's own; what the client still sends is read and thrown away for a moment.

    A connection that is closed on a client that still sends is reset, and then the client never reads the answer.

    Args:
        answer: What to say.
        asked: The request.
        incoming: What is still to come of it.
        send: The server's.
        reads: Whether there is room to read that.
    """
    response = doors.refused(answer, asked.as_page) if isinstance(answer, Refusal) else answer
    if not reads and not incoming.ended:
        response.headers["Connection"] = "close"
    await send(
        {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    content = b"" if asked.method == "HEAD" else bytes(response.body)
    await send({"type": "http.response.body", "body": content, "more_body": True})
    if (
        reads and asked.method == "POST" and response.status_code != 408
    ):  # who was too slow is not waited for once more
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                left = _DRAIN_BYTES
                while left > 0 and not incoming.ended:
                    left -= len((await incoming.receive()).get("body", b""))
    await send({"type": "http.response.body", "body": b""})
