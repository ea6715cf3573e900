"""A network run by OpenVINO on the CPU: the ``[openvino]`` extra.

Takes uint8 photos; the normalisation becomes part of the compiled network. Knows nothing of stages or runs.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import threading
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from tl_app.data.preprocessing import Preprocessing

_TELEMETRY = "openvino_telemetry"
_TOGETHER = 16  # photos per request at most: their activations stay in the core's own cache


def is_installed() -> bool:
    """Whether the extra is there; nothing is imported."""
    return importlib.util.find_spec("openvino") is not None


@functools.cache
def version() -> str:
    """Of the extra that is installed, for what its results are kept under; nothing is imported."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:  # built from source, or under another name
        return "unknown"


class OpenVinoNetwork:
    """A network compiled for this CPU; may be called from several threads.

    Args:
        module: In eval mode, float32, on the CPU, best with BatchNorm folded.
        preprocessing: Its normalisation comes first.
        size: Side of the photos, in pixels.
        precision: float32 or bfloat16.
        many: Whether so many photos are to come that compiling once more (0.1 to 0.7 s) pays, for full requests alone:
            where their number is known, more steps are joined, and a photo takes 2 to 18 % less.

    Raises:
        Exception: OpenVINO cannot convert it, or cannot run it on this machine.
    """

    def __init__(
        self,
        module: nn.Module,
        preprocessing: Preprocessing,
        size: int,
        precision: torch.dtype,
        *,
        many: bool = False,
    ) -> None:
        """Convert and compile."""
        core, options = _imported().Core(), _options(precision)
        model = _with_normalisation(_converted(module, size), preprocessing)
        self._any_number = core.compile_model(model, "CPU", options)
        self._together = self._any_number
        if many:
            model.reshape([_TOGETHER, size, size, 3])
            self._together = core.compile_model(model, "CPU", options)
        self._own = threading.local()

    def __call__(self, images: Tensor) -> Tensor:
        """Uint8 (B, 3, S, S) -> float32 (B, …), on one core: there is a request for each thread."""
        if not hasattr(self._own, "requests"):
            # Where both are the same they get one request: it holds activations.
            compiled = (self._any_number, self._together)
            requests = {each: each.create_infer_request() for each in compiled}
            self._own.requests = [requests[each] for each in compiled]
        photos = images.permute(0, 2, 3, 1).contiguous()  # (B, S, S, 3)
        parts = []
        for part in torch.split(photos, _TOGETHER):
            request = self._own.requests[len(part) == _TOGETHER]
            (output,) = request.infer({0: part.numpy()}, share_inputs=True, share_outputs=True).values()
            parts.append(torch.from_numpy(output.copy()))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _imported() -> Any:
    """OpenVINO without its telemetry, which else tells a Google service of every process that imports it.

    To do so it also forks the process, with the threads and the memory of a training. Where it is not installed,
    OpenVINO does without.
    """
    if "openvino" not in sys.modules:
        known = sys.modules.get(_TELEMETRY)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # importing it fails
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules[_TELEMETRY]
            if known is not None:
                sys.modules[_TELEMETRY] = known
    return sys.modules["openvino"]


def _converted(module: nn.Module, size: int) -> Any:
    """The network as OpenVINO's own graph: (B, 3, S, S) float32 to (B, …).

    By the front end itself: ``openvino.convert_model`` takes five times as long, and runs the network three times.
    """
    from openvino import PartialShape, Type
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    photos = torch.zeros(2, 3, size, size)
    with warnings.catch_warnings(), torch.no_grad():
        # torch.jit is deprecated; it is what OpenVINO's front end reads, and ten times as fast as torch.export.
        warnings.simplefilter("ignore")
        traced = torch.jit.freeze(torch.jit.trace(module, photos, check_trace=False))  # type: ignore[no-untyped-call]
        decoder = TorchScriptPythonDecoder(traced, example_input=(photos,), skip_freeze=True)
    front_end = FrontEndManager().load_by_framework("pytorch")
    model = front_end.convert(front_end.load(decoder))
    model.input().get_node().set_element_type(Type.f32)
    model.reshape(PartialShape([-1, *photos.shape[1:]]))
    return model


def _with_normalisation(model: Any, preprocessing: Preprocessing) -> Any:
    """Takes uint8 (B, S, S, 3) instead."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout("NCHW"))
    steps.input().preprocess().convert_element_type(Type.f32).mean(
        [255 * value for value in preprocessing.mean]
    ).scale([255 * value for value in preprocessing.std])
    return steps.build()


def _options(precision: torch.dtype) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "THROUGHPUT",  # one request per core; also the quickest for one photo on one core
        "INFERENCE_PRECISION_HINT": "bf16" if precision == torch.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # photos are decoded beside it
    }
