from __future__ import annotations

from pathlib import Path

import pytest

from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.ui import form, preview
from tl_app.ui.workspace import Workspace


@pytest.fixture
def work(home: Path) -> Workspace:
    return Workspace(home / "runs")


def _values(**changes: object) -> dict[str, object]:
    settings = TrainConfig(backbone="mobilenet_v3_small", weights="random", image_size=32)
    return form.shown(settings) | changes


def test_without_photos_it_says_where_to_choose_them(work: Workspace) -> None:
    assert "Choose them on the Data tab" in preview.shown(work, "", _values())


def test_pictures_come_with_captions_and_text_for_those_who_cannot_see_them(
    work: Workspace, photos: Path
) -> None:
    source = str(work.scan(str(photos)).source)
    html = preview.shown(work, source, _values(mixup=0.4))
    assert html.count("<section") == 4 and html.count("<img") == html.count("<figcaption") == 24
    assert html.count('src="data:image/jpeg') == 24
    assert 'alt="blue/00.png, for validation"' in html and "% red" in html
    assert preview.shown(work, source, _values(rotation=45)) != preview.shown(work, source, _values())


def test_settings_that_are_not_allowed_are_named(work: Workspace, photos: Path) -> None:
    source = str(work.scan(str(photos)).source)
    with pytest.raises(UsageError, match="rotation is 200"):
        preview.shown(work, source, _values(rotation=200))
