"""What of a request the guard's checks look at. Knows nothing of rules."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        path: With ``%`` sequences resolved once, as the app will see it.
        query: As it was sent.
        cookies: By name.
    """

    method: str
    path: str
    query: str
    headers: Headers
    cookies: dict[str, str]

    @property
    def as_page(self) -> bool:
        """Whether a person would read the answer."""
        return "text/html" in self.headers.get("accept", "")

    @property
    def said_bytes(self) -> int:
        """What the request says of its body's size; -1 when it says nothing that is a number."""
        said = self.headers.get("content-length", "")
        return int(said) if said.isdecimal() and len(said) < 20 else -1

    @property
    def encrypted(self) -> bool:
        """Whether a proxy took the request over https; nothing is allowed by it, cookies are only kept closer."""
        return self.headers.get("x-forwarded-proto") == "https"

    @property
    def navigates(self) -> bool:
        """Whether a browser's address bar asks, not a page."""
        return self.method in ("GET", "HEAD") and self.headers.get("sec-fetch-mode") in (None, "navigate")


def asked_by(scope: Scope) -> Asked:
    """The request that a server passes on."""
    headers = Headers(scope=scope)
    cookies = cookie_parser("; ".join(headers.getlist("cookie")))
    return Asked(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, cookies)


def same(given: str, right: str) -> bool:
    """Compares in a time that tells nothing of how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())
