from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image

from tests.test_jobs import config, finished
from tl_app import predictor, runs
from tl_app.analysis.calibration import Calibration
from tl_app.analysis.familiar import Familiar
from tl_app.backbones.staged import build
from tl_app.data import crops
from tl_app.data.preprocessing import Preprocessing
from tl_app.engine import device
from tl_app.engine.inference import Forward
from tl_app.errors import ResourceError, UsageError
from tl_app.jobs import Worker


def test_a_run_answers_as_it_was_evaluated(photos: Path, tmp_path: Path) -> None:
    job = finished(Worker(tmp_path / "runs").start(config(photos)))
    found = predictor.load_run(runs.open_run(job.path, tmp_path))
    assert (found.labels, found.source) == (["blue", "red"], f"run {job.name}")
    paths = sorted((photos / "red").iterdir())
    answers = found.predict([*paths, b"no photo"], top=1)
    assert [answer.path for answer in answers] == [*map(str, paths), "photo 13"]
    assert answers[-1].error and not answers[-1].label
    one = found.predict([paths[0].read_bytes()])[0]
    assert one.confidence == pytest.approx(answers[0].confidence, abs=1e-5)


def test_a_run_without_a_finished_epoch_says_so(photos: Path, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "runs")
    job = worker.start(config(photos))
    job.stop()
    job.wait()
    with pytest.raises(UsageError, match="has no finished epoch yet"):
        predictor.load_run(runs.open_run(job.path, tmp_path))


def test_a_damaged_checkpoint_is_named(photos: Path, tmp_path: Path) -> None:
    job = finished(Worker(tmp_path / "runs").start(config(photos, epochs=1)))
    (job.path / "checkpoints" / "best-0001.safetensors").write_bytes(b"nothing")
    with pytest.raises(ResourceError, match="best-0001.safetensors cannot be read"):
        predictor.load_run(runs.open_run(job.path, tmp_path))


def test_a_pretrained_network_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers equal torchvision's own, with torchvision's own preprocessing."""
    from tl_app.backbones import weights
    from tl_app.backbones.catalogue import get_backbone

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v3_small().eval()
    torch.nn.init.normal_(net.classifier[3].weight, std=0.5)
    path = weights.cached_path(get_backbone("mobilenet_v3_small").default_weights)
    path.parent.mkdir(parents=True)
    torch.save(net.state_dict(), path)
    photo = tmp_path / "photo.png"
    Image.effect_noise((300, 260), 80).convert("RGB").save(photo)
    chosen = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT
    with torch.inference_mode():
        expected = net(chosen.transforms()(Image.open(photo))[None]).softmax(1)[0]
    loaded = predictor.load_backbone("mobilenet_v3_small")
    (answer,) = loaded.predict([photo], top=1000)
    assert loaded.labels == chosen.meta["categories"]
    found = dict(answer.top)
    assert len(answer.top) == 1000 and answer.confidence == max(found.values())
    for label, share in zip(loaded.labels, expected.tolist(), strict=True):
        if loaded.labels.count(label) == 1:  # ImageNet has two cranes and two maillots
            assert found[label] == pytest.approx(share, rel=1e-3)


@pytest.mark.shared
def test_weights_without_a_classifier_are_not_asked_for_names(pretrained: Path) -> None:
    with pytest.raises(UsageError, match="hold no classifier"):
        predictor.load_backbone("mobilenet_v2")


def test_random_weights_know_no_labels() -> None:
    with pytest.raises(UsageError, match="with random weights knows no labels"):
        predictor.load_backbone("resnet18", "random")


@pytest.fixture
def small() -> predictor.Predictor:
    torch.manual_seed(0)
    network = build("mobilenet_v3_small", num_classes=3, image_size=32)
    torch.nn.init.normal_(network.classifier.weight, std=0.5)
    preprocessing, cpu = Preprocessing(crop=32, resize=36), torch.device("cpu")
    return predictor.Predictor(network, preprocessing, ["a", "b", "c"], "a test", cpu, torch.float32)


@pytest.fixture
def keen(small: predictor.Predictor) -> predictor.Predictor:
    """One whose answers differ from photo to photo, which a random network's hardly do."""
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        spread = small.network(small.preprocessing.normalise(images)).std(0).mean()
    with torch.no_grad():
        small.network.classifier.weight /= spread
    return small


