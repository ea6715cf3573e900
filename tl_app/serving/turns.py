"""Uploads in turn: a few at once, the others wait unread, so that what is taken is taken quickly.

Knows nothing of requests. What waits costs a connection and what the server has buffered of it, 64 kB.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """Places for uploads under way.

    Args:
        places: For all together.
        own_places: For one browser.
        seconds: How long one waits for a place.
    """

    def __init__(self, places: int, own_places: int, seconds: float) -> None:
        """All places are free."""
        self._places, self._own_places, self._seconds = asyncio.Semaphore(places), own_places, seconds
        self._own: collections.Counter[str] = collections.Counter()

    @contextlib.asynccontextmanager
    async def one(self, session: str) -> AsyncIterator[bool]:
        """Holds a place; yields False when there was none in time, or the browser has too many already."""
        if self._own[session] >= self._own_places:
            yield False
            return
        self._own[session] += 1
        try:
            try:
                await asyncio.wait_for(self._places.acquire(), self._seconds)
            except TimeoutError:
                yield False
                return
            try:
                yield True
            finally:
                self._places.release()
        finally:
            self._own[session] -= 1
            if not self._own[session]:
                del self._own[session]
