"""Models that were opened on the page: the last few, by the names that people choose them by.

Knows nothing of components. A page can name none but these, whatever it sends.
"""

from __future__ import annotations

import collections
import itertools
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tl_app import loading
from tl_app.errors import UsageError

if TYPE_CHECKING:
    from tl_app.export.reading import ReadExport

_KEPT = 3


class Opened:
    """The models that are open. Safe to use from several browser tabs at once."""

    def __init__(self) -> None:
        """None is open yet."""
        self._lock = threading.Lock()
        self._models: collections.OrderedDict[str, ReadExport] = collections.OrderedDict()

    def open(self, path: Path) -> tuple[str, ReadExport]:
        """Reads an exported model and remembers it; returns its key, and what it is.

        Raises:
            UserError: It is none that may be opened.
        """
        loading.wait()
        from tl_app.export.reading import read_export

        found = read_export(path)
        with self._lock:
            names = itertools.chain([found.name], (f"{found.name} ({n})" for n in itertools.count(2)))
            key = next(name for name in names if name not in self._models)
            self._models[key] = found
            while len(self._models) > _KEPT:
                self._models.popitem(last=False)
        return key, found

    def get(self, key: str | None) -> ReadExport:
        """A model that was opened, by its key.

        Raises:
            UsageError: It is not open any more.
        """
        with self._lock:
            found = self._models.get(key or "")
        if found is None:
            raise UsageError("This model is not open any more.", remedy="Drop it again.")
        return found

    def keys(self) -> list[str]:
        """Of the models that are open, latest first."""
        with self._lock:
            return list(reversed(self._models))
