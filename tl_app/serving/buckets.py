"""How often something may happen: token buckets, kept as one number each. Knows nothing of requests."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

from tl_app.serving.rules import Rate


class Buckets:
    """One bucket a key; those used longest ago are forgotten, which fills them.

    Args:
        rate: How often.
        kept: How many keys are remembered.
        clock: Seconds, never going back.
    """

    def __init__(self, rate: Rate, kept: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        """All buckets are full."""
        self._gap, self._slack = 60.0 / rate.per_minute, 60.0 / rate.per_minute * (rate.in_a_row - 1)
        self._kept, self._clock = kept, clock
        # Key to the moment at which its bucket is full again (the generic cell rate algorithm, ATM Forum 1996).
        self._full_at: collections.OrderedDict[str, float] = collections.OrderedDict()

    def take(self, key: str = "") -> float:
        """Takes one; the seconds to wait first when there is none, and 0 when there was."""
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now)
        if full_at - now > self._slack:
            return full_at - now - self._slack
        self._full_at[key] = full_at + self._gap
        self._full_at.move_to_end(key)
        while len(self._full_at) > self._kept:
            self._full_at.popitem(last=False)
        return 0.0
