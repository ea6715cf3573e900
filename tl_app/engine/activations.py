"""Whether the activations of a phase's frozen stages are kept, and what the trainable suffix is fed in the end.

``measure → choose → fill the boundary stores → Inputs``. Knows nothing of optimisers, checkpoints or the phases before
and after.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from torch import Tensor

from tl_app import caches, resources
from tl_app.engine import filling
from tl_app.engine.background import with_progress
from tl_app.engine.batches import Item
from tl_app.engine.boundary import BoundaryStore
from tl_app.engine.costs import Costs, affordable_views, keep
from tl_app.engine.frozen import Form, Frozen
from tl_app.engine.inputs import Inputs, from_activations, from_photos
from tl_app.events import Event, Notice

_TIMED = 8  # photos that loading is timed on
_TRIED_BYTES = 32 << 20  # written once to see how fast the disk is
_MEMORY_BYTES, _MEMORY_SHARE = 1 << 30, 8  # activations in memory: 1 GiB, or an eighth of what is free


@dataclass(frozen=True)
class Plan:
    """How a phase's frozen stages are run; stored with the checkpoint, so that a resumed run does the same.

    Attributes:
        views: How many views of each photo the epochs draw from.
        kept: Whether their activations are computed once and kept.
        form: What the frozen stages are computed with.
    """

    views: int
    kept: bool
    form: Form

    @classmethod
    def stored(cls, values: dict[str, Any] | None) -> Plan | None:
        """The plan that a checkpoint holds."""
        return cls(values["views"], values["kept"], Form(**values["form"])) if values else None


def choose(frozen: Frozen, *, epochs: int, asked: int | None, mode: str) -> Generator[Event, None, Plan]:
    """Weighs keeping the frozen stages' output against running them in each step.

    Args:
        frozen: The stages and photos.
        epochs: Of the phase.
        asked: Views per photo, or None for as many as time allows.
        mode: ``auto``, ``on`` or ``off``.

    Yields:
        One sentence on the choice.
    """
    photos, form = frozen.photos, frozen.form
    costs = Costs(
        photo_seconds=form.photo_seconds + _loading_seconds(frozen),
        row_bytes=form.row_bytes,
        train=len(photos.train),
        val=len(photos.val),
        epochs=epochs,
        disk_bytes_per_second=_disk_speed(form.row_bytes * (len(photos.train) + len(photos.val))),
        memory_bytes=memory_limit(),
        limit_bytes=caches.budget_bytes(),
    )
    views = _views(frozen, epochs, asked)
    kept, why = keep(costs, views, mode)
    yield Notice(why)
    if views == 1 and frozen.sampling.augmentation.level != "none" and epochs > 1:
        yield Notice("One view of each photo, so without augmentation; more views per photo bring it back.")
    if form.note:
        yield Notice(form.note)
    return Plan(views, kept, form)


def _views(frozen: Frozen, epochs: int, asked: int | None) -> int:
    if frozen.sampling.augmentation.level == "none":
        return 1
    if asked is not None:
        return min(asked, epochs)
    return affordable_views(
        photo_flops=frozen.flops, train=len(frozen.photos.train), epochs=epochs, device=frozen.device.type
    )


def inputs(frozen: Frozen, plan: Plan) -> Generator[Event, None, Inputs]:
    """What the suffix is fed under a plan; missing activations are computed first, which can be stopped.

    When the disk fails on the way, the frozen stages run in every step instead: the same views, the same results but
    for rounding.

    Raises:
        Interrupted: ``frozen.stop`` said so; what was computed is found again next time.
    """
    sampling = dataclasses.replace(frozen.sampling, views=_drawn(frozen, plan))
    if plan.kept:
        try:
            amount = (len(frozen.photos.train) * plan.views + len(frozen.photos.val)) * plan.form.row_bytes
            in_memory = amount <= memory_limit()
            stores = yield from _filled_views(frozen, plan, in_memory)
            return from_activations(
                frozen.photos, sampling, stores, device=frozen.device, in_memory=in_memory
            )
        except OSError as error:
            yield Notice(
                f"The frozen stages run in every step: their output cannot be kept ({error.strerror or error}).",
                "warning",
            )

    def to_boundary(images: Tensor) -> Tensor:
        return frozen.forward(images).float()

    return from_photos(frozen.photos, sampling, to_boundary)


def memory_limit() -> int:
    """How many bytes of activations may stay in memory."""
    return min(_MEMORY_BYTES, int(psutil.virtual_memory().available) // _MEMORY_SHARE)


def _drawn(frozen: Frozen, plan: Plan) -> range:
    """The views that epochs draw from: those of the phase's own epochs; one for several epochs is the plain one."""
    own = frozen.sampling.views
    plain = plan.views == 1 and (len(own) > 1 or frozen.sampling.augmentation.level == "none")
    return range(1) if plain else own[: plan.views]


def _filled_views(
    frozen: Frozen, plan: Plan, in_memory: bool
) -> Generator[Event, None, dict[int, BoundaryStore]]:
    photos = frozen.photos
    wanted: dict[int, list[Item]] = {0: list(photos.val)}
    for view in _drawn(frozen, plan):
        wanted[view] = [*photos.train, *wanted.get(view, ())]
    return (
        yield from with_progress(
            "computing frozen activations",
            "photos",
            lambda report: filling.fill(frozen, wanted, in_memory=in_memory, report=report),
        )
    )


def _loading_seconds(frozen: Frozen) -> float:
    """What one view costs before the network sees it, per photo, with all threads at it."""
    seconds = []
    for item in frozen.photos.train[:_TIMED]:
        start = time.perf_counter()
        frozen.load(item, 1)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / (os.cpu_count() or 1)


def _disk_speed(amount: int) -> float:
    """Bytes per second that the cache's disk takes; not measured for what will stay in memory anyway."""
    if amount <= memory_limit():
        return float("inf")
    path = resources.cache_dir() / f".{uuid.uuid4().hex}.tmp"
    return _tried(path, bytes(_TRIED_BYTES))


def _tried(path: Path, content: bytes) -> float:
    start = time.perf_counter()
    try:
        with open(path, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return 1.0  # then keeping activations on it is the worst choice there is
    finally:
        path.unlink(missing_ok=True)
    return len(content) / max(1e-6, time.perf_counter() - start)
