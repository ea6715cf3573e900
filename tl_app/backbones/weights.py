"""Published weights: which are on disk, fetching them, and loading them into a network.

They live where torchvision keeps them (``TORCH_HOME`` is honoured) and are read through torchvision's own
API; only the transfer over the network is ours (see `download`). Knows nothing of data, training or the
screen.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from tl_app.backbones import bundled, weight_files
from tl_app.backbones.catalogue import WeightChoice, get_backbone, list_backbones, weights_member
from tl_app.backbones.download import Progress, ShouldStop, fetch, never, published_hash
from tl_app.backbones.staged import StagedNetwork, layout_of, with_version
from tl_app.errors import ResourceError, UsageError
from tl_app.events import Notice

OnNotice = Callable[[Notice], None]

_MOST_NAMED = 6  # weights on disk that a message lists


def cached_path(choice: WeightChoice) -> Path:
    """Where torchvision looks for the file, whether it is there or not; the bundled one is where it ships."""
    if choice.bundled:
        return bundled.weights_path()
    return Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(choice.url).path).name)


def is_on_disk(choice: WeightChoice) -> bool:
    """Whether the file is there, so that no network is needed."""
    return cached_path(choice).is_file()


def on_disk() -> list[tuple[str, str]]:
    """Names (backbone, weights) of all that can be used without a network, in the catalogue's order."""
    choices = (choice for spec in list_backbones() for choice in spec.weights)
    return [(choice.backbone, choice.name) for choice in choices if is_on_disk(choice)]


