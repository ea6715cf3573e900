"""The photos that a run's settings name. Knows nothing of jobs; the scan itself is in :mod:`tl_app.data.index`."""

from __future__ import annotations

from collections.abc import Callable

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, scan
from tl_app.events import Event, Progress


def scanned(config: TrainConfig, listener: Callable[[Event], None] | None) -> DatasetIndex:
    """The photos that ``config.data`` names, split as it says; ``listener`` hears how far the scan is.

    Raises:
        DataError: They cannot be used as they are.
    """

    def report(done: int, total: int) -> None:
        if listener is not None:
            listener(Progress("scanning files", done, total, "files"))

    return scan(config.data, val_fraction=config.val_fraction, seed=config.seed, on_progress=report)