def _photo(folder: Path, width: int = 60, height: int = 48) -> Path:
    path = folder / f"{width}x{height}.png"
    Image.effect_noise((width, height), 80).convert("RGB").save(path)
    return path


def test_averaged_over_one_view_it_is_the_plain_answer(
    keen: predictor.Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, real = _photo(tmp_path), crops.views
    plain, averaged = keen.predict([photo]), keen.predict([photo], average=True)
    assert averaged[0].top != plain[0].top
    monkeypatch.setattr(crops, "views", lambda *given: real(*given)[:1])
    assert keen.predict([photo], average=True) == plain


@pytest.mark.parametrize(("flip", "views"), [("none", 5), ("horizontal", 6), ("vertical", 6), ("both", 8)])
def test_an_averaged_answer_is_the_mean_over_the_views(
    keen: predictor.Predictor, tmp_path: Path, flip: str, views: int
) -> None:
    keen.flip = flip
    photos = [_photo(tmp_path), tmp_path / "missing.png", _photo(tmp_path, 200, 40)]
    first, missing, second = keen.predict(photos, average=True)
    assert missing.error and keen.views == views
    for photo, answer in ((photos[0], first), (photos[2], second)):
        image = keen.preprocessing.load(photo)
        seen = crops.views(image, 32, flip)
        assert len(seen) == views and torch.equal(seen[0], keen.preprocessing.center(image))
        means = keen.probabilities(torch.stack(seen)).mean(0).tolist()
        assert sum(share for _, share in answer.top) == pytest.approx(1)
        for label, share in answer.top:
            assert share == pytest.approx(means[keen.labels.index(label)], abs=1e-5)


def test_the_cost_of_all_views_is_measured_once(keen: predictor.Predictor) -> None:
    one, every = keen.view_costs()
    assert 0 < one and 0 < every
    assert keen.view_costs() == (one, every)


def test_its_numbers_are_the_networks(small: predictor.Predictor) -> None:
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        expected = small.network(small.preprocessing.normalise(images))
    torch.testing.assert_close(small.logits(images), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(small.probabilities(images), expected.softmax(1), rtol=1e-4, atol=1e-5)


def test_photos_that_come_together_are_answered_together(
    small: predictor.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads ask at once; while the first is answered the others gather, and share a pass."""
    images = torch.randint(0, 256, (8, 1, 3, 32, 32), dtype=torch.uint8)
    expected = small.logits(images.flatten(0, 1))
    passes: list[int] = []
    all_there = threading.Event()
    real = Forward.__call__

    def counted(self: Forward, batch: torch.Tensor) -> torch.Tensor:
        passes.append(len(batch))
        assert all_there.wait(10)
        return real(self, batch)

    monkeypatch.setattr(Forward, "__call__", counted)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(small.logits, image) for image in images]
        while sum(passes) + len(small._joined._waiting) < 8:
            threading.Event().wait(0.01)
        all_there.set()
        found = torch.cat([answer.result() for answer in answers])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert sum(passes) == 8 and len(passes) <= 3


def test_photos_are_read_in_order_and_in_any_number(small: predictor.Predictor, photos: Path) -> None:
    paths = sorted(photos.glob("*/*.png")) * 3
    answers = small.predict(iter(paths), top=9)
    assert [answer.path for answer in answers] == list(map(str, paths))
    for one, again in zip(answers, small.predict(paths[:24], top=3), strict=False):
        assert len(one.top) == len(again.top) == 3
        assert dict(one.top) == pytest.approx(dict(again.top), abs=1e-5)
    assert small.predict([]) == []
    (wrong,) = small.predict([photos / "nothing.png"])
    assert wrong.error and not wrong.top


def test_it_is_compiled_when_the_first_photo_comes(
    small: predictor.Predictor, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    real = predictor.compile_forward

    def compile_forward(*arguments: Any, **options: Any) -> Forward:
        calls.append(options)
        return real(*arguments, **options)

    monkeypatch.setattr(predictor, "compile_forward", compile_forward)
    assert small.predict([]) == [] and not calls
    paths = sorted(photos.glob("*/*.png"))
    small.predict(paths)
    small.predict(paths)
    small.expect()
    assert [(call["images"], call["precision"]) for call in calls] == [(24, "fp32")]
    small._forward = None
    small.expect()
    small.predict(paths)
    assert [call["images"] for call in calls] == [24, None]  # no end of them


def test_on_a_cpu_answers_are_float32_unless_bf16_was_asked_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_bf16_units", lambda _: True)
    worker = Worker(tmp_path / "runs")
    for asked, expected in (("auto", torch.float32), ("bf16", torch.bfloat16)):
        job = finished(worker.start(config(photos, epochs=1, precision=asked)))
        found = predictor.load_run(runs.open_run(job.path, tmp_path), "cpu")
        assert found.precision == expected
        assert found.predict(sorted((photos / "red").iterdir()))[0].confidence > 0


def _calibration(temperature: float, threshold: float | None) -> Calibration:
    return Calibration("a", 10, temperature, 1.0, 0.9, 0.1, 0.05, 0.95, threshold, 0.5, 0.96, ())


def test_a_temperature_changes_how_sure_it_is_and_nothing_else(
    keen: predictor.Predictor, tmp_path: Path
) -> None:
    photo = _photo(tmp_path)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    plain, before = keen.probabilities(images), keen.predict([photo], average=True)[0]
    assert before.sure is None and before.unfamiliar is None
    keen.calibration = _calibration(3.0, None)
    cooler, after = keen.probabilities(images), keen.predict([photo], average=True)[0]
    torch.testing.assert_close(cooler, (keen.logits(images) / 3).softmax(1))
    assert torch.equal(cooler.argmax(1), plain.argmax(1)) and (cooler.amax(1) < plain.amax(1)).all()
    seen = torch.stack(crops.views(keen.preprocessing.load(photo), 32, keen.flip))
    assert after.confidence == pytest.approx(keen.probabilities(seen).mean(0).max().item(), abs=1e-5)
    assert after.confidence < before.confidence and after.sure is False  # no confidence was enough


def test_it_says_of_which_answers_it_is_sure(keen: predictor.Predictor, tmp_path: Path) -> None:
    photo = _photo(tmp_path)
    confidence = keen.predict([photo])[0].confidence
    for threshold, sure in ((confidence, True), (confidence + 0.01, False)):
        keen.calibration = _calibration(1.0, threshold)
        assert keen.predict([photo])[0].sure is sure


@pytest.mark.parametrize("average", [False, True])
def test_what_is_unlike_all_training_photos_is_not_sure(
    keen: predictor.Predictor, tmp_path: Path, average: bool
) -> None:
    photos = [_photo(tmp_path), tmp_path / "missing.png", _photo(tmp_path, 200, 40)]
    loaded = keen.preprocessing
    features, _ = keen.outputs(loaded.center(loaded.load(photos[0]))[None])
    direction = (features / features.norm()).numpy()
    keen.calibration = _calibration(1.0, 0.0)
    keen.familiar = Familiar("a", direction, 1e-2)
    usual, missing, _ = keen.predict(photos, average=average)
    assert usual.unfamiliar is False and usual.sure is True
    assert missing.error and missing.unfamiliar is None and missing.sure is None
    keen.familiar = Familiar("a", -direction, 1e-2)
    strange = keen.predict(photos, average=average)[0]
    assert strange.unfamiliar is True and strange.sure is False
    assert strange.top == usual.top
