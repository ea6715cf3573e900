"""The sentences that read the chart, from made-up results."""

from __future__ import annotations

import pytest

from tl_app.analysis.certainty import share_interval
from tl_app.analysis.verdict import RECIPES, Trained, read_chart

# Accuracies by recipe at 25, 50 and 100 % of 240 photos.
PLENTY = {
    "head": (0.90, 0.93, 0.95),
    "partial": (0.90, 0.94, 0.955),
    "full": (0.89, 0.94, 0.96),
    "scratch": (0.55, 0.64, 0.74),
}


def _trainings(
    accuracies: dict[str, tuple[float, ...]], val_images: int = 153, shares: tuple[int, ...] = (25, 50, 100)
) -> list[Trained]:
    seconds = {"head": 4.0, "partial": 10.0, "full": 40.0, "scratch": 40.0}
    return [
        Trained(
            recipe,
            share,
            240 * share // 100,
            val_images,
            accuracy,
            *share_interval(accuracy, val_images),
            seconds[recipe],
            1000,
            2000,
        )
        for recipe, line in accuracies.items()
        for share, accuracy in zip(shares, line, strict=False)
    ]


def test_what_transfer_is_worth() -> None:
    last, first, *_ = read_chart(_trainings(PLENTY))
    assert last == (
        "Transfer is worth 22 points at 240 photos (95 % interval +14 to +30 points): full 96.0 %, from scratch 74.0 %."
    )
    assert first.startswith("Transfer is worth 35 points at 60 photos")


def test_transfer_that_harms_or_cannot_be_told() -> None:
    worse = PLENTY | {"scratch": (0.95, 0.99, 1.0), "full": (0.5, 0.5, 0.6), "head": (0.5, 0.5, 0.6)}
    worse["partial"] = (0.5, 0.5, 0.6)
    assert read_chart(_trainings(worse))[0].startswith("Transfer costs 40 points at 240 photos")
    equal = PLENTY | {"scratch": (0.90, 0.93, 0.95)}
    assert "Whether transfer is worth anything at 240 photos is too close" in read_chart(_trainings(equal))[0]


def test_whether_unfreezing_pays() -> None:
    said = read_chart(_trainings(PLENTY))[2]
    assert said.startswith("Unfreezing shows no clear gain here: full 96.0 % against the head alone 95.0 %")
    assert "for 10 times the training time" in said
    equal = PLENTY | {"head": (0.9, 0.95, 0.96)}
    assert read_chart(_trainings(equal))[2].startswith("Unfreezing does not pay here")
    better = PLENTY | {"head": (0.6, 0.65, 0.7)}
    assert read_chart(_trainings(better))[2].startswith("Unfreezing pays: full 96.0 %")
    unsure = PLENTY | {"head": (0.9, 0.9, 0.92)}
    assert read_chart(_trainings(unsure))[2].startswith(
        "Unfreezing may pay, but 153 validation photos cannot"
    )


@pytest.mark.parametrize(
    ("full", "val_images", "said"),
    [
        (
            (0.70, 0.80, 0.96),
            153,
            "More photos will help: from 120 to 240 photos full went from 80.0 % to 96.0 %",
        ),
        ((0.80, 0.93, 0.96), 153, "More photos helped so far and may help further: full gained 16 points"),
        ((0.95, 0.96, 0.96), 4000, "More photos of the same kind will hardly help"),
        ((0.95, 0.96, 0.96), 100, "More photos show no clear gain"),
        ((0.92, 0.92, 0.96), 100, "Whether more photos will help is too close to call"),
    ],
)
def test_whether_more_photos_will_help(full: tuple[float, ...], val_images: int, said: str) -> None:
    chart = {recipe: (0.5, 0.5, 0.5) for recipe in RECIPES} | {"full": full}
    assert read_chart(_trainings(chart, val_images))[-1].startswith(said)


def test_nothing_is_said_before_all_recipes_are_there() -> None:
    assert read_chart([]) == ()
    assert read_chart([each for each in _trainings(PLENTY) if each.recipe != "scratch"]) == ()
    begun = [each for each in _trainings(PLENTY) if each.share == 25 or each.recipe == "head"]
    said = read_chart(begun)
    assert len(said) == 2 and "at 60 photos" in said[0] and "Unfreezing" in said[1], "one share draws no line"
