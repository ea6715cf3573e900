from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.engine.test_fusing import shaken
from tests.engine.test_inference import CPU, PREPROCESSING, error
from tl_app.backbones.staged import StagedNetwork, build, split
from tl_app.engine import inference, openvino
from tl_app.engine.inference import ENOUGH_FOR_OPENVINO, compile_forward

installed = pytest.mark.skipif(not openvino.is_installed(), reason="the openvino extra is not installed")


@pytest.fixture
def network() -> StagedNetwork:
    torch.manual_seed(0)
    network: StagedNetwork = shaken(build("mobilenet_v3_small", num_classes=3))
    return network.eval()


@pytest.fixture
def photos() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(100, 256, (11, 3, 64, 64), dtype=torch.uint8, generator=generator)


@installed
@torch.no_grad()
@pytest.mark.parametrize("k", [1, 8])
def test_it_gives_what_torch_gives(network: StagedNetwork, photos: Tensor, k: int) -> None:
    """Whatever the size of the batch, up to the borders, also for maps of activations."""
    prefix = split(network, k)[0]
    expected = prefix(PREPROCESSING.normalise(photos))
    forward = compile_forward(prefix, PREPROCESSING, device=CPU, precision="fp32", engine="openvino")
    assert (forward.engine, forward.precision, forward.note) == ("openvino", torch.float32, "")
    for batch in (photos, photos[:1], photos[:4].contiguous(memory_format=torch.channels_last)):
        result = forward(batch)
        assert result.dtype == torch.float32 and result.shape == expected[: len(batch)].shape
        assert error(result, expected[: len(batch)]) < 1e-4


@installed
@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_gives_the_same_where_many_are_to_come(
    network: StagedNetwork, photos: Tensor, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full requests are then for a network of their own; what is left over is not."""
    monkeypatch.setattr(openvino, "_TOGETHER", 4)
    few, many = (
        compile_forward(
            network, PREPROCESSING, device=CPU, precision=precision, engine="openvino", images=images
        )
        for images in (ENOUGH_FOR_OPENVINO - 1, ENOUGH_FOR_OPENVINO)
    )
    for batch in (photos, photos[:1], photos[:4], photos[:5]):  # 11 are halved for two cores: 4 + 2 and 4 + 1
        assert error(many(batch), few(batch)) < 1e-4


@installed
@torch.no_grad()
def test_bf16_is_near_and_still_comes_as_float32(network: StagedNetwork, photos: Tensor) -> None:
    expected = network(PREPROCESSING.normalise(photos))
    forward = compile_forward(network, PREPROCESSING, device=CPU, precision="bf16", engine="openvino")
    assert (forward.engine, forward.precision) == ("openvino", torch.bfloat16)
    result = forward(photos)
    assert result.dtype == torch.float32 and error(result, expected) < 0.03


@installed
def test_the_same_photos_give_the_same_bits_in_all_threads(network: StagedNetwork, photos: Tensor) -> None:
    forward = compile_forward(network, PREPROCESSING, device=CPU, engine="openvino")
    expected = forward(photos)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(result, expected) for result in pool.map(forward, [photos] * 12))


@installed
@pytest.mark.parametrize(
    ("images", "engine"), [(None, "openvino"), (ENOUGH_FOR_OPENVINO, "openvino"), (50, "torch")]
)
def test_auto_takes_it_when_there_is_enough_to_do(
    network: StagedNetwork, images: int | None, engine: str
) -> None:
    forward = compile_forward(split(network, 2)[0], PREPROCESSING, device=CPU, images=images)
    assert (forward.engine, forward.note) == (engine, "")


class _Unknown(nn.Module):
    """No converter knows this operation."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


@installed
def test_what_cannot_be_converted_is_left_to_torch(network: StagedNetwork, photos: Tensor) -> None:
    module = nn.Sequential(*split(network, 1)[0], _Unknown())
    forward = compile_forward(module, PREPROCESSING, device=CPU, precision="fp32", engine="openvino")
    assert forward.engine == "torch" and forward.note.startswith("OpenVINO is not used: ")
    with torch.no_grad():
        assert error(forward(photos), module(PREPROCESSING.normalise(photos))) < 1e-5


@installed
def test_results_that_are_off_are_left_to_torch(
    network: StagedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = openvino.OpenVinoNetwork.__call__
    monkeypatch.setattr(openvino.OpenVinoNetwork, "__call__", lambda self, images: 1.5 * real(self, images))
    forward = compile_forward(network, PREPROCESSING, device=CPU, engine="openvino")
    assert forward.engine == "torch"
    assert forward.note.startswith("OpenVINO is not used: its results are off by 50.")


def test_without_the_extra(network: StagedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for, it is missed in a note; left to the program, it is not mentioned."""
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(inference.openvino, "is_installed", lambda: False)
    asked = compile_forward(network, PREPROCESSING, device=CPU, engine="openvino")
    assert (
        asked.engine == "torch"
        and asked.note == "OpenVINO is not used: the tl-app[openvino] extra is not installed."
    )
    left = compile_forward(network, PREPROCESSING, device=CPU)
    assert (left.engine, left.note) == ("torch", "")


@installed
def test_statistics_are_not_sent_and_warnings_not_shown(
    network: StagedNetwork, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """OpenVINO's own converter sends an event for every network."""
    telemetry = pytest.importorskip("openvino_telemetry.main")
    sent: list[object] = []
    monkeypatch.setattr(telemetry.Telemetry, "send_event", lambda *event, **_: sent.append(event))
    assert compile_forward(network, PREPROCESSING, device=CPU, engine="openvino").engine == "openvino"
    assert not sent and not recwarn.list


_QUIETLY = """
import os, sys, torch
from torch import nn
from tests.engine.test_inference import PREPROCESSING
from tl_app.engine.openvino import OpenVinoNetwork

forks = []
os.register_at_fork(before=lambda: forks.append(1))
network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
OpenVinoNetwork(network, PREPROCESSING, 16, torch.float32)(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
assert not forks
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
import openvino_telemetry  # who wants it can have it
"""


@installed
def test_nobody_is_told_that_it_is_used(tmp_path: Path) -> None:
    """OpenVINO's own telemetry leaves files in the home folder, and forks the process to send."""
    found = subprocess.run(
        [sys.executable, "-c", _QUIETLY], env={**os.environ, "HOME": str(tmp_path)}, capture_output=True
    )
    assert found.returncode == 0, found.stderr.decode()
    assert not list(tmp_path.iterdir())