def download(
    choice: WeightChoice, *, on_progress: Progress | None = None, should_stop: ShouldStop = never
) -> Path:
    """Bring the weights to disk, if they are not there yet.

    Args:
        choice: Which.
        on_progress: Called with bytes done and bytes in all (0 when unknown); not when nothing is to be done.
        should_stop: Asked about ten times a second; the download then ends without a trace.

    Returns:
        The file.

    Raises:
        ResourceError: No network, no space, a folder that cannot be written, or not the published file. The
            message lists what can be used instead.
        Interrupted: ``should_stop`` said so.
    """
    path = cached_path(choice)
    if path.is_file():
        return path
    what = f"the {choice.name} weights of {choice.backbone}"
    try:
        fetch(
            choice.url,
            path,
            what=what,
            expected_bytes=choice.download_bytes,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    except ResourceError as error:
        raise ResourceError(error.problem, *_instead()) from error
    return path


def load_pretrained(
    network: StagedNetwork, choice: WeightChoice, *, on_notice: OnNotice | None = None
) -> None:
    """Fill the network with published weights, which are downloaded if need be.

    The head keeps its fresh start unless its number of classes is the published one. Auxiliary heads are left
    out, and a vision transformer's positions are interpolated to the network's image size.

    Args:
        network: Any head, any device.
        choice: Weights of the same backbone.
        on_notice: Told about a file that is not the published one but loads, and about stages without values.

    Raises:
        UsageError: The weights belong to another backbone.
        ResourceError: The download failed, or the file on disk is damaged. The network is then as it was.
    """
    if choice.backbone != network.name:
        raise UsageError(
            f"The weights {choice.name} of {choice.backbone} were asked for in {network.name}.",
            f"They fit {choice.backbone} only.",
        )
    path = download(choice)
    state = _fit(network, _read(choice, path), path)
    empty = _stages_without(network, state)
    network.net.load_state_dict(state, strict=False)
    tell = on_notice or _ignore
    if empty:
        text = f"The weights {choice.name} have no values for {', '.join(empty)}: random ones are used there."
        tell(Notice(text, "warning"))
    found = "" if choice.bundled else _sha256(path)
    if found and not found.startswith(published_hash(path.name)):
        text = (
            f"{path} is not the published file (its SHA-256 starts with {found[:8]}). It loads, so it is "
            "used. Delete it to have the published one downloaded."
        )
        tell(Notice(text, "warning"))


def load_own(network: StagedNetwork, path: Path) -> None:
    """Fill the network with the weights in a safetensors file; a head for other classes stays as it is.

    Raises:
        UsageError: The file cannot be read, or does not fit the network.
    """
    try:
        state = _fit(network, weight_files.read(path), path)
    except ResourceError as error:
        remedy = f"Name a file with weights of {network.name} in torchvision's layout, or another backbone."
        raise UsageError(error.problem, remedy=remedy) from error
    network.net.load_state_dict(state, strict=False)


def has_classifier(network: StagedNetwork, choice: WeightChoice | None = None) -> bool:
    """Whether the network can be used as it is: its last layer tells classes apart.

    Args:
        network: With or without published weights in it.
        choice: The weights in it; some were published for their features only.

    Returns:
        False when the last layer's weights are all zero, or the published ones had none.
    """
    weight = next(network.classifier.parameters()).detach()
    return bool(weight.any()) and (choice is None or bool(categories(choice)))


def categories(choice: WeightChoice) -> list[str]:
    """The labels of the classifier's outputs in order; empty for weights without one."""
    card = bundled.card() if choice.bundled else None
    return list(card.categories if card is not None else weights_member(choice).meta["categories"] or [])


def _instead() -> tuple[str, str]:
    """What can be used without these weights: the second and third part of an error."""
    usable = on_disk()
    if not usable:
        return (
            "No other weights are on this machine.",
            "Connect to a network once, or choose weights 'random' to train from scratch.",
        )
    named = ", ".join(f"{backbone} {name}" for backbone, name in usable[:_MOST_NAMED])
    more = f" and {len(usable) - _MOST_NAMED} more" if len(usable) > _MOST_NAMED else ""
    remedy = "Choose one of these, or weights 'random' to train from scratch."
    return f"On this machine are {named}{more}.", remedy


def _read(choice: WeightChoice, path: Path) -> Mapping[str, Tensor]:
    if choice.bundled:
        try:
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        except (OSError, SafetensorError) as error:
            raise _damaged(path, str(error)) from error
    try:
        # Without `weights_only` a damaged or foreign file could run code.
        state = weights_member(choice).get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # the unpickler raises almost anything on a broken file
        raise _damaged(path, str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _damaged(path, "it does not hold a network's weights")
    return state


def _damaged(path: Path, reason: str) -> ResourceError:
    return ResourceError(
        f"The weights file {path} is damaged or belongs to something else ({reason}).",
        _instead()[0],
        "Delete it, and it is downloaded again; or choose other weights.",
    )


def _fit(network: StagedNetwork, loaded: Mapping[str, Tensor], path: Path) -> OrderedDict[str, Tensor]:
    """What of ``loaded`` goes into the network, checked: values that are there, in the right shapes."""
    net, layout = network.net, layout_of(network.name)
    own = net.state_dict()
    state = with_version(net, loaded)
    for key in list(state):
        value = state.pop(key)
        if not key.startswith(layout.auxiliary):
            state[_modern_key(key)] = value
    if get_backbone(network.name).family == "ViT" and "encoder.pos_embedding" in state:
        _interpolate(net, state)
    for name in ("weight", "bias"):
        key = f"{layout.classifier}.{name}"
        if key in state and key in own and state[key].shape[0] != own[key].shape[0]:
            del state[key]
    strange = [key for key in state if key not in own or state[key].shape != own[key].shape]
    optional = (f"{layout.classifier}.", "classifier.")
    lacking = [key for key in own if key not in state and not key.startswith(optional)]
    lacking = [key for key in lacking if not key.endswith("num_batches_tracked")]  # old files have none
    if strange or lacking:
        raise _damaged(path, f"it does not fit {network.name} at {(strange + lacking)[0]}")
    for key in [key for key, value in state.items() if not torch.isfinite(value).all()]:
        del state[key]
    return state


def _modern_key(key: str) -> str:
    """DenseNet's published files have dots where its module names no longer may ("norm.1" is now "norm1").

    Source: ``_load_state_dict`` of ``torchvision.models.densenet``.
    """
    return re.sub(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$", r"\1\2", key)


def _interpolate(net: Any, state: OrderedDict[str, Tensor]) -> None:
    try:
        interpolate_embeddings(net.image_size, net.patch_size, state)
    except (ValueError, RuntimeError):
        return  # the shapes are then found not to fit, and said so


def _stages_without(network: StagedNetwork, state: Mapping[str, Tensor]) -> list[str]:
    """Names of stages that some parameter is missing for."""
    names = {id(parameter): key for key, parameter in network.net.named_parameters()}
    return [
        stage.name
        for stage in network.stages
        if any(names[id(parameter)] not in state for parameter in stage.module.parameters())
    ]


def _sha256(path: Path) -> str:
    stat = os.stat(path)
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256_of(path: Path, size: int, mtime_ns: int) -> str:
    """Read once per process as long as size and time of the file stay."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ignore(notice: Notice) -> None:
    pass
