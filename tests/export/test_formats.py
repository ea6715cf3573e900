"""Each format answers by itself, in the runtime that it is made for."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
from tl_app.config import TrainConfig
from tl_app.data.preprocessing import Preprocessing
from tl_app.export import check, smaller
from tl_app.export.kept import ExportResult
from tl_app.export.onnx_files import onnx_answers
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


@dataclass(frozen=True)
class Exported:
    """A run with all its exports, made once."""

    run: RunInfo
    photos: list[Path]
    rows: dict[str, ExportResult]

    def file(self, name: str) -> Path:
        return Path(self.rows[name].file)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, odd_photos_once: Path) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "_REPEATS", 2)
        patch.setenv("TL_APP_HOME", str(folder / "home"))
        run = make_sure_run(folder / "runs", odd_photos_once, 512, backbone="resnet18")
        rows = tl_app.export_run(run.path, "all", out=folder / "copies")
    return Exported(run, sorted(odd_photos_once.rglob("*.png")), {row.format: row for row in rows})


def test_all_formats_pass_and_differ_in_size(exported: Exported) -> None:
    rows = exported.rows
    assert (
        {"onnx", "onnx-fp16", "onnx-int8", "torch", "safetensors"} <= set(rows) == set(tl_app.list_formats())
    )
    assert all(row.passed and row.photos and set(row.latency) == {"1", "32"} for row in rows.values())
    assert {Path(row.file).parent.name for row in rows.values()} == {"copies"}
    exact = [row for row in rows.values() if row.format in ("onnx", "torch", "safetensors")]
    assert all(row.same == row.photos and (row.max_difference or 0) < 1e-4 for row in exact)
    assert rows["onnx"].size_bytes == exported.file("onnx").stat().st_size
    assert rows["onnx-int8"].size_bytes < 0.3 * rows["onnx"].size_bytes
    assert rows["onnx-fp16"].size_bytes < 0.6 * rows["onnx"].size_bytes
    assert "8 bits" in rows["onnx-int8"].note and "training photos" in rows["onnx-int8"].note
    int8 = {tensor.data_type for tensor in onnx.load(exported.file("onnx-int8")).graph.initializer}
    assert onnx.TensorProto.INT8 in int8
    assert [row.format for row in tl_app.list_exports(exported.run.path)] == list(rows)


@pytest.mark.parametrize("name", ["onnx", "onnx-fp16", "onnx-int8"])
def test_an_onnx_file_says_what_it_is(exported: Exported, name: str) -> None:
    run, model = exported.run, onnx.load(exported.file(name))
    values = {each.key: each.value for each in model.metadata_props}
    about = json.loads(values["tl_app"])
    assert json.loads(values["labels"]) == about["classes"] == list(run.classes)
    assert (about["kind"], about["name"], about["backbone"]) == (name, "odd", "resnet18")
    assert about["preprocessing"] == run.preprocessing and about["temperature"] > 0
    assert about["metrics"]["images"] == exported.rows[name].photos and about["metrics"]["split"] == "val"
    assert TrainConfig.from_dict(about["config"]).backbone == "resnet18"
    content = exported.file(name).read_bytes()
    assert str(exported.photos[0].parents[2]).encode() not in content and b"stack_trace" not in content


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_photos_of_a_size_are_answered_together(exported: Exported, name: str) -> None:
    ask = (onnx_answers if name == "onnx" else torch_answers)(exported.file(name))
    several = np.random.default_rng(0).integers(0, 256, (3, 40, 333, 3), dtype=np.uint8)
    together = ask(several)
    assert together.shape == (3, 2) and together.dtype == np.float32
    predictor = load_run(exported.run)
    steps = predictor.preprocessing
    squares = torch.stack([steps.center(steps.shrink(photo.copy())) for photo in several])
    assert np.abs(together - predictor.probabilities(squares).numpy()).max() < 1e-4


def test_a_pt2_file_says_what_it_is(exported: Exported) -> None:
    files = {"tl_app.json": ""}
    torch.export.load(exported.file("torch"), extra_files=files)
    assert json.loads(files["tl_app.json"])["classes"] == list(exported.run.classes)


def test_torchvision_and_timm_load_the_folder(exported: Exported) -> None:
    folder = exported.file("safetensors")
    pixels, probabilities = wanted(load_run(exported.run), exported.photos)
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


def test_the_card_says_what_the_hub_and_people_want_to_know(exported: Exported) -> None:
    folder = exported.file("safetensors")
    card = (folder / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["pipeline_tag"] == "image-classification" and head["license"] == "other"
    for part in ("## Use", "## Data", "## Figures", "## Limits", "## Lineage and licence", "| red | 8 | 2 |"):
        assert part in text, part
    assert f"On {exported.rows['safetensors'].photos} validation photos" in text and "resnet18" in text
    assert str(exported.photos[0].parents[2]) not in card + (folder / "config.json").read_text()


def test_int8_goes_on_to_a_gentler_level_where_accuracy_falls(
    run: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smaller, "_CALIBRATED_ON", 4)
    held = iter([False, False])
    monkeypatch.setattr(smaller, "_holds", lambda *_: next(held))
    note = smaller.write_int8(original_of(run), tmp_path / "model.onnx")
    assert note.startswith(smaller.LEVELS[2].note) and next(held, None) is None


@pytest.mark.parametrize(
    ("features", "settings"),
    [
        (512, {"head": "mlp", "hidden": 16}),
        (512, {"head": "cosine"}),
        (768, {"recipe": "head", "freeze": None, "fuse_stages": 2}),
        (1024, {"recipe": "head", "freeze": None, "fuse_backbone": "squeezenet1_1"}),
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
