"""Whether the activations of a phase's frozen stages are kept, and what the trainable suffix is fed in the end.

``measure → choose → fill the boundary stores → Inputs``. Knows nothing of optimisers, checkpoints or the phases before
and after.
"""

from __future__ import annotations

import dataclasses
import errno
import math
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
from tl_app.engine.background import with_progress
from tl_app.engine.costs import Costs, affordable_views, every_step, keep, views_within
from tl_app.engine.filling import Stores, fill
from tl_app.engine.frozen import Form, Frozen
from tl_app.engine.inputs import Inputs, Sampling, from_activations, from_photos
from tl_app.events import Event, Notice

_TIMED = 8  # photos that loading is timed on
_TRIED_BYTES = 32 << 20  # written once to see how fast the disk is
_MEMORY_BYTES, _MEMORY_SHARE = 1 << 30, 8  # activations in memory: 1 GiB, or an eighth of what is free

_AS_ASKED = "The frozen stages run in every step, as asked."


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


def choose(stores: Stores, *, epochs: int, asked: int | None, mode: str) -> Generator[Event, None, Plan]:
    """Weighs keeping the frozen stages' output against running them in each step.

    Args:
        stores: Of the phase, for what is kept already.
        epochs: Of the phase.
        asked: Views per photo, or None for as many as time and room allow.
        mode: ``auto``, ``on`` or ``off``.

    Yields:
        One sentence on the choice.
    """
    frozen = stores.frozen
    wished = _views(frozen, epochs, asked)
    if mode == "off":
        plan, why = Plan(wished.affordable, False, frozen.form), _AS_ASKED
    else:
        plan, why = _weighed(stores, epochs, wished, mode)
    yield Notice(why)
    if plan.views == 1 and frozen.sampling.augmentation.level != "none" and epochs > 1:
        yield Notice("One view of each photo, so without augmentation; more views per photo bring it back.")
    if plan.form.note:
        yield Notice(plan.form.note)
    return plan


@dataclass(frozen=True)
class _Views:
    """How many views of each photo would be good, and how few would do."""

    wanted: int  # one per epoch, or what was asked for
    affordable: int  # in the time for all of them
    fewest: int  # that are worth keeping rather than running the frozen stages in every step

    def fewer(self, views: int) -> str:
        """Why there are no more than ``views``; empty where no more are wanted."""
        if views < self.affordable:
            return "there is no room for more"
        return "more would take too long" if views < self.wanted else ""


def _views(frozen: Frozen, epochs: int, asked: int | None) -> _Views:
    if frozen.sampling.augmentation.level == "none":
        return _Views(1, 1, 1)
    if asked is not None:
        return _Views(*[min(asked, epochs)] * 3)
    affordable = affordable_views(
        photo_flops=frozen.flops, train=len(frozen.photos.train), epochs=epochs, device=frozen.device.type
    )
    return _Views(epochs, affordable, min(2, affordable))


def _weighed(stores: Stores, epochs: int, wished: _Views, mode: str) -> tuple[Plan, str]:
    """The plan and the sentence on it; as many views as there is room for, where the output is kept."""
    form = stores.frozen.form
    costs = _measured(stores, epochs, wished)
    kept, why = keep(costs, mode)
    if not kept:
        return Plan(wished.affordable, False, form), why
    for views in range(costs.views, wished.fewest - 1, -1):
        fewer = _of_views(costs, stores, views)
        obstacle = "" if fewer.in_memory else stores.obstacle(_drawn(stores.frozen, views))
        if not obstacle:  # which pays, as more of them would have
            return Plan(views, True, form), keep(fewer, "on", wished.fewer(views))[1]
    return Plan(wished.affordable, False, form), every_step(costs, obstacle)


