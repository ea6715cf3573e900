from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tl_app.analysis.deletion import deletion
from tl_app.analysis.saliency import saliency
from tl_app.api import train
from tl_app.data.sources import sample_data
from tl_app.predicting import load_predictor


def _bright(photos: Tensor) -> Tensor:
    """Two classes: the more white, the surer of the second."""
    white = (photos == 255).all(1).float().mean((1, 2))
    return torch.stack([0.4 - white, 0.6 + white], 1)


def test_what_an_answer_hangs_on_is_missed_and_other_places_are_not() -> None:
    photos = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    photos[0, :, 4:8, 4:8] = 255
    photos[1, :, 20:24, 16:20] = 255
    drops = deletion(_bright, lambda photo: photo[0] / 255, photos, blur=False)
    assert torch.allclose(drops.hottest, torch.full((2,), 16 / 1024))
    assert (drops.random < drops.hottest).all() and (drops.swapped == 0).all()
    # No more than the share is blanked, also of a map that is hot everywhere.
    everywhere = deletion(_bright, lambda photo: torch.ones(32, 32), photos, share=0.1)
    assert (everywhere.hottest <= 0.1).all()


def test_a_head_trained_on_the_bundled_backbone_passes(home: Path) -> None:
    result = train(sample_data(), backbone="bundled", image_size=64, epochs=4, device="cpu", recipe="head")
    predictor = load_predictor(result.run, device="cpu")
    files = sorted(sample_data().rglob("*.jpg"))[::6]
    assert len(files) >= 20
    steps = predictor.preprocessing
    photos = torch.stack([steps.center(steps.load(file)) for file in files])
    drops = deletion(predictor.probabilities, lambda photo: saliency(predictor.network, steps, photo), photos)
    assert drops.hottest.mean() > drops.random.mean() + 0.05, drops
    assert drops.hottest.shape == drops.random.shape == drops.swapped.shape == (len(files),)
