from __future__ import annotations

import dataclasses
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from tests.synthetic_runs import make_many_photos, make_run
from tl_app import runs
from tl_app.errors import UsageError
from tl_app.ui import (
    confusion_card,
    figures_card,
    map_card,
    mistakes_card,
    photo_card,
    photo_grid,
    report_button,
    results_tab,
)
from tl_app.ui.confusion_card import View
from tl_app.ui.examiner import Shown, Standing
from tl_app.ui.workspace import Workspace

EXAMINE_SECONDS = 60.0


@pytest.fixture
def work(home: Path, tmp_path: Path) -> Workspace:
    photos = make_many_photos(tmp_path / "photos", classes=3, per_class=20)
    make_run(home / "runs", "three", photos, wrong=0.3)
    return Workspace(home / "runs")


@pytest.fixture
def shown(work: Workspace) -> Shown:
    found = work.examiner.ask("three", "val", EXAMINE_SECONDS).result
    assert found is not None
    return "three", "val", found.model


def _picks(html: str) -> list[str]:
    return re.findall(r'data-pick="([^"]+)"', html)


def _event(pick: str) -> Any:
    return SimpleNamespace(_data={"pick": pick})


def _drawn(acts: results_tab.Acts, *asked: Any) -> tuple[Any, ...]:
    """What the tab shows in the end."""
    listed = acts.refresh(*asked, None, False, "worst")
    while listed[2] is not None:
        time.sleep(0.05)
        listed = (*listed[:2], *acts.tick(listed[2], False, "worst"))
    return listed


def test_without_a_model_the_tab_says_what_to_do(home: Path) -> None:
    acts = results_tab.Acts(Workspace(home / "runs"))
    listed = acts.refresh(None, "val", None, False, "worst")
    assert "Train one on the Train tab" in listed[5] and listed[6]["visible"] is False
    with pytest.raises(gr.Error, match="has no finished epoch yet"):
        acts.point_at("gone")


def test_a_run_is_drawn_once_and_kept_while_it_is_the_same(work: Workspace) -> None:
    acts = results_tab.Acts(work)
    listed = _drawn(acts, None, "val")
    run, split, asked, shown, clock, status, panel, headline = listed[:8]
    assert run["value"] == "three" and [value for _, value in split["choices"]] == ["val", "train"]
    assert shown[:2] == ("three", "val") and not clock.active and panel["visible"] is True and status == ""
    assert "on 12 validation photos" in headline and "flatter a little" in headline
    again = acts.refresh("three", "val", shown, False, "worst")
    assert again[7:] == tuple([gr.skip()] * len(again[7:])), "nothing is sent twice"
    assert len(again) == len(listed)
    page = gr.Blocks()
    with page:
        built = results_tab.build(work, [])
    assert len(next(f for f in page.fns.values() if f.name == "refresh").outputs) == len(listed)
    assert built.run.label == "Run"


def test_training_photos_come_with_a_warning(work: Workspace) -> None:
    listed = _drawn(results_tab.Acts(work), "three", "train")
    assert "48 training photos" in listed[7] and "was trained on these photos" in listed[7]


def test_figures_are_of_the_photos_shown(work: Workspace, shown: Shown) -> None:
    examined = work.examiner.found(shown)
    assert examined.metrics.confusion.sum() == len(examined.answers.paths) == 12
    assert examined.metrics.accuracy == pytest.approx(1 - examined.judged.wrong.mean())
    table = figures_card.class_table(examined)
    values = [
        float(v) for v in re.findall(r'</td><td data-value="([\d.]+)">[^<]*</td><td data-value="\d+">', table)
    ]
    assert values == sorted(values) and len(values) == 3, "the worst class is first"


def test_a_cell_shows_its_photos_and_no_others(work: Workspace, shown: Shown) -> None:
    examined, acts = work.examiner.found(shown), confusion_card.Acts(work)
    seen: list[int] = []
    for pick in _picks(confusion_card.matrix(examined, View(), False)):
        true, said = (int(number) for number in pick.removeprefix("cell:").split(","))
        view, _, _, grid = acts.pick(shown, View(), False, _event(pick))
        numbers = [int(each.removeprefix("photo:")) for each in _picks(grid)]
        assert view.cell == (true, said) and len(numbers) == examined.metrics.confusion[true, said]
        assert (examined.judged.labels[numbers] == true).all() and (
            examined.judged.said[numbers] == said
        ).all()
        seen += numbers
    assert sorted(seen) == list(range(12)), "every photo is in one cell"


