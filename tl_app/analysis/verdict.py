"""What accuracy against photos says, in sentences: was transfer worth it, does unfreezing pay, will more photos help.

Every sentence is computed from the numbers and from how sure one can be of them; the intervals know how few validation
photos there are, and nothing of other seeds. Knows nothing of how anything was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tl_app.analysis.certainty import difference

# The recipes of a study, with the words for them; from the one that moves least to the one that begins with nothing.
RECIPES = {"head": "Head only", "partial": "Partial", "full": "Full", "scratch": "From scratch"}

_NEGLIGIBLE = 0.02  # points of accuracy that nobody labels photos for


@dataclass(frozen=True)
class Trained:
    """One training of a study.

    Attributes:
        recipe: One of :data:`RECIPES`.
        share: Of the training photos, in percent.
        photos: How many that is.
        val_images: Validation photos, the same ones in all trainings.
        accuracy: Of the best epoch on them, 0 to 1; ``low`` and ``high`` are the ends of its 95 % interval.
        seconds: Training time.
        trained_parameters: Those that moved, of ``total_parameters``.
    """

    recipe: str
    share: int
    photos: int
    val_images: int
    accuracy: float
    low: float
    high: float
    seconds: float
    trained_parameters: int
    total_parameters: int


def read_chart(trainings: Sequence[Trained]) -> tuple[str, ...]:
    """What the numbers so far give reason to say; shares for which a recipe is missing yet say nothing.

    Where the best of several recipes is spoken of, it was chosen by the same photos, which flatters it a little.
    """
    by_share: dict[int, dict[str, Trained]] = {}
    for each in trainings:
        by_share.setdefault(each.share, {})[each.recipe] = each
    whole = [share for share in sorted(by_share) if by_share[share].keys() >= RECIPES.keys()]
    if not whole:
        return ()
    first, last = by_share[whole[0]], by_share[whole[-1]]
    lines = [by_share[share] for share in whole]
    found = [_transfer(last), _transfer(first) if len(whole) > 1 else "", _unfreezing(last), _photos(lines)]
    return tuple(sentence for sentence in found if sentence)


def _transfer(at: dict[str, Trained]) -> str:
    """The best start from the source against a random one."""
    scratch = at["scratch"]
    best = max((at[recipe] for recipe in RECIPES if recipe != "scratch"), key=lambda each: each.accuracy)
    low, high = difference(scratch.accuracy, best.accuracy, best.val_images)
    gain, photos = _points(best.accuracy - scratch.accuracy), f"{best.photos:,} photos"
    seen = f"{RECIPES[best.recipe].lower()} {_percent(best)}, from scratch {_percent(scratch)}"
    if low > 0:
        return f"Transfer is worth {gain} at {photos} ({_span(low, high)}): {seen}."
    if high < 0:
        return f"Transfer costs {gain} at {photos} ({_span(low, high)}): {seen}."
    return (
        f"Whether transfer is worth anything at {photos} is too close to call: {seen} ({_span(low, high)})."
    )


def _unfreezing(at: dict[str, Trained]) -> str:
    """The best of the recipes that move stages against the head alone."""
    best, head = max((at["partial"], at["full"]), key=lambda each: each.accuracy), at["head"]
    low, high = difference(head.accuracy, best.accuracy, best.val_images)
    gain = best.accuracy - head.accuracy
    times = best.seconds / head.seconds if head.seconds else 0.0
    cost = f" for {times:.0f} times the training time" if times >= 1.5 else ""
    seen = f"{RECIPES[best.recipe].lower()} {_percent(best)} against the head alone {_percent(head)}"
    if low > 0:
        return f"Unfreezing pays: {seen}, {_points(gain)} more ({_span(low, high)}){cost}."
    if gain <= 0 or high <= _NEGLIGIBLE:
        return f"Unfreezing does not pay here: {seen} ({_span(low, high)}){cost}."
    if gain <= _NEGLIGIBLE:
        return f"Unfreezing shows no clear gain here: {seen} ({_span(low, high)}){cost}."
    unsure = f"Unfreezing may pay, but {best.val_images:,} validation photos cannot tell"
    return f"{unsure}: {seen} ({_span(low, high)}){cost}."


def _photos(shares: Sequence[dict[str, Trained]]) -> str:
    """The best recipe's gain from its last step of photos and, where that tells nothing, from all of them."""
    best = max(shares[-1].values(), key=lambda each: each.accuracy)
    line = [at[best.recipe] for at in shares]
    if len(line) < 2:
        return ""
    name = RECIPES[best.recipe].lower()
    before, start = line[-2], line[0]
    low, high = difference(before.accuracy, best.accuracy, best.val_images)
    step = f"from {before.photos:,} to {best.photos:,} photos {name} went from {_percent(before)} to {_percent(best)}"
    if high <= _NEGLIGIBLE:
        return f"More photos of the same kind will hardly help: {step} ({_span(low, high)})."
    if low > 0:
        return (
            f"More photos will help: {step}, {_points(best.accuracy - before.accuracy)} ({_span(low, high)})."
        )
    low_all, high_all = difference(start.accuracy, best.accuracy, best.val_images)
    if low_all > 0 and start is not before:
        return (
            f"More photos helped so far and may help further: {name} gained {_points(best.accuracy - start.accuracy)} "
            f"({_span(low_all, high_all)}) from {start.photos:,} to {best.photos:,} photos, of which the last step is "
            f"too small to be sure of ({_span(low, high)})."
        )
    if best.accuracy - before.accuracy <= _NEGLIGIBLE:
        return f"More photos show no clear gain: {step} ({_span(low, high)})."
    return f"Whether more photos will help is too close to call: {step} ({_span(low, high)})."


def _percent(each: Trained) -> str:
    return f"{100 * each.accuracy:.1f} %"


def _points(gain: float) -> str:
    value = round(100 * abs(gain))
    return f"{value} point{'' if value == 1 else 's'}"


def _span(low: float, high: float) -> str:
    return f"95 % interval {100 * low:+.0f} to {100 * high:+.0f} points".replace("-", "−")
