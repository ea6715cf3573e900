from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.test_plateau import rows
from tl_app import runs, words
from tl_app.errors import UsageError
from tl_app.ui import form, more, settings, train_tab
from tl_app.ui.strip import summaries, value_of
from tl_app.ui.workspace import Workspace


class FakeJob:
    """A job whose snapshot a test moves by hand."""

    def __init__(self, path: Path) -> None:
        from tl_app.snapshot import Snapshot

        self.path, self.name, self.is_alive = path, path.name, True
        self.state = Snapshot(
            version=1, run=path.name, run_path=str(path), state="running", backbone="resnet18"
        )

    @property
    def version(self) -> int:
        return self.state.version

    def snapshot(self) -> Any:
        return self.state.copy()


@pytest.fixture
def work(home: Path) -> Workspace:
    return Workspace(home / "runs")


@pytest.fixture
def acts(work: Workspace) -> train_tab._Acts:
    return train_tab._Acts(work)


@pytest.fixture
def form_acts(work: Workspace) -> settings._Acts:
    return settings._Acts(work)


def test_a_tick_changes_nothing_while_the_run_stands_still(
    work: Workspace, acts: train_tab._Acts, home: Path
):
    job = FakeJob(home / "runs" / "one")
    work.worker.job = job  # type: ignore[assignment]
    first = acts.tick(None, "")
    again = acts.tick(first[0], "")  # once more after the last change
    assert again[2:4] == first[2:4]
    assert acts.tick(again[0], "") is None
    job.state.version += 1
    assert acts.tick(again[0], "") is not None


def test_a_tick_notices_that_the_thread_ended(work: Workspace, acts: train_tab._Acts, home: Path):
    job = FakeJob(home / "runs" / "one")
    work.worker.job = job  # type: ignore[assignment]
    drawn = acts.redraw("", settled=True)
    job.is_alive = False
    assert acts.tick(drawn[0], "") is not None


def test_each_page_has_its_own_place(work: Workspace, acts: train_tab._Acts, home: Path):
    work.worker.job = FakeJob(home / "runs" / "one")  # type: ignore[assignment]
    acts.tick(None, "")
    assert acts.tick(None, "") is not None, "a second browser gets everything as well"


def test_nothing_to_show_is_no_error(acts: train_tab._Acts):
    drawn = acts.redraw("")
    assert "No run yet" in drawn[5]
    assert acts.tick((None, True), "") is None


def test_start_says_why_it_waits(work: Workspace, photos: Path):
    index = work.scan(str(photos))
    assert "Data tab" in train_tab.start_line(None, "")
    assert "ants-1 is being trained" in train_tab.start_line(index, "ants-1")
    assert "Ready: 20 training photos in 2 classes." in train_tab.start_line(index, "")


def test_start_without_photos_says_what_to_do(acts: train_tab._Acts):
    with pytest.raises(gr.Error, match="Data tab"):
        acts.start("", "", **form.shown(form.TrainConfig()))


@pytest.mark.parametrize(
    ("before", "depth", "after"),
    [
        ("head", 9, "head"),
        ("head", 8, "partial"),
        ("head", 0, "full"),
        ("scratch", 0, "scratch"),
        ("scratch", 1, "partial"),
        ("full", 0, "full"),
        ("full", 9, "head"),
        ("lp-ft", 6, "lp-ft"),
        ("gradual", 0, "gradual"),
        ("gradual", 9, "head"),
        ("auto", 6, "partial"),
    ],
)
def test_recipe_and_depth_never_contradict_each_other(before: str, depth: int, after: str):
    assert settings.recipe_of(before, depth, stages=9) == after


@pytest.mark.parametrize("recipe", ["partial", "lp-ft", "gradual"])
def test_a_depth_stays_with_recipes_that_can_have_several(recipe: str, form_acts: settings._Acts):
    config = form.TrainConfig(backbone="mobilenet_v2", recipe=recipe, freeze=6)
    assert form.read(form.shown(config)) == config
    head = [getattr(config, name) for name in settings.HEAD_FIELDS]
    assert form_acts.head_chosen("mobilenet_v2", recipe, 6, "", *head)[0]["value"] == 6


def test_choosing_a_recipe_moves_the_slider(form_acts: settings._Acts):
    for recipe, expected in {"head": 9, "full": 0, "scratch": 0}.items():
        weights, _, slider, strip = form_acts.recipe_chosen("mobilenet_v2", recipe, "default", "")
        assert slider["value"] == strip["depth"] == expected
        assert weights["value"] == ("random" if recipe == "scratch" else "default")
        assert weights["interactive"] is (recipe != "scratch")
    assert 0 < form_acts.recipe_chosen("mobilenet_v2", "partial", "default", "")[2]["value"] < 9


