"""Whether a training still gains: a judgement on the epochs so far, which suggests an end and never forces it.

Knows nothing of runs, pages or terminals. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from tl_app import words
from tl_app.events import EpochDone

_PATIENCE_SHARE, _LEAST, _MOST = 0.25, 4, 25  # of a phase's epochs, and in epochs
_NOTABLE = 0.01  # share by which the validation loss must fall to count as a gain
_WORTHWHILE = 2  # epochs left; with fewer there is nothing to save


def suggestion(rows: Sequence[EpochDone], *, epochs: int, since: int = 0) -> str:
    """One sentence when neither validation accuracy nor loss has gained for long; else empty.

    Long is a quarter of the phase, but at least 4 epochs and at most 25.

    Args:
        rows: The epochs done, in order.
        epochs: Of the whole run.
        since: Epochs done when the phase under way began. It is the last one: those before lead to the next, whatever
            they gain themselves.
    """
    best = next((row for row in reversed(rows) if row.is_best), None)
    if best is None or epochs - rows[-1].epoch < _WORTHWHILE:
        return ""
    patience = min(max(round(_PATIENCE_SHARE * (epochs - since)), _LEAST), _MOST)
    done = rows[-1].epoch
    if done - max(best.epoch, _last_fall(rows), since) < patience:
        return ""
    return (
        f"No better epoch in the last {done - best.epoch}; "
        f"the best is epoch {best.epoch} at {words.percent(best.val_accuracy)}."
    )


def _last_fall(rows: Sequence[EpochDone]) -> int:
    """The last epoch whose loss was notably lower than that of all before; slow falls add up."""
    lowest, epoch = float("inf"), 0
    for row in rows:
        if row.val_loss < lowest * (1 - _NOTABLE):
            lowest, epoch = row.val_loss, row.epoch
    return epoch
