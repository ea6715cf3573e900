"""How sure one can be of a share of photos: intervals, and whether two models really differ.

Works on counts only. Knows nothing of runs or networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.95  # of all intervals; a test calls a difference real below 1 - LEVEL
_Z95 = 1.959963984540054  # the normal distribution's quantile at (1 + LEVEL) / 2


def interval(right: int, photos: int) -> tuple[float, float]:
    """Where a share lies with 95 % confidence: Wilson's score interval.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference", recommended by Brown,
    Cai and DasGupta 2001, "Interval Estimation for a Binomial Proportion". Of 153 photos and a true accuracy of 50 to
    98 %, it holds that accuracy in 94.0 to 96.5 % of draws; Clopper and Pearson's does in up to 98.8 %, Jeffreys' in
    down to 91.9 %, and the one of most textbooks (mean ± 1.96 standard errors) in down to 80 %. SciPy has it too, but
    takes a second to import, which the end of a short training would wait for.

    Args:
        right: How many are right.
        photos: Of how many; without any, everything is possible.
    """
    if photos == 0:
        return 0.0, 1.0
    share, z2 = right / photos, _Z95**2
    centre = (share + z2 / (2 * photos)) / (1 + z2 / photos)
    half = _Z95 / (1 + z2 / photos) * math.sqrt(share * (1 - share) / photos + z2 / (4 * photos**2))
    low = 0.0 if right == 0 else centre - half
    high = 1.0 if right == photos else centre + half
    return low, high


def share_interval(share: float, photos: int) -> tuple[float, float]:
    """The same from a share, 0 to 1, as a run's record has it."""
    return interval(round(share * photos), photos)


def difference(first: float, second: float, photos: int) -> tuple[float, float]:
    """The 95 % interval of ``second - first``, two shares of as many photos each.

    Newcombe 1998 ("Interval estimation for the difference between independent proportions", method 10), which puts
    two Wilson intervals together. Two models that see the same photos are wrong on much the same ones, so the
    interval is rather too wide than too narrow.
    """
    (low_1, high_1), (low_2, high_2) = share_interval(first, photos), share_interval(second, photos)
    middle = second - first
    return (
        middle - math.hypot(second - low_2, high_1 - first),
        middle + math.hypot(high_2 - second, first - low_1),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's test that two models are equally good on the same photos, in its mid-p form.

    Fagerland, Lydersen and Laake 2013 ("The McNemar test for binary matched-pairs data: mid-p and asymptotic are
    better than exact conditional"). Photos that both classify right, or both wrong, tell nothing.

    Args:
        only_first: Photos that the first model alone classifies right.
        only_second: Photos that the second alone does.
    """
    from scipy.stats import binom

    fewer, photos = min(only_first, only_second), only_first + only_second
    if photos == 0:
        return 1.0
    here = float(binom.pmf(fewer, photos, 0.5))
    if only_first == only_second:
        return 1 - here / 2
    return 2 * float(binom.cdf(fewer, photos, 0.5)) - here


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values for several tests at once (Holm 1979): the chance that any of them errs stays that of one."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
