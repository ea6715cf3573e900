"""What the guard answers by itself: refusals, and the page on which one logs in. Knows nothing of rules."""

from __future__ import annotations

import functools
import html
import math
import string
from dataclasses import dataclass

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from tl_app import resources
from tl_app.serving.bodies import Refusal

_TITLES = {
    400: "This cannot be read",
    401: "Not logged in",
    403: "Not from here",
    404: "There is nothing here",
    408: "Too slow",
    413: "Too large",
    421: "Not this address",
    429: "Too often",
    503: "Very busy",
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none at all, browsers send the login form with `Origin: null`
}


def refused(refusal: Refusal, as_page: bool) -> Response:
    """The answer to a request that is refused: a page for people, JSON for the page's own scripts."""
    headers = _HEADERS | ({"Retry-After": str(math.ceil(refusal.wait))} if refusal.wait else {})
    if refusal.status in (408, 413):
        headers["Connection"] = "close"  # what is still on its way is not read
    if as_page:
        page = _page(_TITLES.get(refusal.status, "Not now"), refusal.text)
        return HTMLResponse(page, refusal.status, headers)
    # `detail` is what gradio's page shows of an error.
    return JSONResponse({"detail": refusal.text, "error": refusal.text}, refusal.status, headers)


def login_page(said: Refusal | None = None) -> Response:
    """The page on which one logs in, with what was wrong the last time."""
    page = _page("Log in", said.text if said else "", form=_asset("login.html"), kind="said")
    headers = _HEADERS | ({"Retry-After": str(math.ceil(said.wait))} if said and said.wait else {})
    return HTMLResponse(page, said.status if said else 200, headers)


@dataclass(frozen=True)
class Cookie:
    """One that scripts cannot read and other sites cannot send.

    Attributes:
        name: Of the cookie.
        value: Its text.
        seconds: That it is kept; None for as long as the browser is open.
    """

    name: str
    value: str
    seconds: int | None = None


def moved(place: str, *cookies: Cookie, encrypted: bool = False) -> Response:
    """On to another address, with cookies that an ``encrypted`` connection keeps to itself."""
    response = RedirectResponse(place, 303, _HEADERS)
    for cookie in cookies:
        # Lax, not strict: with strict the page would stay shut when its link is opened from a mail or a chat.
        response.set_cookie(
            cookie.name, cookie.value, max_age=cookie.seconds, secure=encrypted, httponly=True, samesite="lax"
        )
    return response


def _page(title: str, text: str, form: str = "", kind: str = "") -> str:
    page = string.Template(_asset("door.html"))
    return page.substitute(title=html.escape(title), text=html.escape(text), form=form, kind=kind)


@functools.cache
def _asset(name: str) -> str:
    return (resources.assets_dir() / name).read_text(encoding="utf-8")
