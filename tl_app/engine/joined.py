"""Calls from several threads answered together: while one batch is computed, the next one gathers.

Nobody waits for company: a lone call starts at once. Knows nothing of what is computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class _Request:
    rows: Tensor  # (B, …)
    result: Tensor | None = None  # (B, …)
    error: Exception | None = None


class Joined:
    """A function of batches whose concurrent calls share batches.

    Args:
        run: From rows (B, …) to results (B, …); never called twice at once.
        most: Rows a batch, at most.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], most: int) -> None:
        self._run, self._most = run, most
        self._waiting: list[_Request] = []
        self._list = threading.Lock()  # held for moments, around `_waiting`
        self._turn = threading.Lock()  # held while `run` computes

    def __call__(self, rows: Tensor) -> Tensor:
        """What ``run`` makes of ``rows`` (B, …), at least one.

        Raises:
            Exception: What ``run`` raised on these rows.
        """
        request = _Request(rows)
        with self._list:
            self._waiting.append(request)
        # Whoever has the turn computes for all that wait by then; they find their answers when they get it.
        with self._turn:
            while request.result is None and request.error is None:
                self._answer(self._next())
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _next(self) -> list[_Request]:
        """The oldest request, and those of its shape that fit into a batch with it."""
        with self._list:
            taken, count = [self._waiting[0]], len(self._waiting[0].rows)
            for request in self._waiting[1:]:
                alike = request.rows.shape[1:] == taken[0].rows.shape[1:]
                if alike and count + len(request.rows) <= self._most:
                    taken.append(request)
                    count += len(request.rows)
            self._waiting = [request for request in self._waiting if request not in taken]
        return taken

    def _answer(self, requests: list[_Request]) -> None:
        try:
            rows = torch.cat([request.rows for request in requests])
            results = torch.cat([self._run(part) for part in torch.split(rows, self._most)])
        except Exception as error:
            if len(requests) == 1:
                requests[0].error = error
            else:  # the others are not to suffer from one that fails
                for request in requests:
                    self._answer([request])
            return
        except BaseException:  # Ctrl-C meant this thread alone: the others compute for themselves
            with self._list:
                self._waiting[:0] = requests
            raise
        parts = torch.split(results, [len(request.rows) for request in requests])
        for request, part in zip(requests, parts, strict=True):
            request.result = part
