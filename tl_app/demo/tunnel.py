"""A public link for one local port, through Gradio's share server. Knows nothing of what answers at that port."""

from __future__ import annotations

import contextlib
import io
import secrets
import subprocess
from urllib.parse import urlparse, urlunparse

import httpx
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError

from tl_app.errors import ResourceError

# "This share link is temporary and will last for up to 1 week (best effort)": gradio 6.31, `Blocks.launch`.
HOURS = 7 * 24.0

_LOCAL = "The link for this machine works all the same."


def names() -> tuple[str, ...]:
    """What public addresses may be, as patterns: below Gradio's name, or a share server's of one's own."""
    own = networking.GRADIO_SHARE_SERVER_ADDRESS
    return ("*.gradio.live",) if own is None else (f"*.{own.rpartition(':')[0]}",)


def open_link(port: int) -> str:
    """The public address of a port of this machine, until :func:`close_links`; takes seconds.

    Writes the server's certificate into the working directory, and on its first call downloads the tunnel's program
    into the Hugging Face cache.

    Raises:
        ResourceError: There is none to be had; the message says why in a sentence.
    """
    try:
        found = networking.setup_tunnel("127.0.0.1", port, secrets.token_urlsafe(32), None, None)
    except ChecksumMismatchError as error:
        raise ResourceError(
            "The tunnel's program did not arrive as it was published, so it is not run: there is no public link.",
            remedy=_LOCAL,
        ) from error
    except (ShareCertificateWriteError, PermissionError) as error:
        raise ResourceError(
            f"There is no public link, because a file cannot be written: {error}.", remedy=_LOCAL
        ) from error
    # What gradio makes of no network, an odd answer, a refused login; and what its download of the program raises.
    except (RuntimeError, ValueError, OSError, httpx.HTTPError) as error:
        close_links()
        raise ResourceError(
            "Gradio's share server cannot be reached from here, so there is no public link.", remedy=_LOCAL
        ) from error
    # The share server speaks https in front of the tunnel; a server of one's own need not.
    own = networking.GRADIO_SHARE_SERVER_ADDRESS is not None
    parts = urlparse(found)
    return str(urlunparse(parts if own else parts._replace(scheme="https")))


def close_links() -> None:
    """Ends all tunnels of this process, and waits until they are gone."""
    while tunneling.CURRENT_TUNNELS:
        tunnel = tunneling.CURRENT_TUNNELS.pop()
        process = tunnel.proc
        with contextlib.redirect_stdout(io.StringIO()):  # it would print the link
            tunnel.kill()
        if process is not None:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
