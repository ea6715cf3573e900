"""From settings and photos to all that the training loop needs: network, photos in memory, phases.

Automatic settings are resolved here. Knows nothing of steps and epochs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch

from tl_app import words
from tl_app.backbones.bundled import BETTER
from tl_app.backbones.catalogue import BackboneSpec, get_backbone
from tl_app.backbones.staged import GENERATOR_LOCK, StagedNetwork, put_colours, stage_parameters
from tl_app.backbones.weightless import ValuelessMode
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, Photo
from tl_app.data.store import PhotoStore, Preprocessing
from tl_app.engine import source
from tl_app.engine.background import with_progress
from tl_app.engine.device import auto_batch_size, resolve_device, resolve_precision
from tl_app.engine.inputs import Photos
from tl_app.engine.source import Source
from tl_app.engine.views import Item
from tl_app.errors import DataError
from tl_app.events import Event, Notice
from tl_app.references import FILE_PREFIX, RUN_PREFIX
from tl_app.transfer import heads, recipes, resizing
from tl_app.transfer.starts import averaged

_NAMED = 20  # photos that cannot be decoded after all, named one by one


def resolve(config: TrainConfig, train_photos: int) -> tuple[TrainConfig, Preprocessing]:
    """Checks the settings against backbone and machine, and fills in what was left to the program.

    ``device`` and ``precision`` keep ``auto``: a run may be resumed on another machine.

    Args:
        config: As the user gave them.
        train_photos: How many photos there are to train on.

    Returns:
        The settings without gaps, and how a photo becomes the network's input.

    Raises:
        UsageError: A setting does not fit the backbone or the recipe.
        ResourceError: The machine lacks the device or the precision.
    """
    start = source.source_of(config)
    spec = get_backbone(start.backbone if start else config.backbone)
    device = resolve_device(config.device)
    resolve_precision(config.precision, device)
    config = dataclasses.replace(config, backbone=spec.name)
    if start is not None:
        start.check_head(heads.head_of(config))
    source.beside_of(config, start)
    stages = len(stage_names(config))
    preprocessing = preprocessing_of(config)
    filled = dataclasses.replace(
        recipes.resolve(config, stages, train_photos),
        weights=start.name if start else "random",
        batchnorm=_batchnorm(config, start),
        batch_size=config.batch_size or auto_batch_size(train_photos, device),
        image_size=preprocessing.crop,
    )
    if filled.resize_from is not None:
        assert filled.epochs
        one_size = spec.image_size_step > 1
        resizing.check(filled.resize_from, preprocessing.crop, filled.epochs, spec.name, one_size=one_size)
        spec.check_image_size(filled.resize_from)
    return filled, preprocessing


def preprocessing_of(config: TrainConfig) -> Preprocessing:
    """How a photo becomes the network's input: as the weights want it, at the image size that was asked for.

    Raises:
        UsageError: The backbone cannot see photos of that size.
    """
    start = source.source_of(config)
    spec = get_backbone(start.backbone if start else config.backbone)
    native = (start or spec.default_weights).preprocessing
    size = config.image_size or native.crop
    spec.check_image_size(size)
    if config.fuse_backbone:
        get_backbone(config.fuse_backbone).check_image_size(size)
    return native if size == native.crop else native.at(size)


def stage_names(config: TrainConfig) -> list[str]:
    """The stages in front of the head that the settings ask for.

    Raises:
        UsageError: The backbone does not go with that head.
    """
    ending = heads.ending_for(heads.head_of(config), config.backbone)
    return [name for name, _ in stage_parameters(config.backbone, ending)[:-1]]


def _batchnorm(config: TrainConfig, start: Source | None) -> str:
    if config.batchnorm != "auto":
        return config.batchnorm
    # Statistics of averaged weights are those of no photos.
    return "adapt" if start is None or config.start == "average" or config.recipe == "pretrain" else "keep"


def start_network(
    config: TrainConfig, classes: int, stop: Callable[[], bool]
) -> Generator[Event, None, StagedNetwork]:
    """Builds the network with its start weights (downloaded if need be) and a fresh head, on the CPU.

    Raises:
        ResourceError: The weights are not on disk and cannot be fetched.
        Interrupted: ``stop`` said so during the download.
    """
    assert config.image_size is not None
    start = source.source_of(config)
    if start is None:
        if config.recipe in ("head", "partial"):
            yield Notice(
                "The frozen stages are random, so they have nothing to offer: choose weights.", "warning"
            )
        yield Notice("Nothing is shared with a source task: all layers begin for this task alone.")
        beside = yield from _second(config, None, stop)
        with GENERATOR_LOCK:
            torch.manual_seed(config.seed)
            network = random_network(config, classes, beside)
        yield from _fused(network, config)
        return network
    if start.choice is not None and start.choice.bundled:
        yield Notice(BETTER)
    yield from source.fetched(start, stop)
    with GENERATOR_LOCK:
        torch.manual_seed(config.seed)  # some files have no values for some stages
        network = start.network(config.image_size)
    share = config.alpha if config.start == "average" else 1.0
    yield from averaged(network, share, start.load)
    beside = yield from _second(config, start, stop)
    with GENERATOR_LOCK:
        torch.manual_seed(config.seed)
        heads.put_head(network, heads.head_of(config), classes, beside)
    yield Notice(_shared(network, start, share))
    yield from _fused(network, config)
    return network


def _second(
    config: TrainConfig, first: Source | None, stop: Callable[[], bool]
) -> Generator[Event, None, StagedNetwork | None]:
    """The second backbone of a fusion with its weights; None without one."""
    beside = source.beside_of(config, first)
    if beside is None:
        return None
    assert config.image_size is not None
    yield from source.fetched(beside, stop)
    with GENERATOR_LOCK:
        network = beside.network(config.image_size)
    yield from beside.load(network)
    return network


def _fused(network: StagedNetwork, config: TrainConfig) -> Iterator[Notice]:
    """Lets the second network see its own colours, and says what is fused."""
    fusion, parts = heads.head_of(config).fusion, []
    if fusion is None:
        return
    if fusion.stages > 1:
        parts.append(f"of the last {fusion.stages} stages of {config.backbone}")
    beside = source.beside_of(config, None)
    if beside is not None:
        own, other = preprocessing_of(config), beside.preprocessing
        put_colours(network, (own.mean, own.std), (other.mean, other.std))
        parts.append(f"of {beside.backbone} (weights {beside.name}, {words.lineage(beside.lineage)})")
        parts = parts if fusion.stages > 1 else [f"of {config.backbone}", *parts]
    shape = heads.feature_shape(network.name, fusion, network.image_size)
    yield Notice(f"Fused: the features {' and '.join(parts)}, {shape[0]:,} numbers a photo.")


def _shared(network: StagedNetwork, start: Source, share: float) -> str:
    """Which layers come from the source task, and which are the target task's own."""
    first, last = network.stages[0].name, network.stages[-1].name
    own = sum(parameter.numel() for parameter in network.head_parameters())
    how = "copied" if share == 1 else f"{share:.0%} source, {1 - share:.0%} random"
    return (
        f"Shared with {words.lineage(start.lineage)}: the {len(network.stages)} stages from {first} to {last} ({how}). "
        f"Task-specific: the head, {own:,} parameters."
    )


