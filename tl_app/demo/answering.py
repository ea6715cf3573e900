"""What the demo says of a photo: one at a time, in bounded time and memory, and then the photo is forgotten.

Knows a loaded predictor and a folder of uploads; nothing of runs, of other files, or of the page.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_app import cards, words
from tl_app.analysis.explaining import explain_photo
from tl_app.data.decode import read_size
from tl_app.errors import PhotoError, ResourceError, UsageError, UserError
from tl_app.predictor import Prediction, Predictor

MAX_BYTES = 10_000_000
# For one answer, from when its turn has come: less than the guard's 10, so that it is this sentence that one reads.
SECONDS = 9.0
TOP = 5

# More threads than cores: those that have decoded their photo wait together, and share one pass of the network.
_THREADS = 8
# Decoded at 3 bytes a pixel, and copied once or twice on the way: a second photo of this size has to wait.
_LARGE_PIXELS = 12_000_000
_MOST_MAPS = 8  # that may wait: each is a pass forth and back, alone

_AGAIN = "Choose it again."


@dataclass(frozen=True)
class Question:
    """What a visitor asks.

    Attributes:
        turn: The question's number, which its answer carries back.
        photo: The uploaded file; None for an example.
        example: The example's number; None for an upload.
        label: The class to explain; empty to be told what the photo shows.
    """

    turn: int
    photo: Path | None
    example: int | None
    label: str


@dataclass
class Counts:
    """How often the demo was asked; nothing else is kept of a question."""

    asked: int = 0
    answered: int = 0


class Answering:
    """Answers questions about photos, many at once.

    Args:
        predictor: The one model; nothing else is ever loaded.
        uploads: The folder of uploaded files; each is deleted when as many questions as uploads of it have ended.
        examples: The contents of the owner's example photos.
        seconds: That an answer may take.
        arrived: How often each file was uploaded since it was last gone: gradio calls the same photo of two visitors
            the same when it has the same name.
    """

    def __init__(
        self,
        predictor: Predictor,
        uploads: Path,
        examples: Sequence[bytes] = (),
        *,
        seconds: float = SECONDS,
        arrived: collections.Counter[str] | None = None,
    ) -> None:
        self.counts = Counts()
        self._predictor, self._uploads, self._examples = predictor, uploads.resolve(), list(examples)
        self._seconds, self._arrived = seconds, collections.Counter() if arrived is None else arrived
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="demo answers")
        self._maps = ThreadPoolExecutor(1, thread_name_prefix="demo maps")
        self._maps_waiting = 0
        self._decoding = threading.Semaphore(max(2, os.cpu_count() or 1))
        self._large = threading.Lock()

    async def ask(self, data: Any) -> dict[str, Any]:
        """The answer to an event's question; its ``error`` is a sentence for the visitor, who may be anyone."""
        self.counts.asked += 1
        question: Question | None = None
        turn = data.get("turn") if isinstance(data, dict) else None
        try:
            question = asked(data, self._uploads, len(self._examples))
            said = await asyncio.wait_for(self._started(question), self._seconds)
        except TimeoutError:
            return {
                "turn": turn,
                "error": f"That took longer than {self._seconds:.0f} seconds. Try a smaller photo.",
            }
        except UserError as error:
            return {"turn": turn, "error": str(error)}
        finally:
            if question is not None and question.photo is not None:
                self._delete(question.photo)
        self.counts.answered += 1
        return {"turn": turn, **said}

    async def _started(self, question: Question) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        if not question.label:
            return await loop.run_in_executor(self._pool, self._predict, question)
        if self._maps_waiting >= _MOST_MAPS:
            raise ResourceError("Too many others are asking why just now.", remedy="Try again in a moment.")
        self._maps_waiting += 1
        try:
            return await loop.run_in_executor(self._maps, self._explain, question)
        finally:
            self._maps_waiting -= 1

    def _predict(self, question: Question) -> dict[str, Any]:
        content = self._content(question)
        # First alone, then among the others: who waits for another large photo keeps no small one waiting.
        with self._alone_when_large(content), self._turn(self._decoding):
            steps = self._predictor.preprocessing
            image = steps.center(steps.load(content))
        return said_of(self._predictor.of_images([image], TOP)[0])

    def _explain(self, question: Question) -> dict[str, Any]:
        content = self._content(question)
        with self._alone_when_large(content):
            found = explain_photo(self._predictor, content, question.label)
        picture = f"data:image/png;base64,{base64.b64encode(found.overlay).decode()}"
        return {"label": found.label, "picture": picture, "legend": found.legend}

    def _alone_when_large(self, content: bytes) -> contextlib.AbstractContextManager[Any]:
        """Also refuses photos of too many pixels, by their header, before anything is decoded."""
        width, height = read_size(io.BytesIO(content))
        return self._turn(self._large) if width * height > _LARGE_PIXELS else contextlib.nullcontext()

    @contextlib.contextmanager
    def _turn(self, permit: threading.Lock | threading.Semaphore) -> Iterator[None]:
        """Nobody can stop a decoder, so it may still hold its permit when its visitor was told to give up.

        Raises:
            ResourceError: It was not free in time; told while whoever asks still listens.
        """
        if not permit.acquire(timeout=self._seconds / 2):
            raise ResourceError(
                "Others are asking about large photos just now.", remedy="Try again in a moment."
            )
        try:
            yield
        finally:
            permit.release()

    def _content(self, question: Question) -> bytes:
        if question.photo is None:
            return self._examples[question.example or 0]
        try:
            with open(question.photo, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise PhotoError("The photo did not arrive.", remedy=_AGAIN) from error
        if len(content) > MAX_BYTES:
            raise PhotoError(
                "The photo is too large.", f"At most {words.size(MAX_BYTES)} are taken.", "Save it smaller."
            )
        return content

    def _delete(self, photo: Path) -> None:
        self._arrived[str(photo)] -= 1
        if self._arrived[str(photo)] > 0:
            return  # somebody else's too, who is still to ask
        del self._arrived[str(photo)]
        # Where it cannot be deleted now (Windows, while a thread that came too late reads it), the sweep takes it.
        with contextlib.suppress(OSError):
            photo.unlink(missing_ok=True)
            photo.parent.rmdir()


def asked(data: Any, uploads: Path, examples: int) -> Question:
    """The question that an event carries.

    Args:
        data: As it came from a browser, or from anyone.
        uploads: The folder that its photo must be in, resolved.
        examples: How many there are.

    Raises:
        UsageError: It carries none, or asks for a file that is not an upload.
    """
    try:
        turn, label = int(data["turn"]), data.get("label") or ""
        photo, example = data.get("photo"), data.get("example")
        if not isinstance(label, str) or len(label) > 500:
            raise ValueError("no class is called that")
        if photo is None:
            number = int(example)
            if not 0 <= number < examples:
                raise ValueError("there is no such example")
            return Question(turn, None, number, label)
        path = Path(str(photo))
        # Not through a link, and in the one place where uploads are: a folder of its own each.
        if path.is_symlink() or path.resolve().parent.parent != uploads:
            raise ValueError("not an upload")
        return Question(turn, path.resolve(), None, label)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise UsageError("The question did not arrive.", remedy=_AGAIN) from error


def said_of(one: Prediction) -> dict[str, Any]:
    """A prediction for the page: as a card, and as the cells of a table."""
    return {
        "html": cards.answer(one),
        "label": one.label,
        "share": round(one.confidence, 4),
        "confidence": words.percent(one.confidence),
        "note": cards.doubt(one),
    }


def sweep(
    uploads: Path, older_than_seconds: float, now: float, arrived: collections.Counter[str] | None = None
) -> int:
    """Deletes uploads that nobody asked about, and returns how many.

    Args:
        uploads: The folder, which is the demo's own.
        older_than_seconds: Younger ones may still be asked about.
        now: Unix time.
        arrived: How often each was uploaded; those that are gone are forgotten there.
    """
    gone = 0
    for path in sorted(uploads.rglob("*"), reverse=True):  # files before the folders they are in
        with contextlib.suppress(OSError):  # somebody was quicker, or it is not empty
            if now - path.lstat().st_mtime <= older_than_seconds:
                continue
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
                gone += 1
                if arrived is not None:
                    arrived.pop(str(path), None)
    return gone
