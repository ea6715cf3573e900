from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from tl_app.errors import UsageError
from tl_app.predictor import Prediction
from tl_app.ui import try_tab
from tl_app.ui.workspace import Workspace


@pytest.fixture
def uploads(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "page"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def acts(home: Path) -> try_tab._Acts:
    return try_tab._Acts(Workspace(home / "runs"))


def test_only_uploads_are_read(uploads: Path, tmp_path: Path):
    mine = uploads / "a" / "photo.jpg"
    assert try_tab.uploaded({"photos": [{"path": str(mine)}]}) == [str(mine)]
    for path in ("/etc/passwd", str(uploads / ".." / ".." / "runs"), str(tmp_path), ""):
        with pytest.raises(UsageError, match="did not arrive"):
            try_tab.uploaded({"photos": [{"path": path}]})
    for data in (None, {}, {"photos": []}, {"photos": ["x"]}, "x"):
        with pytest.raises(UsageError):
            try_tab.uploaded(data)


def test_a_card_per_photo_with_bars_or_a_reason(uploads: Path):
    photo = uploads / "ant <1>.png"
    Image.new("RGB", (60, 40), "red").save(photo)
    good = Prediction(str(photo), "ants", 0.875, (("ants", 0.875), ("<bees>", 0.125)))
    bad = Prediction(str(uploads / "bomb.png"), error="It has 400 megapixels.")
    html = try_tab.cards([good, bad], "run one")
    assert "Classified by run one." in html
    assert html.count("<article") == 2
    assert "87.5 %" in html and "width:12.5%" in html and "&lt;bees&gt;" in html
    assert "ant &lt;1&gt;.png" in html and "data:image/jpeg" in html
    assert "It has 400 megapixels." in html
    assert html.count("data-photo=") == 1, "a photo that cannot be read has nothing to explain"
    assert html.count('data-label="ants"') == 2 and html.count("Why?") == 1
    assert "Not sure" not in html and "Unlike the training photos" not in html  # nothing is known of either


def test_a_card_says_what_speaks_against_its_answer(uploads: Path):
    for sure, unfamiliar, said in ((False, False, "Not sure"), (False, True, "Unlike the training photos")):
        one = Prediction(
            str(uploads / "a.png"), "ants", 0.6, (("ants", 0.6),), sure=sure, unfamiliar=unfamiliar
        )
        assert said in try_tab.cards([one], "run one")
    good = Prediction(str(uploads / "a.png"), "ants", 0.9, (("ants", 0.9),), sure=True, unfamiliar=False)
    assert "Not sure" not in try_tab.cards([good], "run one")


def test_without_runs_the_tab_says_what_to_do(acts: try_tab._Acts):
    kind, choice, text = acts.models(try_tab.RUN)
    assert kind == try_tab.RUN and choice["choices"] == [] and choice["value"] is None
    assert "pretrained network as it is" in text
    with pytest.raises(UsageError, match="Train one"):
        acts._show(try_tab.RUN, None, 3, False, [], gr.Progress())


def test_the_cost_of_averaging_is_said():
    said = try_tab.cost(6, 0.0041, 0.0242)
    assert "Averaged over 6 views, about 6× slower: 4.1 ms → 24 ms a photo." in said


def test_a_choice_without_photos_changes_nothing(acts: try_tab._Acts):
    assert all(
        value == gr.skip()
        for value in acts.again(try_tab.BACKBONE, "mobilenet_v2", 3, True, [], gr.Progress())
    )


@pytest.mark.shared
def test_a_pretrained_network_names_photos_as_it_is(
    acts: try_tab._Acts, uploads: Path, pretrained: Path, hymenoptera: Path
):
    kind, choice, _ = acts.models(try_tab.BACKBONE)
    assert choice["choices"][0][1] == "mobilenet_v2", "what is on disk comes first"
    bee = next((hymenoptera / "val" / "bees").iterdir())
    try:
        seen, html, _, used, made_by = acts._show(kind, "mobilenet_v2", 5, False, [str(bee)], gr.Progress())
    except UsageError as error:
        assert "hold no classifier" in str(error)
    else:
        assert seen == [str(bee)] and "<article" in html and "mobilenet_v2 as it is" in used
        assert made_by == (try_tab.BACKBONE, "mobilenet_v2")
