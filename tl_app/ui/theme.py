"""What the app's page is served with: its look, and plotly's drawing code. The page loads nothing from the network.

Knows nothing of tabs.
"""

from __future__ import annotations

import plotly
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from tl_app import plots
from tl_app.look import asset, icon, script, style_sheet, theme

__all__ = ["PLOTLY_HEAD", "PLOTLY_URL", "asset", "icon", "routes", "script", "style_sheet", "theme"]

# Served under its version, so that a browser may keep it for long and still gets the new one after an update.
PLOTLY_URL = f"tl-app/plotly-{plotly.__version__}.min.js"
# Relative, because the app may sit behind a proxy under a longer path.
PLOTLY_HEAD = f'<script src="{PLOTLY_URL}"></script>'


def routes() -> list[Route]:
    """Addresses the app serves beside gradio's own: plotly's drawing code, out of the installed package."""
    return [Route(f"/{PLOTLY_URL}", _plotly, methods=["GET", "HEAD"])]


async def _plotly(request: Request) -> FileResponse:
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(plots.drawing_code(), media_type="text/javascript", headers=headers)