def test_another_backbone_brings_its_own_stages_and_weights(form_acts: settings._Acts):
    weights, facts, slider, strip = form_acts.backbone_chosen("resnet18", "head", "")
    assert slider["maximum"] == len(strip["stages"]) == 5
    assert weights["value"] == "default" and [v for _, v in weights["choices"]][-1] == "random"
    assert "11.7 M" in facts


def test_a_group_keeps_the_chosen_backbone_in_the_list(form_acts: settings._Acts):
    names = [name for _, name in form_acts.group_chosen("accurate", "mobilenet_v2")["choices"]]
    assert names[0] == "mobilenet_v2" and "vit_h_14" in names


def test_the_strip_says_what_is_trained():
    texts = summaries([100, 300], head=100)
    assert texts == [
        "Everything is trained: 500 of 500 parameters (100 %).",
        "400 of 500 parameters (80 %) are trained; 1 of 2 stages are frozen.",
        "Only the head is trained: 100 of 500 parameters (20 %). All 2 stages are frozen.",
    ]


def test_the_strip_counts_the_new_head():
    assert value_of("resnet18", 5, classes=2)["head"]["parameters"] == "1,026"
    shown = value_of("vgg16", 5, 2, ("mlp", 1024, "flatten", "224"))
    assert shown["head"]["parameters"] == words.count(25_088 * 1024 + 1024 + 2 * 1025)
    assert shown["stages"][-1]["name"] == "conv5", "fc6 and fc7 make room for the hidden layer"
    assert "All 5 stages are frozen" in shown["summaries"][-1]


@pytest.mark.parametrize(
    "odd", [("linear", 1024, "flatten", ""), ("mlp", "many", "pool", ""), ("mlp", 8, "pool", "7")]
)
def test_the_strip_shows_a_linear_head_for_settings_that_do_not_go_together(odd):
    assert value_of("resnet18", 5, 2, odd) == value_of("resnet18", 5, 2)


def test_another_head_redraws_the_strip(form_acts: settings._Acts):
    mlp = ("mlp", 1024, "pool", "")
    slider, strip = form_acts.head_chosen("vgg16", "head", 7, "", *mlp)
    assert (slider["maximum"], slider["value"], strip["depth"]) == (5, 5, 5)
    slider, _ = form_acts.head_chosen("vgg16", "partial", 3, "", *mlp)
    assert slider["value"] == 3, "a depth that was chosen stays"
    slider, _ = form_acts.head_chosen("vgg16", "partial", 7, "", *mlp)
    assert slider["value"] == 5
    assert form_acts.depth_chosen("vgg16", "partial", "default", 5, *mlp)[0] == "head"
    assert (
        form_acts.depth_chosen("vgg16", "partial", "default", 5, "linear", 1024, "pool", "")[0] == "partial"
    )


def test_train_stop_and_try_from_the_page(work: Workspace, acts: train_tab._Acts, photos: Path, home: Path):
    work.scan(str(photos))
    values = form.shown(form.TrainConfig()) | {
        "backbone": "squeezenet1_1",
        "weights": "random",
        "epochs": "1",
        "image_size": "32",
        "device": "cpu",
    }
    acts.start(str(photos), "first", **values)
    job = work.worker.job
    assert job is not None and job.wait(120) and job.error is None
    drawn = acts.redraw(str(photos))
    assert "completed" in drawn[5]
    assert drawn[1]["interactive"] is True and drawn[3]["interactive"] is False
    assert acts.best_run() == "first"
    with pytest.raises(gr.Error, match="complete"):
        acts.resume(str(photos))
    assert [info.name for info in runs.list_runs(home / "runs")] == ["first"]


def test_a_run_of_an_earlier_process_waits_to_be_resumed(work: Workspace, home: Path, photos: Path):
    acts = train_tab._Acts(work)
    work.scan(str(photos))
    values = form.shown(form.TrainConfig()) | {
        "backbone": "squeezenet1_1",
        "weights": "random",
        "epochs": "50",
        "image_size": "32",
        "device": "cpu",
    }
    acts.start(str(photos), "long", **values)
    acts.stop(str(photos))
    assert work.worker.job is not None and work.worker.job.wait(120)
    later = Workspace(home / "runs")
    drawn = train_tab._Acts(later).redraw("")
    assert "long" in drawn[5] and drawn[3]["interactive"] is True
    later.forget(home / "runs" / "long")
    assert later.snapshot() is None


def test_an_unknown_run_cannot_be_resumed(acts: train_tab._Acts):
    with pytest.raises(gr.Error, match="Runs tab"):
        acts.resume("")
    with pytest.raises(UsageError, match="no run"):
        acts.work.worker.resume("nothing")


