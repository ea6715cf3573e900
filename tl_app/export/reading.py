"""Reading a model back: a run's folder, an exported folder or file, or a zip of one, whoever made it.

All of it is taken for something that a stranger made: sizes are limited, weights are safetensors or checked ONNX,
nothing is unpickled, and the model answers one made-up photo before anyone is told that it works. Knows nothing of the
page.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import presets, runs, words
from tl_app.data.unzip import unpack
from tl_app.errors import DataError, ResourceError, UsageError, UserError
from tl_app.export.answering import OnnxPredictor
from tl_app.export.described import MOST_CLASSES, Described, figures, is_text, parse
from tl_app.export.guarded import MOST_BYTES, read_onnx
from tl_app.presets import Preset

if TYPE_CHECKING:
    from tl_app.backbones.staged import StagedNetwork
    from tl_app.config import TrainConfig
    from tl_app.predictor import Predictor
    from tl_app.runs import RunInfo

RUN, ONNX, SAFETENSORS, BUNDLE = "run", "onnx", "safetensors", "bundle"
MOST_FILES = 2000  # of a zip
MOST_UNPACKED_BYTES = 4 * 2**30
_TEXT_BYTES = 4 * 2**20  # of a JSON file
_WANTED = "Read are folders of runs, exported folders (safetensors, bundle), .onnx files of tl-app, and zips of those."
_CODE = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".pt2", ".h5", ".keras", ".joblib")


@dataclass(frozen=True)
class ReadExport:
    """A model that was read back.

    Attributes:
        kind: ``run``, ``onnx``, ``safetensors`` or ``bundle``.
        name: Of the run that it is, or comes from.
        classes: In the order of its outputs.
        settings: For a new training; None when they cannot be read, and then ``unread`` says why.
        figures: How good it is, in a sentence; empty when that is not known.
        predictor: Ready for use.
        unread: Why there are no settings; empty otherwise.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    settings: Preset | None
    figures: str
    predictor: Predictor | OnnxPredictor
    unread: str = ""


def read_export(path: str | Path, device: str = "auto") -> ReadExport:
    """Reads a model back.

    Args:
        path: Of a folder, an ONNX file, or a zip.
        device: Where to compute; ONNX files are computed on the CPU.

    Raises:
        UserError: There is nothing, or nothing that may be opened; the message says what is needed.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f"There is no '{path}'.", _WANTED, "Check the path.")
    if path.is_file() and zipfile.is_zipfile(path) and path.suffix.lower() not in (".onnx", *_CODE):
        path = _unzipped(path)
    found = _read_folder(_inner(path), device) if path.is_dir() else _read_file(path)
    _try_out(found)
    return found


def is_export(path: str | Path) -> bool:
    """Whether a name that is no run's stands for a file or folder that may be read back."""
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError):  # too long for the file system, or with a NUL in it
        return False


def _read_file(path: Path, kind: str = ONNX) -> ReadExport:
    suffix = path.suffix.lower()
    if suffix in _CODE:
        raise UsageError(
            f"{path.name} is not opened: a {suffix} file may hold a program, which loading it would run.",
            _WANTED,
            "Ask for an ONNX or a safetensors export.",
        )
    if suffix == ".safetensors":
        raise UsageError(
            f"{path.name} holds weights alone, and not whose they are.", _WANTED, "Name the folder it is in."
        )
    if suffix in (".html", ".htm"):
        raise UsageError(
            f"{path.name} is a page for browsers, and is not read back.",
            _WANTED,
            "Open it in a browser, or take the run's ONNX export.",
        )
    if suffix != ".onnx":
        raise UsageError(f"{path.name} is no exported model.", _WANTED)
    graph = read_onnx(path)
    about = graph.about
    return ReadExport(
        kind, about.name, about.classes, about.settings, figures(about), OnnxPredictor(graph), about.unread
    )


def _read_folder(folder: Path, device: str) -> ReadExport:
    if runs.is_run(folder.name, folder.parent) and (folder / "checkpoints").is_dir():
        return _spoilt_or(lambda: _read_run(folder, device), folder)
    if (folder / "model.safetensors").is_file():
        return _spoilt_or(lambda: _read_safetensors(folder, device), folder)
    if (folder / "model.onnx").is_file():
        return _read_file(folder / "model.onnx", BUNDLE if (folder / "app.py").is_file() else ONNX)
    raise UsageError(f"There is no model in the folder '{folder.name}'.", _WANTED)


def _read_run(folder: Path, device: str) -> ReadExport:
    from tl_app.analysis.diagnosis import settings_of
    from tl_app.predictor import load_run

    _check_sizes(folder)
    info = runs.open_run(folder.resolve(), folder.parent)
    _check_classes(info)
    return ReadExport(
        RUN,
        info.name,
        info.classes,
        presets.of_config(settings_of(info), f"Settings of {info.name}"),
        _accuracy(info),
        load_run(info, device),
    )