def empty_network(config: TrainConfig, classes: int) -> StagedNetwork:
    """The network of a run without random values, to load all of a checkpoint into.

    Args:
        config: Of the run.
        classes: Outputs.
    """
    with ValuelessMode():
        return random_network(config, classes)


def random_network(config: TrainConfig, classes: int, beside: StagedNetwork | None = None) -> StagedNetwork:
    """The network of a run with random weights; ``beside`` is the second one of a fusion, with its own.

    Raises:
        UsageError: The settings name no such network.
    """
    head = heads.head_of(config)
    return heads.build(
        config.backbone, head, num_classes=classes, image_size=config.image_size, beside=beside
    )


def read_photos(
    index: DatasetIndex, preprocessing: Preprocessing, stop: Callable[[], bool]
) -> Generator[Event, None, Photos]:
    """Decodes every training and validation photo once; those that cannot be read after all are left out.

    Returns:
        The store with the training and validation items, in the order of the index.

    Raises:
        DataError: No photo of some class is left to train on, or none to validate on.
        Interrupted: ``stop`` said so.
    """
    train, val = index.used("train"), index.used("val")
    store = PhotoStore(index.root, preprocessing, photos=[p for p in index.photos if not p.issue])
    paths = [photo.path for photo in train + val]
    failed = yield from with_progress(
        "reading photos",
        "photos",
        lambda report: store.prepare(paths, on_progress=report, should_stop=stop),
    )
    changed = {path: content for path, content in store.changed.items() if path not in failed}
    yield from _read_notices(store.notice, failed, len(changed))
    numbers = {label: number for number, label in enumerate(index.classes)}

    def items(photos: list[Photo]) -> list[Item]:
        return [
            # What is computed of a photo is kept under the hash of what was read, not of what was scanned.
            Item(photo.path, numbers[photo.label], changed.get(photo.path, photo.content_hash))
            for photo in photos
            if photo.path not in failed
        ]

    train_items, val_items = items(train), items(val)
    missing = set(numbers.values()) - {item.label for item in train_items}
    if missing or not val_items:
        what = f"class '{index.classes[min(missing)]}'" if missing else "the validation split"
        raise DataError(
            f"No photo of {what} in {index.source} can be read any more.",
            remedy="Put the photos back, or scan the folder again and start a new run.",
        )
    return Photos(store, train_items, val_items)


def _read_notices(not_kept: str, failed: dict[str, str], changed: int) -> Iterator[Notice]:
    if not_kept:
        yield Notice(not_kept)
    for path, reason in list(failed.items())[:_NAMED]:
        yield Notice(f"{path} is left out: {reason}", "warning")
    if len(failed) > _NAMED:
        yield Notice(
            f"{len(failed) - _NAMED} more photos are left out; `tl-app inspect` may say why.", "warning"
        )
    if changed:
        yield Notice(
            f"{words.plural(changed, 'photo has', 'photos have')} changed since the scan, and are used as found now. "
            "Scan the folder again to see what is in it.",
            "warning",
        )


def describe(spec: BackboneSpec, config: TrainConfig) -> str:
    """A sentence or two on what the automatic settings chose."""
    of_run = config.weights.startswith(RUN_PREFIX)
    of_file = config.weights.startswith(FILE_PREFIX)
    kind = "of run " if of_run else "of file " if of_file else ""
    weights = f"{kind}{Path(config.weights).name}" if kind else config.weights
    assert config.image_size and config.epochs
    growing = (
        " " + resizing.describe(resizing.sides(config.resize_from, config.image_size, config.epochs))
        if config.resize_from is not None
        else ""
    )
    return (
        f"{spec.label}, weights {weights}, {config.image_size} px, {config.epochs} epochs, "
        f"batch size {config.batch_size}, "
        f"learning rate {config.lr_head:g} (head) and {config.lr_backbone:g} (backbone).{growing}"
    )
