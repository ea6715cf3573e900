"""Whether a frozen part's activations are worth keeping, and of how many views: time and bytes, weighed.

Plain arithmetic over what was measured on this machine; knows nothing of networks, files or photos.
"""

from __future__ import annotations

from dataclasses import dataclass

from tl_app import words

# What all views of all training photos together may cost: about a minute of two CPU cores, or of a graphics card.
# In operations, not in seconds, so that the same command gives the same views however busy the machine is.
_VIEWS_FLOPS = {"cpu": 2e13, "mps": 1e14, "cuda": 2e15}


@dataclass(frozen=True)
class Costs:
    """What was measured, for one phase and a number of views.

    Attributes:
        photo_seconds: The frozen stages' time for one view of one photo.
        row_bytes: Of its activations at the boundary, as stored.
        train: Training photos.
        val: Validation photos.
        epochs: Of the phase.
        views: Of each training photo; a validation photo has one.
        rows: Activations of all those views.
        missing: How many of them are not kept yet.
        disk_bytes_per_second: How fast activations that do not stay in memory are written and read.
        memory_bytes: What may stay in memory.
        limit_bytes: What may be kept at all: the cache's budget, or what may stay in memory if that is more.
    """

    photo_seconds: float
    row_bytes: int
    train: int
    val: int
    epochs: int
    views: int
    rows: int
    missing: int
    disk_bytes_per_second: float
    memory_bytes: int
    limit_bytes: int

    @property
    def kept_bytes(self) -> int:
        """All activations."""
        return self.rows * self.row_bytes

    @property
    def in_memory(self) -> bool:
        """Whether they are few enough to stay there."""
        return self.kept_bytes <= self.memory_bytes

    @property
    def fill_seconds(self) -> float:
        """Computing and writing those that are missing."""
        return self.missing * (self.photo_seconds + self.row_bytes / self.disk_bytes_per_second)

    @property
    def epoch_seconds(self) -> float:
        """Reading one epoch's share; none worth counting from memory."""
        if self.in_memory:
            return 0.0
        return (self.train + self.val) * self.row_bytes / self.disk_bytes_per_second

    @property
    def kept_seconds(self) -> float:
        """The frozen part's share of the whole phase, with activations kept."""
        return self.fill_seconds + self.epochs * self.epoch_seconds

    @property
    def every_step_seconds(self) -> float:
        """The frozen part's share of the whole phase, run in every step."""
        return self.epochs * (self.train + self.val) * self.photo_seconds


def affordable_views(*, photo_flops: float, train: int, epochs: int, device: str) -> int:
    """How many views of each photo frozen stages are run on when nobody says: one per epoch, or as time allows.

    Args:
        photo_flops: Operations of the frozen stages for one photo.
        train: Training photos.
        epochs: Of the phase.
        device: ``cpu``, ``mps`` or ``cuda``.
    """
    return max(1, min(epochs, int(_VIEWS_FLOPS[device] / max(1.0, photo_flops * train))))


def views_within(limit_bytes: int, *, row_bytes: int, train: int, val: int) -> int:
    """How many views of each training photo fit, beside one of each validation photo.

    Args:
        limit_bytes: What may be kept.
        row_bytes: Of one photo's activations, as stored.
        train: Training photos.
        val: Validation photos.
    """
    return max(0, (limit_bytes - val * row_bytes) // (train * row_bytes))


def keep(costs: Costs, mode: str, fewer: str = "") -> tuple[bool, str]:
    """Whether to compute activations once and keep them.

    Args:
        costs: What was measured.
        mode: ``auto`` weighs, ``on`` keeps whatever fits.
        fewer: Why there are not as many views as epochs, as part of a sentence; empty when nothing limits them.

    Returns:
        The choice, and one sentence that says it and why.
    """
    if costs.kept_bytes > costs.limit_bytes:
        return False, every_step(costs, f"the limit is {words.size(costs.limit_bytes)}")
    if mode == "auto" and costs.kept_seconds > 1.1 * costs.every_step_seconds:
        return False, (
            f"The frozen stages run in every step, about {words.about(costs.every_step_seconds)} in all: to keep "
            f"their output would take {words.about(costs.kept_seconds)} and {words.size(costs.kept_bytes)}."
        )
    return True, _kept_sentence(costs, fewer)


def every_step(costs: Costs, obstacle: str) -> str:
    """The sentence for output that cannot be kept."""
    size = words.size(costs.kept_bytes)
    return f"The frozen stages run in every step: their output ({size}) cannot be kept ({obstacle})."


def _kept_sentence(costs: Costs, fewer: str) -> str:
    photos = f"{costs.train + costs.val:,} photos"
    if costs.views > 1 or fewer:
        photos += f", {costs.views} view{'s' * (costs.views > 1)} of each training photo"
    if fewer:
        photos += f" ({fewer})"
    every, size = words.about(costs.every_step_seconds), words.size(costs.kept_bytes)
    if not costs.missing:
        return (
            f"The frozen stages need not run: their output for {photos} ({size}) is kept already; in every step they "
            f"would take {every}."
        )
    there = costs.rows - costs.missing
    already = f", of which {words.share(there, costs.rows)} already" if there else ""
    return (
        f"The frozen stages run once, about {words.about(costs.fill_seconds)} for {photos}, and their output ({size}) "
        f"is kept{already}; in every step they would take {every}."
    )