def _read_safetensors(folder: Path, device: str) -> ReadExport:
    """The folder's own description is under ``tl_app`` in its ``config.json``; weights have torchvision's names."""
    from safetensors.torch import load_file

    from tl_app.backbones.staged import with_version
    from tl_app.engine.setup import empty_network

    _check_sizes(folder)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    if not isinstance(values, dict) or not isinstance(values.get("tl_app"), dict):
        raise UsageError(
            f"The folder '{folder.name}' was not exported by tl-app: its config.json does not describe the model.",
            _WANTED,
            "Export the run again with `tl-app export RUN --to safetensors`.",
        )
    inside = values["tl_app"].get("temperature_in_weights") is True
    about = parse(json.dumps(values["tl_app"]), f"{folder.name}/config.json")
    if about.settings is None:
        raise UsageError(f"The network in '{folder.name}' cannot be built. {about.unread}")
    config = about.settings.config()
    network = empty_network(config, len(about.classes))
    network.net.load_state_dict(with_version(network.net, load_file(folder / "model.safetensors")))
    return ReadExport(
        SAFETENSORS,
        about.name,
        about.classes,
        about.settings,
        figures(about),
        _predictor(about, network, config, 1.0 if inside else about.temperature, device),
    )


def _predictor(
    about: Described, network: StagedNetwork, config: TrainConfig, temperature: float, device: str
) -> Predictor:
    from tl_app.analysis import calibration
    from tl_app.engine.device import resolve_device
    from tl_app.predictor import Predictor, answering_precision

    target = resolve_device(device)
    trust = dataclasses.replace(
        calibration.without(""), temperature=temperature, threshold=about.sure_threshold
    )
    return Predictor(
        network,
        about.preprocessing,
        about.classes,
        f"{about.name}, exported as safetensors",
        target,
        answering_precision(config.precision, target),
        config.flip,
        trust if about.is_calibrated else None,
    )


def _accuracy(info: RunInfo) -> str:
    """As an export says it, of the epoch that was kept."""
    accuracy = info.val_accuracy
    if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
        return ""
    return f"Right on {words.percent(accuracy)} of its val photos."


def _check_classes(info: RunInfo) -> None:
    names = info.classes
    odd = next((name for name in names if not name or not is_text(name)), None)
    if odd is not None:
        raise UsageError(f"A class of run '{info.name}' has no plain name: {odd!r:.80}.", _WANTED)
    if not 0 < len(names) <= MOST_CLASSES or len(set(names)) < len(names):
        raise UsageError(f"The classes of run '{info.name}' are missing or there twice.", _WANTED)


def _check_sizes(folder: Path) -> None:
    """No text so long, and no weights so heavy, that reading them would be the attack."""
    for path in folder.rglob("*"):
        most = MOST_BYTES if path.suffix in (".safetensors", ".onnx") else _TEXT_BYTES
        if path.suffix in (".json", ".safetensors", ".onnx") and path.stat().st_size > most:
            size = f"{path.stat().st_size / 1e6:,.0f} MB"
            raise UsageError(f"{path.name} has {size}.", f"Allowed: {most / 1e6:,.0f} MB.")


def _spoilt_or(read: Callable[[], ReadExport], folder: Path) -> ReadExport:
    """What a folder says, or that it is spoilt."""
    try:
        return read()
    except UserError:
        raise
    except Exception as error:  # files that a stranger made fail in every way there is
        raise UsageError(
            f"The model in '{folder.name}' cannot be read: {error!r:.200}.", _WANTED, "Export it again."
        ) from error


def _inner(folder: Path) -> Path:
    """The folder itself, or the one folder in it, as zips are made."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return _inner(entries[0])
    return folder


def _unzipped(path: Path) -> Path:
    """The folder in the cache that a zip unpacks to.

    Raises:
        DataError: It is damaged, protected, not safe, or too much for a model.
        ResourceError: There is no room for it.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                total = sum(member.file_size for member in members)
        except (zipfile.BadZipFile, ValueError, RuntimeError) as error:
            raise DataError(f"The zip '{path.name}' is damaged.", remedy="Make it again.") from error
        if len(members) > MOST_FILES or total > MOST_UNPACKED_BYTES:
            raise DataError(
                f"The zip '{path.name}' holds {len(members):,} files of {words.size(total)} in all.",
                f"A model has up to {MOST_FILES:,} files of {words.size(MOST_UNPACKED_BYTES)}.",
            )
        return unpack(path, file)


def _try_out(found: ReadExport) -> None:
    """Asks the model about a grey photo, so that what cannot work is said now.

    Raises:
        UsageError: It gives no answer, or one with other classes.
    """
    from PIL import Image

    photo = io.BytesIO()
    Image.new("RGB", (96, 80), "grey").save(photo, "PNG")
    try:
        (answer,) = found.predictor.predict([photo.getvalue()], top=len(found.classes))
        works = not answer.error and {label for label, _ in answer.top} == set(found.classes)
    except ResourceError:
        raise
    except Exception as error:  # a network that does not fit its own description
        raise UsageError(
            f"The model '{found.name}' cannot answer: {error!r:.200}.", _WANTED, "Export it again."
        ) from error
    if not works:
        raise UsageError(f"The model '{found.name}' gives no answer.", _WANTED, "Export it again.")
