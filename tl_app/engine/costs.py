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
    """What was measured, for one phase.

    Attributes:
        photo_seconds: The frozen stages' time for one view of one photo.
        row_bytes: Of its activations at the boundary, as stored.
        train: Training photos.
        val: Validation photos.
        epochs: Of the phase.
        disk_bytes_per_second: How fast activations that do not stay in memory are written and read.
        memory_bytes: What may stay in memory.
        limit_bytes: What may be kept at all: the cache's budget, or the free memory without a disk.
    """

    photo_seconds: float
    row_bytes: int
    train: int
    val: int
    epochs: int
    disk_bytes_per_second: float
    memory_bytes: int
    limit_bytes: int

    def kept_bytes(self, views: int) -> int:
        """All activations: ``views`` per training photo, one per validation photo."""
        return (self.train * views + self.val) * self.row_bytes

    def fill_seconds(self, views: int) -> float:
        """Computing and writing them once."""
        computing = (self.train * views + self.val) * self.photo_seconds
        return computing + self.kept_bytes(views) / self.disk_bytes_per_second

    def epoch_seconds(self, views: int) -> float:
        """Reading one epoch's share; none worth counting from memory."""
        if self.kept_bytes(views) <= self.memory_bytes:
            return 0.0
        return (self.train + self.val) * self.row_bytes / self.disk_bytes_per_second

    def kept_seconds(self, views: int) -> float:
        """The frozen part's share of the whole phase, with activations kept."""
        return self.fill_seconds(views) + self.epochs * self.epoch_seconds(views)

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


def keep(costs: Costs, views: int, mode: str) -> tuple[bool, str]:
    """Whether to compute activations once and keep them.

    Args:
        costs: What was measured.
        views: Of each training photo.
        mode: ``auto`` weighs, ``on`` keeps whatever fits, ``off`` runs the frozen stages in every step.

    Returns:
        The choice, and one sentence that says it and why.
    """
    amount = costs.kept_bytes(views)
    if mode == "off":
        return False, "The frozen stages run in every step, as asked."
    if amount > costs.limit_bytes:
        return False, (
            f"The frozen stages run in every step: their output would take {words.size(amount)}, "
            f"and the cache may take {words.size(costs.limit_bytes)}."
        )
    kept, every_step = costs.kept_seconds(views), costs.every_step_seconds
    if mode == "auto" and kept > 1.1 * every_step:
        return False, (
            f"The frozen stages run in every step, about {words.about(every_step)} in all: to keep their output "
            f"would take {words.about(kept)} and {words.size(amount)}."
        )
    return True, _kept_sentence(costs, views)


def _kept_sentence(costs: Costs, views: int) -> str:
    photos = f"{costs.train + costs.val:,} photos"
    if views > 1:
        photos += f", {views} views of each training photo"
    return (
        f"The frozen stages run once, about {words.about(costs.fill_seconds(views))} for {photos}, and their output "
        f"({words.size(costs.kept_bytes(views))}) is kept; in every step they would take "
        f"{words.about(costs.every_step_seconds)}."
    )
