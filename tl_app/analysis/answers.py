"""What a run's best model says of labelled photos: computed once, kept in the run folder, read in an instant.

Everything that judges a run (figures, calibration, errors, explanations) begins here. Knows nothing of what is made
of the answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from tl_app.analysis.labelled import Labelled, labelled, open_photos
from tl_app.data.index import relocate
from tl_app.data.store import PhotoStore
from tl_app.engine.batches import eval_batches
from tl_app.engine.views import Item
from tl_app.errors import DataError
from tl_app.predictor import Predictor, load_run, model_of
from tl_app.runs import ANALYSIS, RunInfo
from tl_app.tensors import write_tensors

_FORMAT = 1
_BATCH = 32
_LARGEST = float(np.finfo(np.float16).max)

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Answers:
    """What a run's best model says of N labelled photos, over C classes and D features.

    Arrays are not to be written into: they may be views of a file.

    Attributes:
        classes: Their names, by number.
        root: The folder that the photos lie under, or lay under when it is gone.
        paths: (N,) relative to ``root``, with ``/`` between folders.
        contents: (N,) hashes of the files; empty where a photo was not hashed.
        labels: int64 (N,), numbers of ``classes``.
        logits: float32 (N, C), the network's own, not divided by a temperature.
        features: float16 (N, D), pooled, in front of the head.
        split: ``train``, ``val``, ``test`` or ``all``.
        left_out: Photos that could not be used, with the reason.
        model: Which best model they are of, as :func:`tl_app.predictor.model_of` has it.
    """

    classes: tuple[str, ...]
    root: Path
    paths: tuple[str, ...]
    contents: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    features: NDArray[np.float16]
    split: str
    left_out: dict[str, str]
    model: str = ""


def answers_of(
    info: RunInfo,
    split: str | None = "val",
    *,
    data: str | Path | None = None,
    device: str = "auto",
    on_progress: Report | None = None,
) -> Answers:
    """The answers to all photos of a split; those to a run's own photos are kept in its folder.

    A run that is being trained has answers too, which are made anew whenever there is a new best model.

    Args:
        info: The run.
        split: ``train``, ``val``, ``test`` or ``all``; None as for :func:`tl_app.analysis.labelled.labelled`.
        data: Other photos of the run's classes; their answers are not kept.
        device: Where to compute what is missing.
        on_progress: Called with photos done and photos in all, from this thread; not when nothing is to be computed.

    Raises:
        UserError: There is no such split, no model yet, classes are not the run's, or photos are gone.
    """
    photos = labelled(info, data, split)
    if photos.own and (model := model_of(info)):
        kept = _read(info, photos, model)
        if kept is not None:
            return kept
    while True:
        model = model_of(info)
        predictor = load_run(info, device)
        if model_of(info) == model:  # else a better one came in between
            break
    assert model is not None
    answers = dataclasses.replace(computed(predictor, info, photos, on_progress), model=model)
    if photos.own:
        try:
            _write(info, answers, _fingerprint(photos, model))
        except OSError as error:  # a folder that can only be read costs the time to compute them again
            text = f"The answers of run '{info.name}' could not be kept: {error.strerror or error}."
            warnings.warn(text, RuntimeWarning, stacklevel=2)
    return answers


def computed(
    predictor: Predictor, info: RunInfo, photos: Labelled, on_progress: Report | None = None
) -> Answers:
    """What a predictor answers to photos; arguments and errors as for :func:`answers_of`."""
    store, items, failed = open_photos(photos.index, photos.photos, predictor.preprocessing, info.classes)
    features, logits = answered(predictor, store, items, on_progress)
    issues = {} if photos.own else {photo.path: photo.issue for photo in photos.index.left_out}
    return assembled(info, store, items, (features, logits), photos.split, {**issues, **failed})


def assembled(
    info: RunInfo,
    store: PhotoStore,
    items: Sequence[Item],
    outputs: tuple[NDArray[np.float16], NDArray[np.float32]],
    split: str,
    left_out: dict[str, str],
    model: str = "",
) -> Answers:
    """The answers to photos of a store.

    Args:
        info: The run.
        store: Where the photos are.
        items: Which photos, N.
        outputs: Their features (N, D) and logits (N, C).
        split: That they are of.
        left_out: Photos that could not be used, with the reason.
        model: Names the model.
    """
    features, logits = outputs
    return Answers(
        classes=info.classes,
        root=store.root,
        paths=tuple(item.path for item in items),
        contents=tuple(item.content for item in items),
        labels=np.array([item.label for item in items], np.int64),
        logits=logits,
        features=features,
        split=split,
        left_out=left_out,
        model=model,
    )


def answered(
    predictor: Predictor, store: PhotoStore, items: list[Item], on_progress: Report | None = None
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Features (N, D) and logits (N, C) of photos, in order."""
    predictor.expect(len(items))
    features, logits, done = [], [], 0
    for images, _ in eval_batches(store, items, _BATCH):
        seen, said = predictor.outputs(images)
        features.append(half(seen))
        logits.append(said.numpy())
        done += len(images)
        if on_progress is not None:
            on_progress(done, len(items))
    return np.concatenate(features), np.concatenate(logits)