def test_what_is_no_cell_is_passed_over(work: Workspace, shown: Shown) -> None:
    acts = confusion_card.Acts(work)
    for pick in ("cell:0,99", "cell:x", "photo:1", "", "photos:1"):
        assert acts.pick(shown, View(), False, _event(pick)) == tuple([gr.skip()] * 4)


def test_shares_of_a_row_come_to_a_hundred(work: Workspace, shown: Shown) -> None:
    text = confusion_card.Acts(work).redraw(shown, View(), True)
    for row in re.findall(r'<tr><th scope="row".*?</tr>', text):
        assert sum(float(each) for each in re.findall(r'">([\d.]+)</button>', row)) == pytest.approx(
            100, abs=1.5
        )


def test_mistakes_are_wrong_and_in_order(work: Workspace, shown: Shown) -> None:
    examined = work.examiner.found(shown)
    numbers = [int(n.removeprefix("photo:")) for n in _picks(mistakes_card.photos(examined, "worst", "", 0))]
    losses = examined.judged.loss[numbers]
    assert len(numbers) == examined.judged.wrong.sum() and (np.diff(losses) <= 0).all()
    label = examined.answers.classes[int(examined.judged.labels[numbers[0]])]
    assert f"<b>{label}</b>" in mistakes_card.photos(examined, "worst", label, 0)
    assert "is wrong" in mistakes_card.photos(_all_right(examined), "worst", label, 0)


def test_pages_go_to_the_end_and_no_further(work: Workspace, shown: Shown) -> None:
    examined = work.examiner.found(shown)
    numbers = np.arange(12).repeat(4)  # two pages
    first, last, beyond = (photo_grid.grid(examined, numbers, page, "x") for page in (0, 1, 9))
    assert _picks(first)[-2:] == ["photos:-1", "photos:1"] and "1–24 of 48" in first
    assert "25–48 of 48" in last and last == beyond


def test_a_photo_opens_with_its_neighbours_among_the_training_photos(work: Workspace, shown: Shown) -> None:
    acts = photo_card.Acts(work)
    opened = acts.open(shown, _event("photo:3"))
    examined = work.examiner.found(shown)
    photo = (shown, 3)
    assert opened[0] == photo and examined.answers.paths[3] in opened[2] and "✓ true class" in opened[2]
    assert acts.open(shown, _event("photos:1")) == tuple([gr.skip()] * 8)
    why = acts.explain(shown, photo, "class 0001", opened[4])
    label = examined.answers.classes[int(examined.judged.labels[3])]
    assert why.count("<img") == (1 if label == "class 0001" else 2) and "“class 0001”" in why
    assert acts.explain(shown, photo, "class 0001", why) == gr.skip(), "a page turned beside it draws nothing"
    trained = work.examiner.ask("three", "train", EXAMINE_SECONDS).result
    assert trained is not None
    near = acts.tick(shown, photo)[0]
    assert near.count("likeness") == 6 and near.count(f"<b>{label}</b>") == 6, "made to lie by class"
    own = photo_card.neighbours(trained, 5, trained)
    assert trained.answers.paths[5] not in own, "a photo is not its own neighbour"


def test_a_photo_of_another_run_or_none_is_not_asked_about(work: Workspace, shown: Shown) -> None:
    acts, other = photo_card.Acts(work), ("other", *shown[1:])
    for now, photo in ((None, None), (None, (shown, 3)), (other, (shown, 3)), (shown, None)):
        assert acts.explain(now, photo, "class 0001", "") == gr.skip()
        for answer in (acts.tick, acts.ask):
            near, _, clock = answer(now, photo)
            assert near == gr.skip() and not clock.active, "else it asks twice a second for ever"
    assert acts.check(shown, (shown, 3)) == tuple([gr.skip()] * 8)
    for now in (None, other):
        photo, panel, *_ = acts.check(now, (shown, 3))
        assert photo is None and panel["visible"] is False
    assert acts.open(None, _event("photo:3")) == tuple([gr.skip()] * 8)


