from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_photos
from tl_app import probing
from tl_app.config import TrainConfig
from tl_app.data.index import DatasetIndex
from tl_app.errors import DataError, Interrupted
from tl_app.events import Event, Progress
from tl_app.probing import ProbeResult
from tl_app.ui import first_answer, form
from tl_app.ui.prober import Standing
from tl_app.ui.workspace import Workspace

RESULT = ProbeResult(
    data="photos",
    backbone="mobilenet_v2",
    weights="IMAGENET1K_V2",
    accuracy=0.941,
    spread=0.021,
    folds=5,
    strength=0.1,
    largest_share=0.4,
    val_accuracy=0.925,
    val_images=40,
    train_images=160,
    probed_images=160,
    per_class={
        "ant": {"images": 60, "accuracy": 0.99},
        "bee <b>": {"images": 50, "accuracy": 0.8},
        "cow": {"images": 50, "accuracy": 0.97},
    },
    feature_seconds=3.0,
    seconds=4.2,
)
DEFAULTS = {name: form.shown(TrainConfig(backbone="mobilenet_v2"))[name] for name in first_answer.FIELDS}


class FakeProbe:
    """A probe that goes on when a test says so."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.asked: list[str] = []

    def __call__(
        self, config: TrainConfig, index: DatasetIndex, stop: Callable[[], bool]
    ) -> Generator[Event, None, ProbeResult]:
        self.asked.append(config.backbone)
        yield Progress("computing features", 30, 160, "photos")
        self.started.set()
        while not self.go_on.wait(0.01):
            if stop():
                raise Interrupted("stopped")
        if self.error is not None:
            raise self.error
        return RESULT


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProbe]:
    probe = FakeProbe()
    monkeypatch.setattr(probing, "probe", probe)
    monkeypatch.setattr("tl_app.backbones.weights.is_on_disk", lambda choice: True)
    yield probe
    probe.go_on.set()


@pytest.fixture
def work(home: Path) -> Workspace:
    return Workspace(home / "runs")


@pytest.fixture
def acts(work: Workspace) -> first_answer.Acts:
    return first_answer.Acts(work)


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def chosen(acts: first_answer.Acts, photos: Path) -> str:
    acts.work.scan(str(photos))
    acts.photos_chosen(str(photos), **DEFAULTS)
    return str(photos)


def drawn(acts: first_answer.Acts, source: str) -> dict[str, Any]:
    return dict(zip(["seen", "panel", "card", "ask", "stop"], acts.draw(source), strict=True))


def state(acts: first_answer.Acts, source: str) -> str:
    standing = acts.work.prober.standing(source)
    return standing.state if standing is not None else ""


def test_the_answer_comes_by_itself_after_the_scan(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path
) -> None:
    source = chosen(acts, photos)
    assert fake.started.wait(20)
    shown = drawn(acts, source)
    assert shown["panel"]["visible"] is True
    assert "Computing features: 30 of 160 photos" in shown["card"]
    assert shown["stop"]["visible"] is True and shown["ask"]["visible"] is False
    fake.go_on.set()
    until(lambda: state(acts, source) == "done")
    shown = drawn(acts, source)
    assert "<b>About 94 %</b> (±2) of new photos right, before any training." in shown["card"]
    assert shown["ask"] == {"value": "Ask again", "visible": True, "__type__": "update"}
    assert shown["stop"]["visible"] is False


def test_without_photos_there_is_no_card(acts: first_answer.Acts, fake: FakeProbe) -> None:
    assert drawn(acts, "")["panel"]["visible"] is False
    acts.restore("", **DEFAULTS)
    assert fake.asked == []


def test_a_tick_moves_only_what_moved(acts: first_answer.Acts, fake: FakeProbe, photos: Path) -> None:
    source = chosen(acts, photos)
    assert fake.started.wait(20)
    seen = drawn(acts, source)["seen"]
    assert acts.tick(seen, source) is None
    assert acts.tick(None, source) is not None, "another page has seen nothing yet"
    fake.go_on.set()
    until(lambda: acts.tick(seen, source) is not None)


def test_other_photos_replace_the_question(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path, tmp_path: Path
) -> None:
    first = chosen(acts, photos)
    assert fake.started.wait(20)
    fake.started.clear()
    second = chosen(acts, make_photos(tmp_path / "others"))
    assert state(acts, first) == ""
    assert fake.started.wait(20), "the first has made way"
    fake.go_on.set()
    until(lambda: state(acts, second) == "done")
    assert "No first answer yet" in drawn(acts, first)["card"]


def test_a_page_opened_later_shows_it_and_does_not_ask_twice(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path
) -> None:
    source = chosen(acts, photos)
    acts.restore(source, **DEFAULTS)
    fake.go_on.set()
    until(lambda: state(acts, source) == "done")
    acts.restore(source, **DEFAULTS)
    assert len(fake.asked) == 1
    assert "About 94 %" in drawn(acts, source)["card"]


def test_photos_named_at_the_start_are_asked_about_by_the_first_page(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path
) -> None:
    acts.work.scan(str(photos))
    acts.restore(str(photos), **DEFAULTS)
    assert fake.started.wait(20)


def test_it_can_be_stopped_and_asked_again(acts: first_answer.Acts, fake: FakeProbe, photos: Path) -> None:
    source = chosen(acts, photos)
    assert fake.started.wait(20)
    acts.stop(source)
    assert "Stopped." in drawn(acts, source)["card"]
    fake.go_on.set()
    acts.ask(source, **(DEFAULTS | {"backbone": "resnet18"}))
    until(lambda: state(acts, source) == "done")
    assert fake.asked == ["mobilenet_v2", "resnet18"]


def test_training_comes_first(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = chosen(acts, photos)
    assert fake.started.wait(20)
    probe = acts.work.prober._current
    rest: list[bool] = []

    class Job:
        name = "one"

        def wait(self) -> None:
            pass

    def start(*args: Any, **kwargs: Any) -> Job:
        assert probe is not None
        rest.append(probe.ended.is_set())
        return Job()

    monkeypatch.setattr(acts.work.worker, "start", start)
    acts.work.start(TrainConfig(data=source))
    assert rest == [True], "the device is free when training starts"
    assert "make way for the training" in drawn(acts, source)["card"]


def test_it_waits_for_the_training_under_way(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = ["bees-7"]
    monkeypatch.setattr(acts.work.prober, "_training", lambda: running[0])
    source = chosen(acts, photos)
    until(lambda: "Waits until run bees-7 has ended." in drawn(acts, source)["card"])
    assert not fake.started.is_set()
    running[0] = ""
    assert fake.started.wait(20)


def test_missing_weights_are_named_and_fetched_only_when_asked(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tl_app.backbones.weights.is_on_disk", lambda choice: False)
    source = chosen(acts, photos)
    until(lambda: state(acts, source) == "missing")
    shown = drawn(acts, source)
    assert "The weights of MobileNetV2 are not on this machine yet (14 MB to fetch)." in shown["card"]
    assert shown["ask"]["value"] == "Fetch them and ask"
    assert not fake.started.is_set()
    acts.ask(source, **DEFAULTS)
    assert fake.started.wait(20)


def test_random_weights_are_not_asked(acts: first_answer.Acts, fake: FakeProbe, photos: Path) -> None:
    acts.work.scan(str(photos))
    acts.photos_chosen(str(photos), **(DEFAULTS | {"weights": "random"}))
    until(lambda: state(acts, str(photos)) == "failed")
    assert "Random weights have nothing to say" in drawn(acts, str(photos))["card"]
    assert fake.asked == []


def test_an_error_says_what_to_do(acts: first_answer.Acts, fake: FakeProbe, photos: Path) -> None:
    fake.error = DataError("No photo of class 'red' can be read.", remedy="Put the photos back.")
    fake.go_on.set()
    source = chosen(acts, photos)
    until(lambda: state(acts, source) == "failed")
    assert "Put the photos back." in drawn(acts, source)["card"]


def test_a_defect_is_told_and_put_on_the_terminal(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.error = ZeroDivisionError("oops")
    fake.go_on.set()
    source = chosen(acts, photos)
    until(lambda: state(acts, source) == "failed")
    assert "Unexpected ZeroDivisionError: oops" in drawn(acts, source)["card"]
    assert "Traceback" in capsys.readouterr().err


def test_a_setting_that_is_none_is_said_in_the_card(
    acts: first_answer.Acts, fake: FakeProbe, photos: Path
) -> None:
    acts.work.scan(str(photos))
    _, _, card, *_ = acts.ask(str(photos), **(DEFAULTS | {"image_size": "big"}))
    assert "image_size is &#x27;big&#x27;" in card
    assert fake.asked == []


def test_the_card_says_what_it_means() -> None:
    card = first_answer.card_of(Standing("photos", "mobilenet_v2", "done", result=RESULT))
    for text in ("92.5 %", "40 %", "4 s", "bee &lt;b&gt; 80 %", "MobileNetV2 looked at 160 training photos"):
        assert text in card
    assert "cow" not in card, "only classes that are clearly worse are named"
    assert "easy to tell apart" in card


@pytest.mark.parametrize(
    ("accuracy", "text"), [(0.941, "About 94 %"), (1.0, "More than 99 %"), (0.994, "About 99 %")]
)
def test_an_accuracy_is_said_as_roughly_as_it_is_known(accuracy: float, text: str) -> None:
    assert first_answer.about(accuracy) == text


def test_time_left_is_estimated() -> None:
    standing = Standing(
        "p",
        "resnet18",
        "running",
        activity="computing features",
        done=5,
        total=10,
        unit="photos",
        eta_seconds=7,
    )
    assert "Computing features: 5 of 10 photos, 7 s left" in first_answer.card_of(standing)
