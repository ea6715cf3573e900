"""An exported ONNX file in use: photos in, predictions out, with the decoder of training and without torch's network.

Has the part of :class:`tl_app.predictor.Predictor` that classifying needs. It cannot average over views, explain an
answer, or say that a photo is unlike those of training: the graph has one output.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tl_app.cores import one_core_pool
from tl_app.data.decode import open_pixels
from tl_app.errors import PhotoError, ResourceError, UsageError
from tl_app.export.contract import PHOTOS, PROBABILITIES
from tl_app.export.guarded import Graph
from tl_app.predictor import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

_AT_ONCE = 8  # decoded photos that wait for the network
_MOST_SECONDS = 60.0  # for one photo: a graph that a stranger made could run for ever
_MOST_BYTES = 2**31  # of all that is computed on the way: it could also ask for any amount of memory


class OnnxPredictor:
    """An exported model, loaded for use; may be used from several threads at once.

    Args:
        graph: A file that was checked.

    Raises:
        UsageError: ONNX Runtime cannot load it.
    """

    views = 1

    def __init__(self, graph: Graph) -> None:
        self.about = graph.about
        self.labels = list(graph.about.classes)
        self.preprocessing = graph.about.preprocessing
        self.source = f"{graph.about.name}, exported as {graph.about.kind}"
        self._session = _session(graph)

    def predict(
        self, photos: Iterable[Path | str | bytes], top: int = 5, *, average: bool = False
    ) -> list[Prediction]:
        """Classifies photos; one that cannot be read gets its reason and stops nothing.

        Args:
            photos: Files, or the bytes of files.
            top: How many classes to name per photo.
            average: Not possible: there is one view.

        Returns:
            One prediction per photo, in order.

        Raises:
            UsageError: Averaging was asked for.
        """
        if average:
            raise UsageError(
                "An exported ONNX file looks at each photo once, so it cannot average over views.",
                remedy="Leave it out, or use the run itself.",
            )
        predictions: list[Prediction] = []
        numbered = enumerate(photos, 1)
        with one_core_pool(min(4, os.cpu_count() or 1), "tl-app photos") as pool:
            while batch := list(itertools.islice(numbered, _AT_ONCE)):
                for (number, photo), found in zip(
                    batch, pool.map(self._pixels, [each for _, each in batch]), strict=True
                ):
                    name = f"photo {number}" if isinstance(photo, bytes) else str(photo)
                    predictions.append(self._said(name, found, top))
        return predictions

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of each class, float32 (classes,), for an upright RGB photo, uint8 (h, w, 3).

        Raises:
            ResourceError: ONNX Runtime gave up, as for want of memory, or it took too long.
        """
        found = self._run(pixels)
        if found.shape != (1, len(self.labels)) or not np.isfinite(found).all():
            raise ResourceError(
                f"The exported model gave an answer of shape {found.shape} that is no probability of each class.",
                remedy="Export it again.",
            )
        row: NDArray[np.float32] = found[0].astype(np.float32)
        return row

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        clock = threading.Timer(_MOST_SECONDS, setattr, (options, "terminate", True))
        clock.daemon = True
        clock.start()
        try:
            return np.asarray(self._session.run([PROBABILITIES], {PHOTOS: pixels[None]}, options)[0])
        except Exception as error:  # its errors derive from Exception alone
            why = str(error)[:200]
            if options.terminate:
                why = f"it took more than {_MOST_SECONDS:.0f} s"
            elif "BFCArena" in str(error):
                why = f"it needs more than {_MOST_BYTES / 2**30:.0f} GB of memory"
            raise ResourceError(
                f"The exported model could not answer: {why}.", remedy="Export it again."
            ) from error
        finally:
            clock.cancel()

    def _pixels(self, photo: Path | str | bytes) -> NDArray[np.uint8] | str:
        try:
            source = photo if isinstance(photo, bytes) else Path(photo)
            return open_pixels(source, shorter_side=self.preprocessing.resize)
        except PhotoError as error:
            return str(error)

    def _said(self, name: str, pixels: NDArray[np.uint8] | str, top: int) -> Prediction:
        if isinstance(pixels, str):
            return Prediction(name, error=pixels)
        found = self.probabilities(pixels)
        order = np.argsort(-found, kind="stable")[: max(1, top)]
        ranked = tuple((self.labels[index], float(found[index])) for index in order)
        label, confidence = ranked[0]
        threshold = self.about.sure_threshold
        sure = threshold is not None and confidence >= threshold - 1e-6 if self.about.is_calibrated else None
        return Prediction(name, label, confidence, ranked, sure=sure)


def _session(graph: Graph) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong with a graph is told by its error
    _limit_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # What is kept for as long as the session would count too, and where it is more than the limit, ONNX Runtime (1.32)
    # counts below zero and allows anything. Packed anew each time, weights cost transformers half of their speed.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return onnxruntime.InferenceSession(
            graph.content,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],  # computes without the limit, and is done when exporting
        )
    except Exception as error:
        raise UsageError(
            f"ONNX Runtime cannot load the exported model: {str(error)[:200]}", remedy="Export it again."
        ) from error


@functools.cache
def _limit_memory() -> None:
    """Once for the process: all graphs of strangers take what they compute with from one store of limited size."""
    import onnxruntime

    kinds = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    store = onnxruntime.OrtMemoryInfo("Cpu", kinds[0].ORT_ARENA_ALLOCATOR, 0, kinds[1].DEFAULT)
    exactly = 1  # arena_extend_strategy: as much as is asked for, not twice as much each time
    limits = onnxruntime.OrtArenaCfg({"max_mem": _MOST_BYTES, "arena_extend_strategy": exactly})
    onnxruntime.create_and_register_allocator(store, limits)
