"""What may be under way at once: so many of a kind, uploads in turn, and streams of which the oldest make room.

Knows nothing of requests. An upload that waits costs a connection and what the server has buffered of it, 64 kB.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Iterator


class Count:
    """Places for one kind of thing, which nobody waits for.

    Args:
        places: How many.
    """

    def __init__(self, places: int) -> None:
        """All are free."""
        self._free = places

    @contextlib.contextmanager
    def one(self) -> Iterator[bool]:
        """Holds a place; yields False when there is none."""
        if self._free <= 0:
            yield False
            return
        self._free -= 1
        try:
            yield True
        finally:
            self._free += 1


class Streams:
    """Answers that stay open. Whoever holds many cannot keep others out: those opened first are ended first.

    Args:
        places: For all together.
        own_places: For one browser.
    """

    def __init__(self, places: int, own_places: int) -> None:
        """None is open."""
        self._places, self._own_places = places, own_places
        self._open: dict[asyncio.Timeout, str] = {}  # in the order in which they were opened

    @contextlib.contextmanager
    def one(self, session: str, limit: asyncio.Timeout) -> Iterator[bool]:
        """Holds a place; yields False when the browser has too many already.

        Args:
            session: The browser.
            limit: The time the stream has, which ends at once when the place is needed.
        """
        if sum(each == session for each in self._open.values()) >= self._own_places:
            yield False
            return
        while len(self._open) >= self._places:
            oldest = next(iter(self._open))
            del self._open[oldest]
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
        self._open[limit] = session
        try:
            yield True
        finally:
            self._open.pop(limit, None)


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