def _measured(stores: Stores, epochs: int, wished: _Views) -> Costs:
    """The costs of as many views as the cache's budget, or the memory, holds."""
    frozen = stores.frozen
    photos, form = frozen.photos, frozen.form
    memory_bytes = memory_limit()
    limit_bytes = max(caches.budget_bytes(), memory_bytes)  # what is small needs no disk
    fitting = views_within(
        limit_bytes, row_bytes=form.row_bytes, train=len(photos.train), val=len(photos.val)
    )
    views = min(wished.affordable, fitting) if fitting >= wished.fewest else wished.affordable
    costs = Costs(
        photo_seconds=form.photo_seconds + _loading_seconds(frozen),
        row_bytes=form.row_bytes,
        train=len(photos.train),
        val=len(photos.val),
        epochs=epochs,
        views=views,
        rows=stores.rows(_drawn(frozen, views)),
        missing=stores.missing(_drawn(frozen, views)),
        disk_bytes_per_second=math.inf,
        memory_bytes=memory_bytes,
        limit_bytes=limit_bytes,
    )
    return costs if costs.in_memory else dataclasses.replace(costs, disk_bytes_per_second=_disk_speed())


def _of_views(costs: Costs, stores: Stores, views: int) -> Costs:
    drawn = _drawn(stores.frozen, views)
    return dataclasses.replace(costs, views=views, rows=stores.rows(drawn), missing=stores.missing(drawn))


def inputs(stores: Stores, plan: Plan) -> Generator[Event, None, Inputs]:
    """What the suffix is fed under a plan; missing activations are computed first, which can be stopped.

    When they cannot be kept, or the disk fails on the way, the frozen stages run in every step instead: the same
    views, the same results but for rounding.

    Raises:
        Interrupted: ``frozen.stop`` said so; what was computed is found again next time.
    """
    frozen = stores.frozen
    sampling = dataclasses.replace(frozen.sampling, views=_drawn(frozen, plan.views))
    if plan.form != frozen.form:
        yield Notice(frozen.form.note, "warning")
    if plan.kept:
        try:
            return (yield from _from_stores(stores, sampling))
        except OSError as error:
            yield Notice(
                f"The frozen stages run in every step: their output cannot be kept ({error.strerror or error}).",
                "warning",
            )

    def to_boundary(images: Tensor) -> Tensor:
        return frozen.forward(images).float()

    return from_photos(frozen.photos, sampling, to_boundary)


def _from_stores(stores: Stores, sampling: Sampling) -> Generator[Event, None, Inputs]:
    """Activations kept on the disk, or in memory where they are few and the disk has no room.

    Raises:
        OSError: There is room for them in neither, or they cannot be written.
    """
    frozen, views = stores.frozen, sampling.views
    form = frozen.form
    in_memory = stores.rows(views) * frozen.form.row_bytes <= memory_limit()
    obstacle = stores.obstacle(views)
    if obstacle and not in_memory:
        raise OSError(errno.ENOSPC, obstacle)
    if obstacle:
        yield Notice(f"The output of the frozen stages stays in memory, for this run alone ({obstacle}).")
    filled = yield from with_progress(
        "computing frozen activations",
        "photos",
        lambda report: fill(stores, views, on_disk=not obstacle, report=report),
    )
    if frozen.form != form:
        yield Notice(frozen.form.note, "warning")
    return from_activations(frozen.photos, sampling, filled, device=frozen.device, in_memory=in_memory)


def memory_limit() -> int:
    """How many bytes of activations may stay in memory."""
    return min(_MEMORY_BYTES, int(psutil.virtual_memory().available) // _MEMORY_SHARE)


def _drawn(frozen: Frozen, views: int) -> range:
    """The views that epochs draw from: those of the phase's own epochs; one for several epochs is the plain one."""
    own = frozen.sampling.views
    plain = views == 1 and (len(own) > 1 or frozen.sampling.augmentation.level == "none")
    return range(1) if plain else own[:views]


def _loading_seconds(frozen: Frozen) -> float:
    """What one view costs before the network sees it, per photo, with all threads at it."""
    seconds = []
    for item in frozen.photos.train[:_TIMED]:
        start = time.perf_counter()
        frozen.load(item, 1)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / (os.cpu_count() or 1)


def _disk_speed() -> float:
    """Bytes per second that the cache's disk takes."""
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
