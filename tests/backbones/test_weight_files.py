"""Weights from files: numbers are loaded, pickles only when they are trusted, and code never runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tl_app.backbones import weight_files
from tl_app.backbones.staged import build
from tl_app.backbones.weights import load_own
from tl_app.errors import UsageError

NAME = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Values of a network for seven classes."""
    return build(NAME, num_classes=7, image_size=64).net.state_dict()


class Attack:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.folder),)


def test_safetensors_fill_all_but_a_head_for_other_classes(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "own.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    network = build(NAME, num_classes=3, image_size=64)
    load_own(network, path)
    own = network.net.state_dict()
    same = {name for name, value in state.items() if value.shape == own[name].shape}
    assert len(state) - len(same) == 2  # weight and bias of the last layer
    assert all(torch.equal(own[name], state[name]) for name in same)


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ""])
def test_a_pickle_is_not_opened_and_it_is_said_why(tmp_path: Path, ending: str) -> None:
    path, made = tmp_path / f"weights{ending}", tmp_path / "made"
    path.write_bytes(pickle.dumps(Attack(made)))
    with pytest.raises(UsageError, match="a pickle can run any program.*safetensors.*--trust"):
        weight_files.read(path)
    assert not made.exists()


def test_a_pickle_named_safetensors_is_none(tmp_path: Path) -> None:
    path, made = tmp_path / "weights.safetensors", tmp_path / "made"
    path.write_bytes(pickle.dumps(Attack(made)))
    with pytest.raises(UsageError, match="cannot be read"):
        weight_files.read(path)
    assert not made.exists()


def test_even_a_trusted_pickle_runs_no_code(tmp_path: Path) -> None:
    path, made = tmp_path / "weights.pt", tmp_path / "made"
    for content in (Attack(made), {"state_dict": Attack(made)}):
        torch.save(content, path)
        with pytest.raises(UsageError, match="cannot be read"):
            weight_files.trusted(path)
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(UsageError, match="cannot be read"):
            weight_files.trusted(path)
    assert not made.exists()


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
def test_a_trusted_pickle_becomes_safetensors(
    tmp_path: Path, home: Path, state: dict[str, torch.Tensor], wrapper: str
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({wrapper: state} if wrapper else state, path)
    kept = weight_files.trusted(path)
    assert kept.parent == home / "weights" and kept.suffix == ".safetensors"
    assert all(torch.equal(value, state[name]) for name, value in load_file(kept).items())
    assert weight_files.trusted(path) == kept and weight_files.trusted(kept) == kept
    load_own(build(NAME, num_classes=7, image_size=64), kept)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"state_dict": {"a": "b"}}])
def test_what_is_no_network_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(UsageError, match="something else than a network's values"):
        weight_files.trusted(path)


def test_files_that_are_not_there_or_do_not_fit(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    for read in (weight_files.read, weight_files.trusted):
        with pytest.raises(UsageError, match="There is no weights file"):
            read(tmp_path / "nowhere.safetensors")
    path = tmp_path / "own.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    with pytest.raises(UsageError, match="does not fit resnet18.*another backbone"):
        load_own(build("resnet18", num_classes=7, image_size=64), path)
