"""Each format answers by itself, in the runtime that it is made for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
import yaml
from safetensors.torch import load_file

import tl_app
from tests.export.conftest import make_sure_run
from tl_app.data.preprocessing import Preprocessing
from tl_app.export import smaller
from tl_app.export.original import original_of
from tl_app.export.torch_files import torch_answers
from tl_app.export.weights_folder import crop_share, read_folder
from tl_app.predictor import Predictor, load_run
from tl_app.runs import RunInfo


def wanted(predictor: Predictor, photos: list[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """What a run's network sees of photos, and the probabilities that it gives them."""
    steps = predictor.preprocessing
    squares = torch.stack([steps.center(steps.load(path)) for path in photos])
    return steps.normalise(squares), predictor.probabilities(squares)


def test_all_formats_pass_and_differ_in_size(run: RunInfo, tmp_path: Path) -> None:
    rows = {row.format: row for row in tl_app.export_run(run.path, "all", out=tmp_path / "copies")}
    assert (
        {"onnx", "onnx-fp16", "onnx-int8", "torch", "safetensors"} <= set(rows) == set(tl_app.list_formats())
    )
    assert all(
        row.passed and row.photos and Path(row.file).parent == tmp_path / "copies" for row in rows.values()
    )
    assert rows["onnx-int8"].size_bytes < 0.3 * rows["onnx"].size_bytes
    assert rows["onnx-fp16"].size_bytes < 0.6 * rows["onnx"].size_bytes
    assert "8 bits" in rows["onnx-int8"].note and "training photos" in rows["onnx-int8"].note
    for name in ("onnx-int8", "onnx-fp16"):
        values = {each.key: each.value for each in onnx.load(rows[name].file).metadata_props}
        assert json.loads(values["tl_app"])["kind"] == name
    int8 = {tensor.data_type for tensor in onnx.load(rows["onnx-int8"].file).graph.initializer}
    assert onnx.TensorProto.INT8 in int8
    assert [row.format for row in tl_app.list_exports(run.path)] == list(rows)


def test_int8_goes_on_to_a_gentler_level_where_accuracy_falls(
    run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.2])
    monkeypatch.setattr(smaller, "_loss", lambda *_: next(losses))
    note = smaller.write_int8(original_of(run), tmp_path / "model.onnx")
    assert note.startswith(smaller.LEVELS[2].note) and next(losses, None) is None


def test_a_pt2_file_needs_torch_alone(run: RunInfo) -> None:
    (row,) = tl_app.export_run(run.path, "torch")
    ask = torch_answers(Path(row.file))
    several = np.random.default_rng(0).integers(0, 256, (5, 40, 333, 3), dtype=np.uint8)
    one_by_one = np.concatenate([ask(each[None]) for each in several])
    assert np.abs(ask(several) - one_by_one).max() < 1e-5
    files = {"tl_app.json": ""}
    torch.export.load(row.file, extra_files=files)
    assert json.loads(files["tl_app.json"])["classes"] == list(run.classes)


def test_torchvision_and_timm_load_the_folder(run: RunInfo, odd_photos: Path) -> None:
    (row,) = tl_app.export_run(run.path, "safetensors")
    folder, photos = Path(row.file), sorted(odd_photos.rglob("*.png"))
    pixels, probabilities = wanted(load_run(run), photos)
    config = json.loads((folder / "config.json").read_text())
    network = torchvision.models.get_model(config["architecture"], num_classes=config["num_classes"])
    network.load_state_dict(load_file(folder / "model.safetensors"))
    with torch.no_grad():
        assert (network.eval()(pixels).softmax(1) - probabilities).abs().max() < 1e-5
        theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        assert (theirs(pixels).softmax(1) - probabilities).abs().max() < 1e-5
    assert theirs.pretrained_cfg["input_size"] == [3, 64, 64]
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert processor["size"] == {"shortest_edge": 64} and processor["resample"] == 2


def test_the_card_says_what_the_hub_and_people_want_to_know(run: RunInfo, odd_photos: Path) -> None:
    (row,) = tl_app.export_run(run.path, "safetensors")
    card = (Path(row.file) / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["pipeline_tag"] == "image-classification" and head["license"] == "other"
    for part in ("## Use", "## Data", "## Figures", "## Limits", "## Lineage and licence", "| red | 8 | 2 |"):
        assert part in text, part
    assert f"On {row.photos} validation photos" in text and "resnet18" in text
    assert str(odd_photos.parent) not in card + (Path(row.file) / "config.json").read_text()


@pytest.mark.parametrize(
    ("features", "settings"),
    [
        (512, {"head": "mlp", "hidden": 16}),
        (512, {"head": "cosine"}),
        (768, {"recipe": "head", "freeze": None, "fuse_stages": 2}),
        (1536, {"recipe": "head", "freeze": None, "fuse_backbone": "shufflenet_v2_x0_5"}),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_every_head_leaves_the_app(
    tmp_path: Path, odd_photos: Path, features: int, settings: dict[str, object]
) -> None:
    run = make_sure_run(tmp_path / "runs", odd_photos, features, backbone="resnet18", **settings)
    # Every way takes the same row of stages and head; the folder alone knows how to build them.
    rows = tl_app.export_run(
        run.path, ["onnx", "safetensors"] if "fuse_backbone" in settings else "safetensors"
    )
    assert all(row.passed and (row.max_difference or 0) < 1e-4 for row in rows)
    folder = Path(rows[-1].file)
    assert "tl-app loads it" in rows[-1].note and "read_folder" in (folder / "README.md").read_text()
    network, config = read_folder(folder)
    pixels, probabilities = wanted(load_run(run), sorted(odd_photos.rglob("*.png")))
    assert config["tl_app"]["library"] == "tl-app"
    with torch.no_grad():
        assert (network(pixels).softmax(1) - probabilities).abs().max() < 1e-5


def test_the_share_that_timm_crops_gives_back_the_size() -> None:
    for crop in range(32, 400, 7):
        for resize in range(crop, 2 * crop, 5):
            share = crop_share(Preprocessing(resize, crop))
            assert int(crop / share) == resize
