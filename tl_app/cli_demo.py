"""The command that hands out a demo of a run: starts its process, says where it is, and ends with it."""

from __future__ import annotations

import contextlib
import json as jsonlib
import os
import queue
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_app import words
from tl_app.errors import DataError, ResourceError, UsageError, UserError
from tl_app.options import Device, Json, Run, RunsDir

if TYPE_CHECKING:
    from tl_app.demo.protocol import Settings, Status

_PHOTOS_OF_A_FOLDER = 8
_KINDS: dict[int, type[UserError]] = {kind.exit_code: kind for kind in (DataError, ResourceError)}


def demo(
    run: Run,
    share: Annotated[
        bool, typer.Option("--share", help="Also ask for a public link; only the demo can be reached by it.")
    ] = False,
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD", help="Who may come in; default: whoever has the link."),
    ] = None,
    port: Annotated[int, typer.Option(help="Of the local link; 0 for any free one.", min=0, max=65535)] = 0,
    examples: Annotated[
        list[Path] | None,
        typer.Option(metavar="PHOTO|DIR", help="Photos visitors may try; can be given several times."),
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="End by itself after so long; a public link ends within a week."),
    ] = None,
    title: Annotated[str, typer.Option(help="What the page is called; default: the run's name.")] = "",
    device: Device = "auto",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Start a page of its own for one run, that can only say what is on photos; Ctrl+C ends it."""
    from tl_app import api
    from tl_app.demo.protocol import Settings

    user, password = login(auth if auth is not None else os.environ.get("TL_APP_DEMO_AUTH"))
    if expires is not None and not expires > 0:
        raise UsageError(f"--expires is {expires:g}.", "It is a number of hours above 0.")
    settings = Settings(
        run=str(api.open_run(run, runs_dir).path.resolve()),
        title=title,
        examples=photos(examples or []),
        port=port,
        share=share,
        user=user,
        password=password,
        hours=expires or 0.0,
        device=device,
    )
    _follow(settings, _as_json if json else _for_people)


def login(auth: str | None) -> tuple[str, str]:
    """User and password; both empty when there is no login.

    Raises:
        UsageError: One of the two is missing.
    """
    if auth is None:
        return "", ""
    user, _, password = auth.partition(":")
    if not user.strip() or not password:
        raise UsageError("--auth has no user or no password.", "It is USER:PASSWORD.")
    return user.strip(), password


def photos(given: list[Path]) -> tuple[str, ...]:
    """Files, and the first photos of folders, as whole paths.

    Raises:
        UsageError: One is not there.
    """
    from tl_app.data.decode import EXTENSIONS

    found: list[Path] = []
    for path in given:
        path = path.expanduser().resolve()
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in EXTENSIONS)
            found += inside[:_PHOTOS_OF_A_FOLDER]
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"There is no photo or folder {path}.", remedy="Check --examples.")
    return tuple(str(path) for path in found)


def _follow(settings: Settings, show: Callable[[Status, Status | None], None]) -> None:
    """Runs the demo until it ends, or until Ctrl-C.

    Raises:
        UserError: It did not come up.
    """
    from tl_app.demo.child import Demo

    statuses: queue.SimpleQueue[Status] = queue.SimpleQueue()
    child = Demo(settings, statuses.put)
    last: Status | None = None
    try:
        while last is None or last.alive:
            status = statuses.get()
            if status.state == "failed":
                raise _KINDS.get(status.exit_code, UsageError)(status.note)
            show(status, last)
            last = status
    except KeyboardInterrupt:
        print("\nThe demo has ended.", file=sys.stderr)
    finally:
        child.stop()


def _for_people(status: Status, last: Status | None) -> None:
    if status.state == "ended":
        print(f"The demo has ended. {status.note}".rstrip())
    elif last is None or last.local != status.local:
        waiting = " A public link is being asked for." if status.sharing else ""
        print(f"The demo is running at {status.local} (Ctrl+C ends it).{waiting}", flush=True)
    if status.public and (last is None or last.public != status.public):
        print(f"Everyone with this link can use it until {words.moment(status.expires)}: {status.public}")
        print(in_squares(status.public), flush=True)
    if status.note and status.alive and (last is None or last.note != status.note):
        print(status.note, flush=True)


def _as_json(status: Status, last: Status | None) -> None:
    """One line, when it is known which links there are."""
    known = status.state == "ready" and not status.sharing
    if known and (last is None or last.state != "ready" or last.sharing):
        values: dict[str, Any] = {
            "local": status.local,
            "public": status.public or None,
            "expires": status.expires or None,
            "note": status.note,
        }
        with contextlib.suppress(BrokenPipeError):
            print(jsonlib.dumps(values), flush=True)


def in_squares(link: str) -> str:
    """A link as a QR code for terminals."""
    import io

    import segno

    out = io.StringIO()
    segno.make(link, micro=False).terminal(out, compact=True)
    return out.getvalue()


COMMANDS: tuple[Callable[..., None], ...] = (demo,)