def half(features: torch.Tensor) -> NDArray[np.float16]:
    """Features in half the memory; those beyond its range at its ends."""
    made: NDArray[np.float16] = features.clamp(-_LARGEST, _LARGEST).half().numpy()
    return made


def _fingerprint(photos: Labelled, model: str) -> str:
    """Of all that answers depend on: the model, and which photos are asked."""
    digest = hashlib.blake2b(json.dumps([_FORMAT, model, photos.split]).encode(), digest_size=16)
    for photo in photos.photos:
        row = "\0".join((photo.path, photo.label, photo.content_hash, ""))
        digest.update(row.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _write(info: RunInfo, answers: Answers, fingerprint: str) -> None:
    names = ("labels", "logits", "features")
    tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(answers, name))) for name in names}
    values = {"paths": answers.paths, "contents": answers.contents, "left_out": answers.left_out}
    values["states"] = _states(answers.root, answers.left_out)
    # One file, so that figures and names cannot come from two different times.
    path = _file(info, answers.split)
    path.parent.mkdir(exist_ok=True)
    write_tensors(path, tensors, {"fingerprint": fingerprint, "photos": json.dumps(values)})


def _read(info: RunInfo, photos: Labelled, model: str) -> Answers | None:
    """What is kept, its arrays mapped from the file; None when nothing is, or that of another model or photos."""
    try:
        with safe_open(_file(info, photos.split), framework="pt") as file:
            values = file.metadata()
            if values["fingerprint"] != _fingerprint(photos, model):
                return None
            about = json.loads(values["photos"])
            if about["left_out"] and about["states"] != _states(_root(photos), about["left_out"]):
                return None  # what could not be read then may be readable now
            labels, logits, features = (
                file.get_tensor(name).numpy() for name in ("labels", "logits", "features")
            )
    except (OSError, SafetensorError, KeyError, ValueError):  # none yet, or spoilt: it can be made again
        return None
    return Answers(
        classes=info.classes,
        root=_root(photos),
        paths=tuple(about["paths"]),
        contents=tuple(about["contents"]),
        labels=labels,
        logits=logits,
        features=features,
        split=photos.split,
        left_out=about["left_out"],
        model=model,
    )


def _root(photos: Labelled) -> Path:
    with contextlib.suppress(DataError):  # figures outlive the photos
        return relocate(photos.index).root
    return photos.index.root


def _states(root: Path, paths: Iterable[str]) -> dict[str, int]:
    """When each of these files was changed; 0 where there is none."""
    found = {}
    for path in paths:
        try:
            found[path] = (root / path).stat().st_mtime_ns
        except (OSError, ValueError):
            found[path] = 0
    return found


def _file(info: RunInfo, split: str) -> Path:
    return info.path / ANALYSIS / f"{split}.safetensors"
