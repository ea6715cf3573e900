"""Sending exports to the Hugging Face Hub: as a model, or as a Space that runs the bundle.

The token is given to the Hub's client and to nothing else: it is in no file, no log and no message. Knows runs by
their table of exports alone.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app.errors import ResourceError, UsageError, UserError
from tl_app.export.kept import FOLDER, ExportResult, read_exports
from tl_app.runs import RunInfo

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MODEL, SPACE = "model", "space"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_HIDDEN = "[token]"
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}|\bapi_[A-Za-z0-9]{16,}")


@dataclass(frozen=True)
class Pushed:
    """What was sent.

    Attributes:
        kind: ``model`` or ``space``.
        repository: ``USER/NAME``.
        url: Where it is.
        files: Their names there.
        note: What to know of them; empty when all were checked.
    """

    kind: str
    repository: str
    url: str
    files: tuple[str, ...]
    note: str = ""


def push_run(
    info: RunInfo,
    kind: str,
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> Pushed:
    """Sends a run's exports to the Hub, as :func:`push` does, when they are copies of its best model.

    Raises:
        UserError: An export is of an earlier model, or as for :func:`push`.
    """
    exports = info.path / FOLDER
    note = _looked_at(
        read_exports(info), {path.relative_to(exports).parts[0] for path in files_of(exports, kind).values()}
    )
    sent = push(exports, kind, repository, private=private, token=token, endpoint=endpoint)
    return dataclasses.replace(sent, note=note)


def _looked_at(rows: Sequence[ExportResult], names: set[str]) -> str:
    """What to know of the exports of these names; those that the table does not have were not checked either.

    Raises:
        UsageError: One is of an earlier model of the run.
    """
    found = {Path(row.file).name: row for row in rows if not row.error and Path(row.file).name in names}
    old = [row.format for row in found.values() if row.stale]
    if old:
        raise UsageError(
            f"The run has a better model than its exports: {', '.join(old)}.",
            "Sent are exports of a run's best model.",
            f"Export them again: `tl-app export RUN --to {' --to '.join(old)}`.",
        )
    unchecked = sorted(name for name in names if name not in found or found[name].passed is None)
    return f"Not checked on photos before it was sent: {', '.join(unchecked)}." if unchecked else ""


def push(
    exports: Path,
    kind: str,
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> Pushed:
    """Sends a run's exports to the Hub; a repository that is there gets a new commit.

    Args:
        exports: The run's folder of exports: ``safetensors/`` and ``model.onnx`` make a model, ``bundle/`` a Space.
        kind: ``model`` or ``space``.
        repository: ``USER/NAME``.
        private: Whether it is for its owner alone; a repository that is public already is then refused.
        token: For this once; None for that of the Hub's own login or the environment.
        endpoint: Of another Hub; None for the usual one, or that of the environment.

    Raises:
        UsageError: The name is not one, there is nothing to send yet, or the Hub refuses the token.
        ResourceError: The Hub cannot be reached or does not take it.
    """
    _check_name(repository)
    files = files_of(exports, kind)
    token = (token or "").strip() or None
    with _said_plainly(repository, token):
        from huggingface_hub import CommitOperationAdd

        api = _client(token, endpoint)
        _make_or_check(api, kind, repository, private)
        added = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        api.create_commit(repository, added, repo_type=kind, commit_message="Sent from tl-app")
        url = f"{api.endpoint}/{'spaces/' if kind == SPACE else ''}{repository}"
        return Pushed(kind, repository, url, tuple(sorted(files)))


def _make_or_check(api: HfApi, kind: str, repository: str, private: bool) -> None:
    """Makes the repository, or sees that the one that is there may be written to as was asked.

    Raises:
        UsageError: It is public, and was asked to be private.
    """
    if not api.repo_exists(repository, repo_type=kind):
        sdk = "gradio" if kind == SPACE else None
        api.create_repo(repository, repo_type=kind, private=private, space_sdk=sdk)
    elif private and not api.repo_info(repository, repo_type=kind).private:
        raise UsageError(
            f"{repository} is there already, and everyone can see it.",
            remedy="Make it private on the Hub first, or choose another name.",
        )


def files_of(exports: Path, kind: str) -> dict[str, Path]:
    """What is sent, by its name on the Hub.

    Raises:
        UsageError: It was not exported yet, or there is no such kind.
    """
    if kind not in (MODEL, SPACE):
        raise UsageError(f"'{kind}' is nothing to send.", f"Allowed: {MODEL}, {SPACE}.")
    folder = exports / ("bundle" if kind == SPACE else "safetensors")
    if not (folder / "README.md").is_file():
        what = folder.name
        raise UsageError(
            f"There is no {what} export in {exports} yet, and a {kind} on the Hub is made of it.",
            remedy=f"Make it first: `tl-app export RUN --to {what}`.",
        )
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not _is_left_over(path.relative_to(folder))
    }
    if kind == MODEL and (exports / "model.onnx").is_file():
        found["onnx/model.onnx"] = exports / "model.onnx"
    return found


def redacted(text: str, token: str | None) -> str:
    """The text without the token, and without whatever else looks like one."""
    for secret in filter(None, (token, os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN"))):
        text = text.replace(secret, _HIDDEN)
    return _TOKEN.sub(_HIDDEN, text)


def _is_left_over(path: Path) -> bool:
    """What running the bundle leaves behind, and hidden files, which a system or an editor made."""
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _check_name(repository: str) -> None:
    user, separator, name = repository.partition("/")
    odd = "--" in repository or ".." in repository or name.endswith(".git")
    if not separator or odd or not all(_NAME.fullmatch(part) for part in (user, name)):
        raise UsageError(
            f"'{redacted(repository, None)[:120]}' is no name of a repository.",
            "Wanted is USER/NAME: letters, digits, and . _ - between them.",
        )


def _client(token: str | None, endpoint: str | None) -> HfApi:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # it would draw over the page's and the command's own
    return HfApi(endpoint=endpoint or os.environ.get("HF_ENDPOINT"), token=token, library_name="tl-app")


@contextmanager
def _said_plainly(repository: str, token: str | None) -> Iterator[None]:
    """What the Hub's client throws, as sentences; what it threw is not kept, since it may hold the request."""
    problem: UserError
    try:
        yield
        return
    except UserError:
        raise
    except Exception as error:
        problem = _problem(error, repository, token)
    raise problem from None


