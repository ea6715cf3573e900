"""The three sets of rules as plain data: this machine, the local network, everyone.

Knows what gradio's page asks for, by the shape of the address; knows neither gradio nor what is behind an address.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tl_app.errors import UsageError

Mode = Literal["local", "lan", "public"]

MB = 1_000_000
# What gradio's page asks for. All else that gradio 6 serves (its proxy, component server, monitoring, run history, deep
# links, API and its manual, streams, screen recordings, editor) is answered with 404.
_HASH = r"[A-Za-z0-9_-]{1,64}"
PAGE = re.compile(r"/|/config/?")
STATIC = re.compile(r"/(assets|static|svelte)/[A-Za-z0-9_.@+/ -]{1,200}")
OPEN = re.compile(
    r"/favicon\.ico|/robots\.txt|/manifest\.json|/pwa_icon(/(192|512))?|(/gradio_api)?/theme\.css"
)
UPLOAD = re.compile(r"/gradio_api/upload")
WORK = re.compile(r"/gradio_api/(queue/join|run/predict)/?")
STREAM = re.compile(rf"/gradio_api/(queue/data|upload_progress|heartbeat/{_HASH})")
SMALL = re.compile(r"/gradio_api/(cancel|reset/?)")
FILE = re.compile(r"/gradio_api/file=(?P<path>.+)", re.DOTALL)
# Of these, what a page without a memory of its visitors does not ask for: events beside the queue, signs of life.
NOT_PUBLIC = re.compile(rf"/gradio_api/(run/predict/?|heartbeat/{_HASH})")
STARTED = "/gradio_api/startup-events"
PROGRESS = "/gradio_api/upload_progress"


@dataclass(frozen=True)
class Rate:
    """So many in a row, then so many a minute (a token bucket)."""

    per_minute: float
    in_a_row: int


@dataclass(frozen=True)
class Uploads:
    """What one request may bring.

    Attributes:
        file_bytes: Of one file; None for no limit but the disk's.
        request_bytes: Of all files of one request; None for no limit.
        files: In one request.
        seconds: From the first byte to the last; None for as long as it takes.
        idle_seconds: Between two pieces.
        at_once: Uploads that are read at a time; others wait for theirs.
        own_at_once: Of one browser.
        kept_bytes: What may lie in the upload folder before no more is taken; None for no limit.
    """

    file_bytes: int | None = None
    request_bytes: int | None = None
    files: int = 1000
    seconds: float | None = None
    idle_seconds: float = 60.0
    at_once: int = 16
    own_at_once: int = 8
    kept_bytes: int | None = None


@dataclass(frozen=True)
class Rules:
    """One set of rules.

    Attributes:
        mode: Its name.
        port: Where the server listens; in the cookies' names, as browsers keep cookies by host alone.
        hosts: Names and ports a request may be for (``127.0.0.1:7860``); ``*.name`` allows all below a name.
        token: What opens the page once (``/?token=…``); empty: no token is asked for.
        logins: Users and their hashed passwords (see :mod:`tl_app.serving.logins`); empty: no login is asked for.
        files: Folders that ``file=`` may serve from, once links are resolved.
        routes: Addresses the app serves beside gradio's own.
        closed: Those of gradio's own that this page does not ask for.
        uploads: What an upload may bring.
        body_bytes: Of any other request.
        session_rate: Questions of one browser; None for no limit. A question is an upload or an event.
        global_rate: Questions and page loads of everyone together; None for no limit.
        waiting: Questions that may wait in gradio's queue; what the queue is to be made with.
        at_once: Requests under way together; so many uploads beside them.
        streams: Answers that stay open, all together, beside these; where there are more, the oldest ends.
        own_streams: Of one browser.
        stream_seconds: After which a stream ends; None for never.
        seconds: For one answer that is no stream; None for as long as it takes.
        progress: Whether gradio follows how far uploads are. It never forgets one that nobody asks about.
    """

    mode: Mode
    port: int
    hosts: frozenset[str]
    token: str = ""
    logins: tuple[tuple[str, str], ...] = ()
    files: tuple[Path, ...] = ()
    routes: frozenset[str] = frozenset()
    closed: re.Pattern[str] | None = None
    uploads: Uploads = Uploads()
    body_bytes: int = 16 * MB
    session_rate: Rate | None = None
    global_rate: Rate | None = None
    waiting: int = 64
    at_once: int = 1000
    streams: int = 1000
    own_streams: int = 1000
    stream_seconds: float | None = None
    seconds: float | None = None
    progress: bool = True

    def host_allowed(self, host: str) -> bool:
        """Whether a request for ``host`` (with its port, as browsers send it) is for this server."""
        host = host.lower()
        if host in self.hosts:
            return True
        return any(name.startswith("*.") and host.endswith(name[1:]) for name in self.hosts)

    @property
    def cookie(self) -> str:
        """The name of the cookie that stands for a token, a login, or a visit."""
        return f"tl-app-{self.port}"

    @property
    def device_cookie(self) -> str:
        """The name of the cookie by which a browser is known that has logged in before."""
        return f"tl-app-{self.port}-known"


def local(port: int, *, token: str | None = None, hosts: Iterable[str] = (), **more: object) -> Rules:
    """For the browser of whoever started the app: a token, and no other name than this machine's.

    Args:
        port: Where the server listens.
        token: None makes one that nobody can guess.
        hosts: Further names the page may be asked for by, such as a proxy's.
        more: Further fields of :class:`Rules`.
    """
    token = secrets.token_urlsafe(32) if token is None else token
    names = _with_port(("127.0.0.1", "localhost", "[::1]"), port) | _with_port(hosts, port, bare=True)
    return dataclasses.replace(Rules("local", port, names, token=token), **more)  # type: ignore[arg-type]


def lan(
    port: int, *, logins: Iterable[tuple[str, str]], host: str = "", hosts: Iterable[str] = (), **more: object
) -> Rules:
    """For a network one knows: a login, this machine's names, and bounds on what is sent.

    Args:
        port: Where the server listens.
        logins: Users and hashed passwords (:func:`tl_app.serving.logins.hashed`).
        host: The address the server listens on.
        hosts: Further names the page may be asked for by.
        more: Further fields of :class:`Rules`.

    Raises:
        UsageError: There is no login.
    """
    logins = tuple(logins)
    if not logins:
        raise UsageError(
            "Other machines may only use the app with a user and a password.",
            remedy="Add --auth USER:PASSWORD, or set TL_APP_AUTH=USER:PASSWORD, which no list of processes shows.",
        )
    names = _with_port(own_names(host), port) | _with_port(hosts, port, bare=True)
    rules = Rules(
        "lan",
        port,
        names,
        logins=logins,
        uploads=Uploads(4000 * MB, 4100 * MB, seconds=3600.0, kept_bytes=20_000 * MB),
        session_rate=Rate(1200, 400),
        global_rate=Rate(6000, 2000),
        at_once=400,
        streams=400,
        own_streams=100,
    )
    return dataclasses.replace(rules, **more)  # type: ignore[arg-type]


def public(port: int, *, hosts: Iterable[str] = (), **more: object) -> Rules:
    """For everyone who has the link: one photo of 10 MB a request, 32 waiting, 10 s, rates for one and for all.

    Args:
        port: Where the server listens.
        hosts: Further names the page is asked for by, such as a tunnel's: ``*.gradio.live``.
        more: Further fields of :class:`Rules`, such as ``closed=None`` for a page with events beside the queue.
    """
    names = _with_port(own_names(""), port) | _with_port(hosts, port, bare=True)
    rules = Rules(
        "public",
        port,
        names,
        closed=NOT_PUBLIC,
        uploads=Uploads(10 * MB, 201 * MB, files=20, seconds=60.0, idle_seconds=10.0, kept_bytes=1000 * MB),
        body_bytes=1 * MB,
        session_rate=Rate(120, 60),
        global_rate=Rate(6000, 1000),
        waiting=32,
        at_once=600,
        streams=600,
        own_streams=8,
        stream_seconds=120.0,
        seconds=10.0,
        progress=False,
    )
    return dataclasses.replace(rules, **more)  # type: ignore[arg-type]


def own_names(host: str) -> set[str]:
    """Names and addresses that other machines know this one by.

    Args:
        host: The address the server listens on; empty or ``0.0.0.0`` for all.
    """
    found = {"127.0.0.1", "localhost", "[::1]"}
    if host not in ("", "0.0.0.0", "::"):
        return found | {_bracketed(host)}
    name = socket.gethostname().lower()
    if name:
        found |= {name, f"{name.split('.')[0]}.local"}
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))  # sends nothing: it only chooses the interface
                found.add(_bracketed(probe.getsockname()[0]))
            except OSError:
                continue  # no such network here
    try:
        found |= {_bracketed(str(entry[4][0])) for entry in socket.getaddrinfo(name, None)}
    except OSError:
        pass  # a name that nothing resolves is of no use to others either
    return found


def _bracketed(address: str) -> str:
    address = address.partition("%")[0]
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def _with_port(names: Iterable[str], port: int, *, bare: bool = False) -> frozenset[str]:
    """Names as a ``Host`` header has them; ``bare`` ones also without a port, as behind a proxy."""
    found = set()
    for name in names:
        name = name.strip().lower()
        if name.startswith("*.") or re.search(r"[^:]:\d+$", name):
            found.add(name)
            continue
        name = _bracketed(name)
        found |= {f"{name}:{port}", name} if bare or port in (80, 443) else {f"{name}:{port}"}
    return frozenset(found)
