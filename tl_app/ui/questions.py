"""What the page's own scripts ask the server, each at an address of its own.

Gradio's component server, which would carry such questions, also answers ones that nobody asked for, and is shut.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tl_app.ui import map_card, paths
from tl_app.ui.workspace import Workspace

FOLDERS, MAP_PHOTO = (
    "tl-app/folders",
    "tl-app/map-photo",
)  # relative: the app may sit behind a proxy's longer path


def routes(work: Workspace) -> list[Route]:
    """The addresses, for one app's memory."""

    def folders(typed: Any) -> list[str]:
        return paths.suggest(typed, work.roots) if isinstance(typed, str) else []

    asked: dict[str, Callable[[Any], Any]] = {FOLDERS: folders, MAP_PHOTO: map_card.Acts(work).photo_at}
    return [Route(f"/{place}", _answering(answer), methods=["POST"]) for place, answer in asked.items()]


def _answering(answer: Callable[[Any], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
        except ValueError:
            return JSONResponse({"detail": "This is no JSON."}, 400)
        return JSONResponse(await run_in_threadpool(answer, asked))

    return endpoint