def test_photos_of_a_zip_that_was_cleared_from_the_cache_are_unpacked_again(
    work: Workspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    zipped = shutil.make_archive(str(tmp_path / "set"), "zip", photos)
    index = work.scan(zipped)
    given: list[Any] = []
    monkeypatch.setattr(
        work.worker, "start", lambda config, *, name, index: given.append(index) or FakeJob(photos)
    )
    monkeypatch.setattr(FakeJob, "wait", lambda job: None, raising=False)
    work.start(form.TrainConfig(data=zipped))
    shutil.rmtree(index.root)
    work.start(form.TrainConfig(data=zipped))
    assert given == [index, None], "without an index the worker scans, and so unpacks"


def test_a_run_is_finished_and_goes_on_from_the_page(
    work: Workspace, acts: train_tab._Acts, photos: Path, home: Path
):
    def ended() -> None:
        job = work.worker.job
        assert job is not None and job.wait(120) and job.error is None

    work.scan(str(photos))
    source = str(photos)
    chosen = {"backbone": "squeezenet1_1", "weights": "random", "image_size": "32", "device": "cpu"}
    chosen |= {"epochs": "1000", "views": "1"}
    acts.start(source, "long", **form.shown(form.TrainConfig()) | chosen)
    assert work.worker.job is not None
    while not work.worker.job.snapshot().best_epoch:
        time.sleep(0.01)
    drawn = acts.redraw(source)
    assert drawn[9]["visible"] is True and drawn[10]["visible"] is False, "it can be finished, not extended"
    acts.finish(source)
    ended()
    drawn = acts.redraw(source)
    assert "completed" in drawn[5] and "of 1,000 epochs" in drawn[5] and "Finished after" in drawn[5]
    assert drawn[3]["interactive"] is False and drawn[9]["visible"] is False
    assert [drawn[10]["visible"], drawn[11]["interactive"], drawn[12]["interactive"]] == [True, True, True]
    done = work.worker.job.snapshot()
    acts.unfreeze(source, 1)
    ended()
    acts.go_on(source, 2.0)
    ended()
    shown = work.snapshot()
    assert shown is not None and shown.frozen_stages == done.frozen_stages - 1
    assert [row.epoch for row in shown.epoch_rows][-1] == len(done.epoch_rows) + 3
    with pytest.raises(gr.Error, match="no whole number"):
        acts.go_on(source, None)
    with pytest.raises(gr.Error, match="has ended"):
        acts.finish(source)


def test_a_suggestion_stands_on_the_card_and_moves_the_button(
    work: Workspace, acts: train_tab._Acts, home: Path
):
    job = FakeJob(home / "runs" / "one")
    work.worker.job = job  # type: ignore[assignment]
    job.state.state, job.state.epochs, job.state.phases, job.state.best_epoch = "running", 20, 1, 1
    job.state.epoch_rows = rows([0.9] + [0.8] * 4)
    quiet = acts.redraw("")
    assert "No better epoch" not in quiet[5] and quiet[9]["variant"] == "secondary"
    job.state.epoch_rows = rows([0.9] + [0.8] * 5)
    for drawn in (acts.redraw(""), train_tab._Acts(work).redraw("")):
        assert "No better epoch in the last 5; the best is epoch 1 at 90.0 %." in drawn[5]
        assert drawn[9] == {**drawn[9], "visible": True, "variant": "primary"}


def test_stages_that_are_all_trained_leave_nothing_to_unfreeze():
    assert [each.get("interactive") for each in more.shown(complete=True, busy=False, depth=0)[1:]] == [
        True,
        False,
    ]
    assert [each.get("interactive") for each in more.shown(complete=True, busy=True, depth=3)[1:]] == [
        False,
        False,
    ]


def test_nothing_runs_so_nothing_is_finished(acts: train_tab._Acts):
    with pytest.raises(gr.Error, match="No run is being trained"):
        acts.finish("")


def test_a_run_that_was_stopped_is_finished_from_the_page(
    work: Workspace, acts: train_tab._Acts, photos: Path, home: Path
):
    work.scan(str(photos))
    chosen = {"backbone": "squeezenet1_1", "weights": "random", "image_size": "32", "device": "cpu"}
    chosen |= {"epochs": "1000", "views": "1"}
    acts.start(str(photos), "long", **form.shown(form.TrainConfig()) | chosen)
    job = work.worker.job
    assert job is not None
    while not job.snapshot().best_epoch:
        time.sleep(0.01)
    acts.stop(str(photos))
    assert job.wait(120)
    for seen in (work, Workspace(home / "runs")):  # the same page, and one after a restart
        drawn = train_tab._Acts(seen).redraw("")
        assert drawn[3]["interactive"] is True and drawn[9]["visible"] is True, "to go on, or to finish"
    train_tab._Acts(seen).finish("")
    ended = seen.worker.job
    assert ended is not None and ended.wait(120) and ended.error is None
    assert runs.open_run("long", home / "runs").state == "completed"
