"""Weights from a file on the command line: safetensors at once, a pickle with ``--trust`` alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tl_app import api, cli, runs
from tl_app.backbones.staged import build
from tl_app.errors import UsageError

TINY = "--backbone mobilenet_v3_small --epochs 1 --image-size 32 --json".split()


def test_a_run_starts_from_a_file(
    photos: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = build("mobilenet_v3_small", num_classes=7, image_size=32).net.state_dict()
    pickled, safe = tmp_path / "own.pt", tmp_path / "own.safetensors"
    torch.save({"state_dict": state}, pickled)
    save_file({name: value.contiguous() for name, value in state.items()}, safe)

    def train(name: str, *options: str) -> tuple[int, dict[str, object]]:
        code = cli.run(["train", str(photos), *TINY, "--name", name, *options])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    code, refused = train("refused", "--weights", f"file:{pickled}")
    assert (
        code == 2
        and "a pickle can run any program" in str(refused["error"])
        and "--trust" in str(refused["error"])
    )
    assert not (home / "runs" / "refused").exists()
    assert train("safe", "--weights", f"file:{safe}")[0] == 0
    assert train("trusted", "--weights", f"file:{pickled}", "--trust")[0] == 0
    info = runs.open_run("trusted", home / "runs")
    assert info.config.weights.startswith(f"file:{home}/weights/own-") and "own-" in info.lineage[0]
    stages = [runs.open_run(name, home / "runs").val_accuracy for name in ("safe", "trusted")]
    assert stages[0] == stages[1], "the same values"
    with pytest.raises(UsageError, match="a pickle can run any program"):
        api.train(photos, backbone="mobilenet_v3_small", weights=f"file:{pickled}")
