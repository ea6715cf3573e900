"""How sure one can be of a share of photos: intervals, and whether two models really differ.

Works on counts only. Knows nothing of runs or networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.95  # of all intervals; a test calls a difference real below 1 - LEVEL


def interval(right: int, photos: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Wilson 1927: it stays inside 0 to 1 and holds for few photos too.

    Args:
        right: How many are classified right.
        photos: Of how many; without any, everything is possible.
    """
    if photos == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    found = binomtest(right, photos).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


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