def _problem(error: Exception, repository: str, token: str | None) -> UserError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    text = redacted(" ".join(str(error).split()), token)[:300]
    user = repository.partition("/")[0]
    if type(error).__name__ == "LocalTokenNotFoundError" or status == 401:
        which = "The Hub refuses the token" if token else "The Hub does not know you"
        return UsageError(
            f"{which}.",
            "Wanted is a token with write access, of huggingface.co → Settings → Access Tokens.",
            "Run `hf auth login`, set HF_TOKEN, or give it for this once.",
        )
    if status == 403:
        return UsageError(
            f"This token may not write to {repository}.",
            f"Wanted is a token with write access to repositories of {user}.",
            "Use another token, or another USER.",
        )
    if status == 404:
        return UsageError(
            f"The Hub knows no '{user}', or does not show it to you.", remedy="Check USER/NAME."
        )
    if status is not None:
        return ResourceError(f"The Hub did not take it (status {status}): {text}", remedy="Try again later.")
    if (
        isinstance(error, OSError | TimeoutError)
        or "Connect" in type(error).__name__
        or "httpx" in str(type(error))
    ):
        return ResourceError(
            f"The Hub cannot be reached: {text}",
            remedy="Check the network. The exports are in the run's folder and can be uploaded by hand.",
        )
    return ResourceError(f"Sending to {repository} failed: {type(error).__name__}: {text}")
