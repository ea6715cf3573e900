"""The photos that a run's settings name. Knows nothing of jobs; the scan itself is in :mod:`tl_app.data.index`."""

from __future__ import annotations

from collections.abc import Callable

from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex, scan
from tl_app.data.roots import Roots
from tl_app.events import Event, Progress


def scanned(
    config: TrainConfig, listener: Callable[[Event], None] | None, roots: Roots = None
) -> DatasetIndex:
    """The photos that ``config.data`` names, split as it says; ``listener`` hears how far the scan is.

    Args:
        config: The settings.
        listener: None for nobody.
        roots: Folders that the photos must lie in; None for anywhere.

    Raises:
        DataError: They cannot be used as they are.
    """

    def report(done: int, total: int) -> None:
        if listener is not None:
            listener(Progress("scanning files", done, total, "files"))

    split = {"val_fraction": config.val_fraction, "seed": config.seed}
    return scan(config.data, **split, roots=roots, on_progress=report)  # type: ignore[arg-type]
