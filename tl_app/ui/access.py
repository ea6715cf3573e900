"""How the page is reached: the address it listens on, and the rules it is served by.

Knows nothing of tabs. A page that other machines can reach asks for a login; one for this machine for a token.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from tl_app import resources
from tl_app.errors import ResourceError, UsageError
from tl_app.serving import logins, rules
from tl_app.serving.rules import Rules

_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def rules_for(
    host: str,
    port: int,
    *,
    token: str | None = None,
    auth: Iterable[str] = (),
    allowed_hosts: Iterable[str] = (),
) -> Rules:
    """The rules for a page that listens there.

    Args:
        host: Address it listens on.
        port: Port it listens on.
        token: Of the link, in local mode; None for ``$TL_APP_TOKEN``, or one that nobody can guess.
        auth: Logins as ``USER:PASSWORD``; none for those of ``$TL_APP_AUTH``, one a line.
        allowed_hosts: Further names the page may be asked for by.

    Raises:
        UsageError: Other machines could reach it, and there is no login; or a login is not complete.
    """
    auth = list(auth) or os.environ.get("TL_APP_AUTH", "").splitlines()
    more = {"files": (Path(os.environ["GRADIO_TEMP_DIR"]),)}
    if auth or not _only_here(host):
        return rules.lan(port, logins=logins.parsed(auth), host=host, hosts=allowed_hosts, **more)
    token = token or os.environ.get("TL_APP_TOKEN") or None
    return rules.local(port, token=token, hosts=allowed_hosts, **more)


def roots(asked: Iterable[str | Path], data: str | None) -> tuple[Path, ...]:
    """Folders that photos may come from, when not all may be used: those asked for, uploads, and the sample.

    Args:
        asked: By whoever starts the app.
        data: The photos to begin with; None for none.

    Raises:
        UsageError: One is not a folder.
    """
    folders = [Path(each).expanduser().resolve() for each in asked]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is no folder.", remedy="Name one that is there with --data-root.")
    begin = [] if data is None else [Path(data).expanduser().resolve()]
    return (
        *folders,
        *begin,
        resources.home_dir().resolve() / "uploads",
        resources.sample_data_dir().resolve(),
    )


def link(host: str, rules: Rules) -> str:
    """What to open in a browser on this machine."""
    host = _ANY.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{rules.port}/" + (f"?token={rules.token}" if rules.token else "")


def usable_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0.

    Raises:
        ResourceError: It is taken.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there it would let two programs share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(
                f"Port {port} on {host} cannot be used: {error.strerror or error}.",
                remedy=f"Is tl-app running already, at http://{host}:{port}/? Or choose another with --port.",
            ) from error
        return int(probe.getsockname()[1])


def trust_own_address() -> None:
    """Gradio asks its own server whether it is up; a proxy set for the internet must not answer."""
    for name in ("no_proxy", "NO_PROXY"):
        known = os.environ.get(name, "")
        os.environ[name] = ",".join(part for part in (known, "127.0.0.1", "localhost") if part)


def _only_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name, which may be anyone's
        return False
