"""Serves the demo's page: its port, its uploads' end, its own end, and the link to it.

Knows a page and rules; nothing of runs, networks or photos.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
import uvicorn
from starlette.types import ASGIApp

from tl_app import look
from tl_app.demo import tunnel
from tl_app.demo.answering import MAX_BYTES, Counts, sweep
from tl_app.demo.protocol import Settings, Status
from tl_app.errors import ResourceError
from tl_app.serving import logins, rules
from tl_app.serving.guard import Guard
from tl_app.serving.kept_page import KeptPage
from tl_app.serving.rules import Rules

HOST = "127.0.0.1"  # always: others come through the tunnel, to this port alone
_KEPT_SECONDS = (
    60.0  # an upload that nobody asks about; a slow phone's photo is asked about as soon as it is there
)
_SWEEP_SECONDS = 15.0
_GRACE_SECONDS = 2
_KEEP_ALIVE_SECONDS = 30

Say = Callable[[Status], None]


class Server:
    """One demo being served.

    Args:
        demo: The page.
        settings: Port, link and end.
        uploads: The folder that gradio stores uploads in.
        listener: Bound, of :func:`free_socket`.
        counts: Of questions; read only.
        say: Told whenever the status has changed.
        arrived: How often each upload came; those that are swept are forgotten there.
    """

    def __init__(
        self,
        demo: gr.Blocks,
        settings: Settings,
        uploads: Path,
        listener: socket.socket,
        counts: Counts,
        say: Say,
        arrived: collections.Counter[str] | None = None,
    ) -> None:
        self._settings, self._uploads, self._counts, self._say = settings, uploads, counts, say
        self._socket, self._arrived = listener, arrived
        port = self._socket.getsockname()[1]
        self._status = Status(local=f"http://{HOST}:{port}/", sharing=settings.share)
        self._port = port
        page = KeptPage(application(demo, self._while_serving), lambda: demo.config)
        config = uvicorn.Config(
            Guard(page, rules_for(settings, port, uploads)),
            log_level="warning",
            access_log=False,  # nobody's address is written down
            server_header=False,
            ws="none",
            # Longer than a page waits before it asks again: a connection that ends just then looks like a failure.
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serves until :meth:`stop`, a signal, or the end of its time."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            tunnel.close_links()
            self._change(state="ended", public="", sharing=False)

    def stop(self) -> None:
        """Ends :meth:`run` soon; from any thread."""
        self._server.should_exit = True

    @contextlib.asynccontextmanager
    async def _while_serving(self, app: fastapi.FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._tend())]
        if self._settings.hours:
            self._expire_in(self._settings.hours)
        # The socket listens already: whoever comes now waits for the moment that is left.
        self._change(state="ready")
        if self._settings.share:
            threading.Thread(target=self._share, name="demo link", daemon=True).start()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def _tend(self) -> None:
        """Once a second: what was asked since, and whether time is up; now and then uploads left behind."""
        swept = 0.0
        while True:
            await asyncio.sleep(1)
            self._change(asked=self._counts.asked, answered=self._counts.answered)
            if self._status.expires and datetime.fromisoformat(self._status.expires) <= datetime.now(UTC):
                self._change(note="Its time was up.")
                self.stop()
            if time.monotonic() - swept >= _SWEEP_SECONDS:
                swept = time.monotonic()
                # In this thread, as gradio makes an upload's folder and puts the file into it in one go here.
                sweep(self._uploads, _KEPT_SECONDS, time.time(), self._arrived)

    def _share(self) -> None:
        try:
            public = tunnel.open_link(self._port)
        except ResourceError as error:
            self._change(sharing=False, note=str(error))
            return
        if self._server.should_exit:
            tunnel.close_links()
            return
        self._expire_in(min(self._settings.hours or tunnel.HOURS, tunnel.HOURS))
        self._change(sharing=False, public=public)

    def _expire_in(self, hours: float) -> None:
        end = datetime.now(UTC) + timedelta(hours=hours)
        self._change(expires=end.isoformat(timespec="seconds"))

    def _change(self, **values: Any) -> None:
        status = dataclasses.replace(self._status, **values)
        if status != self._status:
            self._status = status
            self._say(status)


def rules_for(settings: Settings, port: int, uploads: Path) -> Rules:
    """Those of a public page, shared or not: a link is made to be handed on.

    No name but this machine's and, when it is shared, one of the share server's leads here.

    Args:
        settings: Whether it is shared, and who may come in.
        port: Where it listens.
        uploads: The folder whose size is bounded.
    """
    names = tunnel.names() if settings.share else ()
    users = logins.parsed([f"{settings.user}:{settings.password}"]) if settings.user else ()
    return rules.public(port, hosts=names, files=(uploads,), logins=users)


def application(demo: gr.Blocks, lifespan: Callable[[fastapi.FastAPI], Any]) -> ASGIApp:
    """The page as an application: no manual, no history, no monitoring, and no words of errors to the public."""
    app = fastapi.FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    return gr.mount_gradio_app(  # type: ignore[no-any-return]
        app,
        demo,
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=MAX_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        favicon_path=str(look.icon()),
        theme=look.theme(),
        app_kwargs={"exception_handlers": {KeyError: _no_such_event}},
        css_paths=[look.style_sheet(), look.style_sheet().with_name("demo.css")],
    )


async def _no_such_event(request: fastapi.Request, error: Exception) -> fastapi.Response:
    """Gradio looks up an event's number unchecked; a made-up one is no error of ours, to be shown in the terminal.

    Raises:
        Exception: It was something else.
    """
    number = (error.args or ("",))[0]
    if not (request.url.path.endswith("/queue/join") and isinstance(number, int)):
        raise error
    return fastapi.responses.JSONResponse({"detail": "The page does not ask this."}, 404)


def free_socket(port: int) -> socket.socket:
    """A socket that is bound to the port, or to any free one for 0.

    Raises:
        ResourceError: It is taken.
    """
    # The protocol is named because asyncio turns Nagle's algorithm off only for sockets that name it. With it, each
    # answer of two pieces waits for the client's delayed acknowledgement: 40 ms, twice a photo.
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name != "nt":  # there it would let two programs share the port
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise ResourceError(
            f"Port {port} cannot be used: {error.strerror or error}.",
            remedy="Choose another, or 0 for any free one.",
        ) from error
    return found
