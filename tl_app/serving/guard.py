"""ASGI middleware in front of the page: whatever the rules do not allow never reaches the app.

Each request passes the same checks in the same order: host, origin, address, token or login, rates, size. Nothing is
decided by a client's network address or by what a proxy claims of it. Nothing of a request is logged or kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl_app.serving import doors, rules
from tl_app.serving.asked import Asked, asked_by, same
from tl_app.serving.bodies import Body, Refusal, too_large, upload_body
from tl_app.serving.buckets import Buckets
from tl_app.serving.doors import Cookie
from tl_app.serving.logins import Logins
from tl_app.serving.replies import BUSY, Incoming, Reply, say
from tl_app.serving.room import Room
from tl_app.serving.rules import Rules
from tl_app.serving.turns import Count, Streams, Turns

_COOKIE_SECONDS = 7 * 24 * 3600  # of a token's cookie, which is of use for as long as the app runs
_DEVICE_SECONDS = 90 * 24 * 3600  # of use for as long as the app runs, too
_LOGIN_BYTES = 4000
_BODY_SECONDS, _TURN_SECONDS, _LOGIN_SECONDS = 30.0, 60.0, 10.0
_LOGINS = 64  # that are read at a time, before anybody is known
# Refusals whose client is listened to until it has read them, so that 500 visitors who are asked to wait read why. What
# they still send is thrown away: each costs what the server has buffered of it, 64 kB.
_REFUSALS = 600
_FULL = Refusal(503, "There is no room for more files at the moment. Please try again in a minute.", 60)
_SLOW = Refusal(503, "This took too long. Please try again.", 5)
_STREAMS = Refusal(429, "This browser has the page open too often. Please close some of its tabs.", 10)
_NOTHING = Refusal(404, "This address does not exist.")
_NO_TOKEN = Refusal(
    403,
    "This page opens with the link that tl-app printed in its terminal (it ends in ?token=…). Open that link once; "
    "this browser then knows it for as long as tl-app runs.",
)
# Claims about a client that only a proxy could know. Gradio would build addresses from some of them.
_CLAIMS = {
    b"forwarded",
    b"x-forwarded-host",
    b"x-forwarded-for",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
} | {
    b"x-forwarded-server",
    b"x-gradio-server",
    b"x-real-ip",
}


class Guard:
    """Holds one set of rules.

    Args:
        app: What is guarded.
        rules: The rules.
    """

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        """Nobody is inside."""
        self._app, self._rules = app, rules
        self._logins = Logins(rules.logins) if rules.logins else None
        self._secret = secrets.token_bytes(32)  # signs visits; gone with the process
        # Not the token itself: whoever reads a browser's cookies cannot make a link of it.
        self._opened = hashlib.sha256(f"tl-app {rules.token}".encode()).hexdigest()
        self._session_rate = Buckets(rules.session_rate) if rules.session_rate else None
        self._stream_rate = Buckets(rules.session_rate) if rules.session_rate else None
        self._global_rate = Buckets(rules.global_rate) if rules.global_rate else None
        kept = rules.uploads.kept_bytes
        self._room = None if kept is None else Room(rules.files, kept)
        self._turns = Turns(rules.uploads.at_once, rules.uploads.own_at_once, _TURN_SECONDS)
        self._requests, self._uploads = Count(rules.at_once), Count(rules.at_once)
        self._streams = Streams(rules.streams, rules.own_streams)
        self._read_logins, self._read_refusals = Count(_LOGINS), Count(_REFUSALS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # the page uses no websocket
            return await send({"type": "websocket.close", "code": 1008})
        asked, incoming = asked_by(scope), Incoming(receive)
        answer = await self._answer(asked, incoming.receive)
        if answer is None:
            answer = await self._pass_on(asked, scope, incoming.receive, send)
        if answer is not None:
            with self._read_refusals.one() as has_room:
                await say(answer, asked, incoming, send, reads=has_room)
        return None

    # Checks

    async def _answer(self, asked: Asked, receive: Receive) -> Response | Refusal | None:
        """What the guard answers by itself; None for what the app answers."""
        refusal = self._misdirected(asked) or self._foreign(asked) or self._unknown(asked)
        if refusal is not None:
            return refusal
        if asked.path == rules.STARTED or (asked.method, asked.path) == ("HEAD", "/"):
            # Gradio asks its own server whether it is up, without a cookie.
            return Response() if asked.method == "HEAD" else None
        if rules.OPEN.fullmatch(asked.path):
            return None
        if asked.path == "/login":
            return await self._login(asked, receive)
        answer = self._locked(asked) or self._too_often(asked)
        if answer is None and asked.path == rules.PROGRESS and not self._rules.progress:
            return Response('data: {"msg":"done"}\n\n', media_type="text/event-stream")
        return answer

    def _misdirected(self, asked: Asked) -> Refusal | None:
        """A name that is not ours: another site's name that was made to point here (DNS rebinding)."""
        hosts = asked.headers.getlist("host")
        if len(hosts) == 1 and self._rules.host_allowed(hosts[0]):
            return None
        name = hosts[0][:100] if hosts else ""
        text = f"The app does not answer under the name “{name}”. If it should, start it with --allow-host {name}."
        return Refusal(421, text)

    def _foreign(self, asked: Asked) -> Refusal | None:
        """A request that another site's page made: by its origin, and by what the browser says of it."""
        refusal = Refusal(403, "This was asked by the page of another site.")
        origin = asked.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != asked.headers["host"].lower():
            return refusal
        site = asked.headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin") or asked.navigates:
            return None
        return refusal

    def _unknown(self, asked: Asked) -> Refusal | None:
        """An address that the page does not use."""
        path, query = asked.path, parse_qs(asked.query, keep_blank_values=True)
        reading, known = asked.method in ("GET", "HEAD"), False
        if (found := rules.FILE.fullmatch(path)) is not None:
            return None if reading and self._may_serve(found["path"]) else _NOTHING
        if ".." in path.split("/") or "\\" in path or not path.isprintable():
            return _NOTHING
        if reading:
            open_to_read = (rules.PAGE, rules.STATIC, rules.OPEN, rules.STREAM)
            known = any(kind.fullmatch(path) for kind in open_to_read) or path in self._rules.routes
            known = known or path == rules.STARTED
        elif asked.method == "POST":
            known = any(kind.fullmatch(path) for kind in (rules.UPLOAD, rules.WORK, rules.SMALL))
            known = known or path in self._rules.routes
        known = known and not (self._rules.closed is not None and self._rules.closed.fullmatch(path))
        known = known or (path == "/login" and asked.method in ("GET", "POST") and self._logins is not None)
        if not known or "deep_link" in query or query.get("view") == ["api"]:
            return _NOTHING
        return None

    def _may_serve(self, path: str) -> bool:
        """Whether a file lies in one of the app's own folders, wherever its links lead."""
        try:
            real = Path(path).resolve(strict=True)
            return (
                Path(path).is_absolute()
                and real.is_file()
                and any(real.is_relative_to(folder.resolve()) for folder in self._rules.files)
            )
        except (OSError, ValueError, RuntimeError):  # not there, a NUL in it, links in a circle
            return False

    def _locked(self, asked: Asked) -> Response | Refusal | None:
        """Token or login, where there is one to show."""
        if self._logins is not None:
            if self._logins.user_of(asked.cookies.get(self._rules.cookie, "")):
                return None
            to_login = asked.as_page and (asked.method, asked.path) == ("GET", "/")
            return doors.moved("./login") if to_login else Refusal(401, "Please log in again.")
        if not self._rules.token:
            return None
        pairs = parse_qsl(asked.query, keep_blank_values=True)
        shown = [value for name, value in pairs if name == "token"]
        if asked.method == "GET" and asked.path == "/" and shown and same(shown[0], self._rules.token):
            rest = urlencode([pair for pair in pairs if pair[0] != "token"])
            opened = Cookie(self._rules.cookie, self._opened, _COOKIE_SECONDS)
            return doors.moved(f"./?{rest}".rstrip("?"), opened, encrypted=asked.encrypted)
        if same(asked.cookies.get(self._rules.cookie, ""), self._opened):
            return None
        if same(asked.headers.get("authorization", ""), f"Bearer {self._rules.token}"):
            return None
        return _NO_TOKEN

    async def _login(self, asked: Asked, receive: Receive) -> Response | Refusal:
        assert self._logins is not None
        if asked.method == "GET":
            return doors.login_page()
        body = Body(receive, _LOGIN_BYTES, _LOGIN_SECONDS, None)
        with self._read_logins.one() as has_room:
            if not has_room:
                return BUSY
            try:
                content = await body.all()
            except MultiPartException:
                return body.refusal or Refusal(400, "The login was cut off.")
        given = parse_qs(content.decode("utf-8", "replace"))
        user, password = (given.get(name, [""])[0] for name in ("user", "password"))
        user = user.strip()
        device = asked.cookies.get(self._rules.device_cookie, "")
        session, wait = await run_in_threadpool(self._logins.log_in, user, password, device)
        if wait:
            text = f"Too many tries. Please wait {wait:.0f} seconds and try again."
            return doors.login_page(Refusal(429, text, wait))
        if not session:
            return doors.login_page(Refusal(401, "User or password is wrong."))
        known = Cookie(self._rules.device_cookie, self._logins.device_of(user, device), _DEVICE_SECONDS)
        return doors.moved("./", Cookie(self._rules.cookie, session), known, encrypted=asked.encrypted)

    def _too_often(self, asked: Asked) -> Refusal | None:
        asks = asked.method == "POST" and not rules.SMALL.fullmatch(asked.path)
        rate = (
            self._session_rate if asks else self._stream_rate if rules.STREAM.fullmatch(asked.path) else None
        )
        if rate is not None:
            session = self._session(asked)
            if not session:
                return Refusal(403, "Please open the page first, with cookies allowed.")
            if wait := rate.take(session):
                text = f"This is more than one person asks for. Please wait {max(wait, 1):.0f} seconds."
                return Refusal(429, text, wait)
        if (asks or rules.PAGE.fullmatch(asked.path)) and self._global_rate is not None:
            if wait := self._global_rate.take():
                return Refusal(429, BUSY.text, wait)
        return None

    def _session(self, asked: Asked) -> str:
        """Who asks, without knowing who that is: a login's cookie, or the one that came with the page."""
        if self._logins is not None or self._rules.token:
            return asked.cookies.get(self._rules.cookie, "")
        name, _, sign = asked.cookies.get(self._rules.cookie, "").partition(".")
        return name if name and same(sign, self._signed(name)) else ""

    def _signed(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), "sha256").hexdigest()

    # Passing on

    async def _pass_on(
        self, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> Response | Refusal | None:
        """Lets the app answer; what is to be said instead when it may not, or cannot in time."""
        if rules.STREAM.fullmatch(asked.path):
            return await self._let_in(asked, scope, receive, send)
        upload = rules.UPLOAD.fullmatch(asked.path) is not None
        with (self._uploads if upload else self._requests).one() as has_room:
            if not has_room:
                return BUSY
            if not upload:
                return await self._let_in(asked, scope, receive, send)
            async with self._turns.one(self._session(asked)) as has_place:
                return await self._let_in(asked, scope, receive, send) if has_place else BUSY

    async def _let_in(
        self, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> Response | Refusal | None:
        size, most = self._upload_bytes(asked), self._most_bytes(asked)
        if most is not None and asked.said_bytes > most:
            return too_large(most)
        if size is not None and self._room is not None and not self._room.take(size):
            return _FULL
        try:
            body = self._body(asked, receive)
            if isinstance(body, Refusal):
                return body
            reply = Reply(send, body, rules.WORK.fullmatch(asked.path) is not None, self._visit(asked))
            refusal = await self._in_time(asked, self._cleaned(scope), body, receive, reply)
            return None if reply.started else refusal
        finally:
            if size is not None and self._room is not None:
                self._room.landed(size)

    async def _in_time(
        self, asked: Asked, scope: Scope, body: Body | None, receive: Receive, reply: Reply
    ) -> Refusal | None:
        """Runs the app; why it is not its answer that is sent, if so."""
        if rules.STREAM.fullmatch(asked.path):
            return await self._stream(asked, scope, receive, reply)
        try:
            upload = rules.UPLOAD.fullmatch(asked.path)
            async with asyncio.timeout(None if upload else self._rules.seconds) as limit:
                await self._app(scope, body.receive if body else receive, reply.send)
        except TimeoutError:
            if not limit.expired():
                raise
            return _SLOW
        except MultiPartException:
            if body is None or not body.failed:
                raise
        return reply.refusal

    async def _stream(self, asked: Asked, scope: Scope, receive: Receive, reply: Reply) -> Refusal | None:
        gone = False

        async def heard() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        try:
            async with asyncio.timeout(self._rules.stream_seconds) as limit:
                with self._streams.one(self._session(asked), limit) as has_place:
                    if not has_place:
                        return _STREAMS
                    await self._app(scope, heard, reply.send)
        except Exception:
            # After its end gradio's own tidying fails over what another stream of the same page has tidied already.
            if not (gone or limit.expired()):
                raise
            await reply.end()
            return BUSY
        return None

    def _upload_bytes(self, asked: Asked) -> int | None:
        """What an upload may bring at most; None when this is none."""
        if not rules.UPLOAD.fullmatch(asked.path):
            return None
        # The server reads no more than a request says; one that does not say is taken for the largest.
        return asked.said_bytes if asked.said_bytes >= 0 else self._rules.uploads.request_bytes or 0

    def _most_bytes(self, asked: Asked) -> int | None:
        """Of the whole body."""
        upload = rules.UPLOAD.fullmatch(asked.path)
        return self._rules.uploads.request_bytes if upload else self._rules.body_bytes

    def _body(self, asked: Asked, receive: Receive) -> Body | Refusal | None:
        """The body, watched; a refusal when it is none that could be."""
        if asked.method != "POST":
            return None
        if not rules.UPLOAD.fullmatch(asked.path):
            return Body(receive, self._rules.body_bytes, _BODY_SECONDS, None)
        return upload_body(receive, asked.headers.get("content-type", ""), self._rules.uploads)

    def _visit(self, asked: Asked) -> str:
        """The cookie to send with a page that is open to all, for a browser that has none yet."""
        if self._logins is not None or self._rules.token or self._rules.session_rate is None:
            return ""
        if asked.method != "GET" or asked.path != "/" or self._session(asked):
            return ""
        name = secrets.token_urlsafe(16)
        secure = "; Secure" if asked.encrypted else ""
        value = f"{name}.{self._signed(name)}"
        return f"{self._rules.cookie}={value}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax{secure}"

    def _cleaned(self, scope: Scope) -> Scope:
        """The request without claims that the app would believe."""
        allowed = self._rules.host_allowed
        kept = [
            (name, value)
            for name, value in scope["headers"]
            if name not in _CLAIMS or (name == b"x-forwarded-host" and allowed(value.decode("latin-1")))
        ]
        untracked = not self._rules.progress and rules.UPLOAD.fullmatch(scope["path"])
        return {**scope, "headers": kept} | ({"query_string": b""} if untracked else {})
