"""Stand-ins for anyone's photos: some of those that ship, the same on every machine and for every folder.

What is fitted to them depends on nobody's photos. Knows nothing of networks.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from tl_app import resources
from tl_app.data.preprocessing import Preprocessing

_CONTRAST = 2.0


@functools.lru_cache(maxsize=4)
def bold_photos(preprocessing: Preprocessing) -> Tensor:
    """Three sample photos at twice their contrast, so that few photos of anybody's go beyond their bounds.

    As they are, they leave out a tenth of what some photos hold; and two more of them make no difference.

    Returns:
        uint8 (B, 3, crop, crop), not to be written into.

    Raises:
        OSError: They are not there.
    """
    classes = sorted(path for path in (resources.sample_data_dir() / "fruit").iterdir() if path.is_dir())
    files = [sorted(folder.glob("*.jpg"))[0] for folder in classes[::2]]
    photos = torch.stack([preprocessing.center(preprocessing.load(file)) for file in files]).float()
    mean = photos.mean((1, 2, 3), keepdim=True)
    return (mean + _CONTRAST * (photos - mean)).clamp_(0, 255).to(torch.uint8)
