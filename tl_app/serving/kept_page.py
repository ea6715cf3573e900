"""ASGI middleware behind the guard: the page is made once and then sent as it was, until the app has another.

Gradio copies and writes out all components of a page at every visit: 20 ms of Python for ours, two or three times that
while a training computes beside it. What is the same for everybody is made once for each address that it is asked for
under, packed where the browser unpacks it. Knows neither gradio nor who may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What an app builds its own address from, beside the server's root path.
_ADDRESS = ("host", "x-forwarded-host", "x-forwarded-proto")
_ADDRESSES = 8  # that are kept; a proxy may lead many names here
_WORTH_PACKING = 2000  # bytes


@dataclass(frozen=True)
class _Page:
    """An answer, and of which version of the app it is."""

    version: object
    start: Message
    body: bytes

    async def send(self, send: Send) -> None:
        """Sends copies: whoever passes a message on may add to it."""
        await send({**self.start, "headers": list(self.start["headers"])})
        await send({"type": "http.response.body", "body": self.body})


class KeptPage:
    """Keeps what ``GET /`` without a query is answered with.

    For an app whose page is the same for everybody. An answer other than 200, or with a cookie, is not kept.

    Args:
        app: What makes the page.
        version: An object that is another one as soon as the page is to be made anew.
    """

    def __init__(self, app: ASGIApp, version: Callable[[], object]) -> None:
        """Nothing was made yet."""
        self._app, self._version = app, version
        self._packing = GZipMiddleware(app, _WORTH_PACKING)
        self._pages: dict[tuple[str, ...], _Page] = {}  # the one that was asked for last comes last
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers from what is kept, or has it made; everything else is passed on."""
        is_page = scope["type"] == "http" and (scope["method"], scope["path"]) == ("GET", "/")
        if not is_page or scope["query_string"]:
            return await self._app(scope, receive, send)
        key = _key(scope)
        page = self._kept(key)
        if page is None:
            async with self._making:  # of many visitors at once, the first has it made
                page = self._kept(key) or await self._made(key, scope, receive)
        await page.send(send)
        return None

    def _kept(self, key: tuple[str, ...]) -> _Page | None:
        page = self._pages.pop(key, None)
        if page is None or page.version is not self._version():
            return None
        self._pages[key] = page
        return page

    async def _made(self, key: tuple[str, ...], scope: Scope, receive: Receive) -> _Page:
        version, messages = self._version(), list[Message]()

        async def collect(message: Message) -> None:
            messages.append(message)

        await self._packing(scope, receive, collect)
        page = _Page(version, messages[0], b"".join(each.get("body", b"") for each in messages[1:]))
        if page.start["status"] == 200 and "set-cookie" not in Headers(raw=page.start["headers"]):
            self._pages[key] = page
            if len(self._pages) > _ADDRESSES:
                del self._pages[next(iter(self._pages))]
        return page


def _key(scope: Scope) -> tuple[str, ...]:
    """The address that a request is for, and whether the answer may be packed."""
    headers = Headers(scope=scope)
    packed = "gzip" if "gzip" in headers.get("accept-encoding", "") else ""
    root = scope.get("root_path", "")
    return (scope.get("scheme", ""), root, packed, *(headers.get(name, "") for name in _ADDRESS))
