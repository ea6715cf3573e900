from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from tests.test_jobs import config, finished
from tl_app import predictor, runs
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
