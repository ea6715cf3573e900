from __future__ import annotations

import pytest

from tl_app import words
from tl_app.events import Notice
from tl_app.snapshot import Snapshot
from tl_app.ui import markup, status


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (950, "950"),
        (2562, "2,562"),
        (12_345, "12.3 k"),
        (184_000, "184 k"),
        (3_504_872, "3.5 M"),
        (1.2e9, "1.2 G"),
    ],
)
def test_counts(number: float, text: str):
    assert words.count(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(12, "12 bytes"), (14.2e6, "14.2 MB"), (358e6, "358 MB"), (1.3e9, "1.3 GB")]
)
def test_sizes(number: float, text: str):
    assert words.size(number) == text


def test_moments():
    assert [words.milliseconds(each) for each in (0.0041, 0.024, 1.25)] == ["4.1 ms", "24 ms", "1,250 ms"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds: float, text: str):
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"),
        (1, 100_000, "under 0.1 %"),
        (99_999, 100_000, "99.9 %"),
        (1, 3, "33 %"),
        (1, 30, "3.3 %"),
    ],
)
def test_a_share_never_rounds_to_nothing_or_to_all(part: int, whole: int, text: str):
    assert words.share(part, whole) == text


def test_text_from_outside_cannot_become_markup():
    nasty = "<img src=x onerror=alert(1)>"
    for html in (
        markup.hint(nasty),
        markup.badge(nasty),
        markup.facts([(nasty, nasty)]),
        markup.progress(1, 2, nasty),
        markup.notices([Notice(nasty)]),
        markup.message(nasty),
        markup.table([nasty], [[nasty]], caption=nasty),
        status.card(Snapshot(run=nasty, backbone=nasty, state="failed", message=nasty)),
    ):
        assert "<img" not in html


def test_text_with_stray_bytes_can_be_sent():
    markup.text("a\udcff.jpg").encode()


def test_a_card_for_each_stage_of_a_run():
    snapshot = Snapshot(run="r", backbone="resnet18", state="running", epochs=3)
    assert "Getting ready" in status.card(snapshot)
    snapshot.activity, snapshot.activity_done, snapshot.activity_total, snapshot.unit = (
        "downloading",
        5e6,
        1e7,
        "bytes",
    )  # type: ignore[assignment]
    assert "Downloading: 5.0 MB of 10.0 MB" in status.card(snapshot)
    snapshot.activity, snapshot.steps, snapshot.step, snapshot.epoch = "", 30, 15, 2
    snapshot.eta_seconds = 90.0
    assert "Epoch 2 of 3, 1 min 30 s left" in status.card(snapshot)
    assert 'aria-valuenow="50"' in status.card(snapshot)
    snapshot.state = "stopping"
    assert "Stopping" in status.card(snapshot)
    snapshot.state, snapshot.message = "failed", "The disk is full."
    assert "The disk is full." in status.card(snapshot)


def test_a_share_with_its_interval() -> None:
    assert words.interval(0.9412, (0.8921, 0.9687)) == "94.1 %, 89–97"