def test_only_photos_of_the_run_that_is_shown_are_opened(work: Workspace, shown: Shown) -> None:
    acts = photo_card.Acts(work)
    event = SimpleNamespace(_data={"pick": "photo:3", "about": list(shown)})
    assert acts.open(shown, event)[0] == (shown, 3)
    event._data["about"] = ["other", *shown[1:]]
    with pytest.raises(gr.Error, match="not shown any more"):
        acts.open(shown, event)
    for number in (-1, 12):
        with pytest.raises(gr.Error, match=f"no photo {number}: they go from 0 to 11"):
            acts.open(shown, _event(f"photo:{number}"))


def test_another_model_explains_nothing_of_this_one(
    work: Workspace, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.predictor("run", "three")
    monkeypatch.setattr("tl_app.predictor.model_of", lambda info: "a better one")
    with pytest.raises(gr.Error, match="better model by now"):
        photo_card.Acts(work).explain(shown, (shown, 3), "class 0001", "")
    with pytest.raises(gr.Error, match="better model by now"):
        report_button.Acts(work).make(shown)


def test_training_answers_of_another_model_are_not_computed_unasked(work: Workspace, shown: Shown) -> None:
    kept = runs.open_run("three", work.runs_dir).path / runs.ANALYSIS / "train.safetensors"
    os.utime(kept, (1, 1))  # older than the model
    near, ask, clock = photo_card.Acts(work).open(shown, _event("photo:3"))[5:]
    assert near == "" and ask["visible"] is True and not clock.active
    assert work.examiner.standing("three", "train") is None


def test_a_photo_card_tells_why_an_answer_is_not_sure(work: Workspace, shown: Shown) -> None:
    examined = work.examiner.found(shown)
    for threshold, said in ((None, "No confidence of this run"), (1.1, "Below the suggested"), (0.0, "")):
        fitted = dataclasses.replace(examined.calibration, threshold=threshold)
        text = photo_card.card(dataclasses.replace(examined, calibration=fitted), 3)
        assert said in text and ("not sure" in text) == bool(said)


def test_a_report_is_offered_while_its_run_is_shown(
    work: Workspace, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    made, download = report_button.Acts(work).make(shown)
    assert made == shown and download["visible"] and "report of three" in download["label"]
    offered = [
        report_button.still_of(*each)["visible"] for each in ((shown, made), (None, made), (None, None))
    ]
    assert offered == [True, False, False]


def test_what_is_shown_no_more_closes_its_photo(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Standing("running", done=1, total=2)
    for standing in (running, Standing("failed", "x")):
        monkeypatch.setattr(work.examiner, "ask", lambda *_, standing=standing: standing)
        listed = results_tab.Acts(work).refresh("three", "val", None, False, "worst")
        assert listed[3] is None and listed[-8] is None and listed[-7]["visible"] is False
        assert not listed[-1].active, "the clock stops"


def test_a_choice_made_meanwhile_is_not_undone(work: Workspace) -> None:
    run, split = results_tab.Acts(work).refresh("three", "train", None, False, "worst")[:2]
    assert "value" not in run and "value" not in split
    run, split = results_tab.Acts(work).refresh("gone", "test", None, False, "worst")[:2]
    assert (run["value"], split["value"]) == ("three", "val")


def test_no_pick_and_no_choice_is_left_out(work: Workspace) -> None:
    page = gr.Blocks()
    with page:
        results_tab.build(work, [])
    modes = {fn.name: fn.trigger_mode for fn in page.fns.values()}
    for name in ("refresh", "redraw", "explain", "check", "lay_out", "draw"):
        assert modes[name] == "always_last", f"{name} is asked once more, of what is chosen by then"
    for name in ("open", "pick", "turn"):
        assert modes[name] == "multiple", f"{name} reads what was picked"


def test_the_map_names_photos_and_is_not_sent_twice(work: Workspace, shown: Shown) -> None:
    acts = map_card.Acts(work)
    seen, note, figure = acts.draw(shown, None, "pca", "class")
    assert "All 12 photos" in note and figure["about"] == list(shown)
    acts.lay_out(shown, "pca")
    assert work.examiner.plane(shown, "pca") is work.examiner.plane(shown, "pca"), "laid out once"
    assert acts.draw(shown, seen, "pca", "class") == (gr.skip(), gr.skip(), gr.skip())
    found = acts.photo_at({"about": list(shown), "number": 4})
    assert found is not None and found["picture"].startswith("data:image/jpeg") and "sure" in found["text"]
    for wrong in (None, {}, {"about": ["x", "val", "y"], "number": 1}, {"about": list(shown), "number": 99}):
        assert acts.photo_at(wrong) is None


def test_a_map_without_umap_says_how_to_get_it(
    work: Workspace, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_card.projection, "has_umap", lambda: False)
    map_card.Acts(work).lay_out(shown, "umap")
    assert "tl-app[umap]" in map_card.Acts(work).draw(shown, None, "umap", "error")[1]


def test_many_classes_are_paged_and_nothing_is_hidden(home: Path, tmp_path: Path) -> None:
    photos = make_many_photos(tmp_path / "many", classes=70, per_class=5, side=16)
    make_run(home / "runs", "many", photos, wrong=0.4)
    work = Workspace(home / "runs")
    found = work.examiner.ask("many", "val", EXAMINE_SECONDS).result
    assert found is not None
    shown = ("many", "val", found.model)
    view, text, _, _ = confusion_card.Acts(work).pick(shown, View(), False, _event("classes:2"))
    assert view.page == 2 and "61–70 of 70" in text
    pages = [confusion_card.classes_of(found, page) for page in range(3)]
    assert sorted(each for page in pages for each in page) == list(range(70))
    others = [
        (page, pick)
        for page in range(3)
        for pick in _picks(confusion_card.matrix(found, View(page), False))
        if pick.startswith("cell:") and "-1" in pick
    ]
    assert others, "some are taken for classes of another page"
    for page, pick in others:
        picked, _, _, grid = confusion_card.Acts(work).pick(shown, View(page), False, _event(pick))
        assert "data-pick" in grid
        turned = confusion_card.Acts(work).pick(shown, picked, False, _event(f"classes:{(page + 1) % 3}"))[0]
        again = confusion_card.Acts(work).pick(shown, turned, False, _event("photos:0"))[3]
        assert turned.page != page and again == grid, "the others are those of the page it was picked on"


def test_another_model_is_not_shown_as_the_same(work: Workspace, shown: Shown) -> None:
    with pytest.raises(UsageError, match="better model by now"):
        work.examiner.found((*shown[:2], "another"))
    work.forget(runs.open_run("three", work.runs_dir).path)
    assert work.examiner.standing("three", "val") is None


def test_what_cannot_be_examined_says_why(work: Workspace) -> None:
    listed = work.examiner.ask("three", "test", EXAMINE_SECONDS)
    assert listed.state == "failed" and "no photos in the test split" in listed.message


def test_a_class_may_be_called_others_or_all_classes(work: Workspace, shown: Shown) -> None:
    examined = work.examiner.found(shown)
    names = ("others", "All classes", "class 0002")
    named = dataclasses.replace(examined, answers=dataclasses.replace(examined.answers, classes=names))
    assert "others, said rightly" not in confusion_card._cell(2, 2, (0, "others"), (-1, "others"), False)
    view = View(cell=(0, 0))
    assert "others, said rightly" in confusion_card.photos(named, view)
    choices = mistakes_card.draw(named, "worst")[0]["choices"]
    assert choices[0] == ("All classes", "") and ("All classes", "All classes") in choices
    of_one = _picks(mistakes_card.photos(named, "unsure", "All classes", 0))
    assert len(of_one) == (examined.judged.labels == 1).sum() < len(examined.answers.paths)


def test_a_class_without_photos_is_not_called_right(work: Workspace, shown: Shown) -> None:
    examined = work.examiner.found(shown)
    judged = dataclasses.replace(examined.judged, labels=np.zeros_like(examined.judged.labels))
    named = dataclasses.replace(examined, judged=judged)
    for order in ("worst", "sure", "unsure"):
        text = mistakes_card.photos(named, order, "class 0001", 0)
        assert "None of these photos is of class class 0001" in text


def _all_right(examined: Any) -> Any:
    labels = examined.judged.said
    return dataclasses.replace(examined, judged=dataclasses.replace(examined.judged, labels=labels))
