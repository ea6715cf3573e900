"""The study: nested parts of the photos, kept results, and going on where it was."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tl_app
from tests.conftest import make_photos
from tl_app import cli, fields, runs, worthwhile
from tl_app.analysis.verdict import RECIPES
from tl_app.config import TrainConfig
from tl_app.data.index import scan
from tl_app.data.portions import portion
from tl_app.engine.background import to_the_end
from tl_app.errors import Interrupted, ResourceError, UsageError
from tl_app.events import Event, Progress
from tl_app.locks import DeviceLock

TINY: dict[str, Any] = {"backbone": "bundled", "image_size": 64, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def plan(photos: Path, home: Path) -> worthwhile.Study:
    config = TrainConfig(data=str(photos), **TINY)
    return worthwhile.study_of(config, scan(photos), home / "runs", (50, 100), epochs=1)


def test_parts_are_nested_stratified_and_keyed_on_content(tmp_path: Path) -> None:
    index = scan(make_photos(tmp_path / "photos", per_class=20))
    parts = [portion(index, share, seed=0) for share in (1, 25, 50, 100)]
    used = [{photo.content_hash for photo in part.used("train")} for part in parts]
    assert [len(each) for each in used] == [4, 8, 16, 32]
    assert used[0] < used[1] < used[2] < used[3]
    for part in parts:
        assert len(set(Counter(photo.label for photo in part.used("train")).values())) == 1
        assert part.used("val") == index.used("val") and part.classes == index.classes
    renamed = dataclasses.replace(
        index, photos=tuple(dataclasses.replace(p, path=f"{hash(p.path)}.png") for p in index.photos)
    )
    again = {photo.content_hash for photo in portion(renamed, 25, seed=0).used("train")}
    assert again == used[1], "names and order do not matter"
    assert {photo.content_hash for photo in portion(index, 25, seed=1).used("train")} != used[1]


def test_a_study_stops_and_goes_on_where_it_was(plan: worthwhile.Study) -> None:
    stopping: list[bool] = []
    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.activity.startswith("Full"):
            stopping.append(True)

    with pytest.raises(Interrupted, match="was stopped"):
        to_the_end(worthwhile.study(plan, lambda: bool(stopping)), hear)
    so_far = worthwhile.result_of(plan)
    assert {each.recipe for each in so_far.trainings} == {"head", "partial"} and not so_far.is_complete
    before = (plan.folder / "head 50" / "history.jsonl").read_bytes()

    events.clear()
    found = to_the_end(worthwhile.study(plan, lambda: False), events.append)
    assert found.is_complete and len(found.trainings) == 8
    assert (plan.folder / "head 50" / "history.jsonl").read_bytes() == before, "not trained again"
    assert not list(plan.folder.glob("*/checkpoints")), "a chart needs no weights"
    assert {(each.recipe, each.photos) for each in found.trainings} == {
        (recipe, photos) for recipe in RECIPES for photos in (10, 20)
    }
    assert found.val_images == 4 and all(each.low <= each.accuracy <= each.high for each in found.trainings)
    assert len({run.config.image_size for run in runs.list_runs(plan.folder)}) == 1
    assert [trace["name"] for trace in found.figure["data"]] == list(RECIPES.values())
    assert found.figure["data"][0]["x"] == [10, 20]
    json.dumps(found.figure, allow_nan=False)
    assert found.sentences
    total = [event.total for event in events if isinstance(event, Progress)]
    assert set(total) == {8}


def test_a_study_waits_for_no_other_run(plan: worthwhile.Study) -> None:
    with DeviceLock("cpu"), pytest.raises(ResourceError, match="One run at a time per device"):
        to_the_end(worthwhile.study(plan, lambda: False), None)


def test_a_training_does_not_outlive_its_study(plan: worthwhile.Study) -> None:
    steps: Iterator[Event] = worthwhile.study(plan, lambda: False)
    next(steps)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    with DeviceLock("cpu"):
        pass


def test_what_a_study_is_about(plan: worthwhile.Study, photos: Path, home: Path) -> None:
    again = worthwhile.study_of(plan.config, plan.index, home, (10,), epochs=1)
    assert again.folder == plan.folder, "more shares find what is trained"
    assert worthwhile.study_of(plan.config, plan.index, home, (10,), epochs=2).folder != plan.folder
    assert plan.config.image_size == 64
    run = TrainConfig(data=str(photos), recipe="full", l2_sp=1.0, epochs=7, **TINY)
    assert worthwhile.study_of(run, plan.index, home, (50,), epochs=1).config == plan.config
    with pytest.raises(UsageError, match="Shares are 0, 50"):
        worthwhile.study_of(plan.config, plan.index, home, (0, 50))
    with pytest.raises(UsageError, match="nothing to transfer"):
        worthwhile.study_of(TrainConfig(weights="random"), plan.index, home)
    with pytest.raises(UsageError, match="decides 'recipe' by itself"):
        tl_app.worth(photos, recipe="full")


def test_shares_are_written_as_one_likes() -> None:
    assert fields.with_joined_shares(["worth", "x", "--shares", "25", "50", "100", "--json"]) == [
        *("worth", "x", "--shares", "25 50 100", "--json")
    ]
    assert fields.with_joined_shares(["train", "25", "50"]) == ["train", "25", "50"]
    assert fields.whole_numbers("25, 50%,100") == [25, 50, 100]
    with pytest.raises(UsageError, match="Shares are 'half'"):
        fields.whole_numbers("half")


def test_on_the_command_line(photos: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--backbone", "bundled", "--image-size", "64", "--device", "cpu", "--epochs", "1"]
    assert cli.run(["worth", str(photos), "--shares", "50", *options, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert len(values["trainings"]) == values["planned"] == 4 and values["figure"]["data"]
    assert cli.run(["worth", str(photos), *options, "--shares", "50"]) == 0
    said = capsys.readouterr().out
    assert "From scratch" in said and "Unfreezing" in said and "1 epoch each" in said
    assert tl_app.list_runs() == [], "a study's trainings are not in the way"
