"""Small photos and folders of them, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_app import cores

# The four corners of every test picture, so that a turn or a flip shows.
CORNERS = {"top left": (230, 30, 30), "top right": (30, 200, 40), "bottom left": (40, 50, 220)}
CORNERS["bottom right"] = (240, 230, 60)


def _picture(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    """Four plain quarters with a little noise; another seed, other bytes."""
    pixels = np.zeros((height, width, 3), np.int16)
    half_height, half_width = height // 2, width // 2
    pixels[:half_height, :half_width] = CORNERS["top left"]
    pixels[:half_height, half_width:] = CORNERS["top right"]
    pixels[half_height:, :half_width] = CORNERS["bottom left"]
    pixels[half_height:, half_width:] = CORNERS["bottom right"]
    pixels += np.random.default_rng(seed).integers(-6, 7, pixels.shape, dtype=np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _encoded(image: Image.Image, format: str, **options: object) -> bytes:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches go into the test's own folder."""
    home = tmp_path / "home of the app"
    monkeypatch.setenv("TL_APP_HOME", str(home))
    return home


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    return _picture


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    return _encoded


@pytest.fixture
def fill() -> Callable[[Path, Mapping[str, int | bytes]], Path]:
    """Fill a folder: a number makes that many JPEGs in a folder, bytes make a file."""

    def make(folder: Path, content: Mapping[str, int | bytes]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        seed = 0
        for name, what in content.items():
            if isinstance(what, bytes):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(what)
                continue
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(what):
                seed += 1
                (folder / name / f"{number}.jpg").write_bytes(_encoded(_picture(seed=seed), "JPEG"))
        return folder

    return make


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets threads hand over each photo by itself, as if it took long."""
    monkeypatch.setattr(cores, "_HAND_OVER_SECONDS", 0.0)
