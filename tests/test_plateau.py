"""When an end is suggested, and when not."""

from __future__ import annotations

import pytest

from tl_app.events import EpochDone
from tl_app.plateau import suggestion


def rows(accuracies: list[float], losses: list[float] | None = None) -> list[EpochDone]:
    """Epochs with these validation figures; which are the best is judged as the engine does."""
    losses = losses or [1 - accuracy for accuracy in accuracies]
    found, best = [], (-1.0, 0.0)
    for number, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), start=1):
        is_best = (accuracy, -loss) > best
        best = max(best, (accuracy, -loss))
        found.append(EpochDone(number, number * 10, 0.5, 0.9, loss, accuracy, is_best, 1.0, 100.0, 1))
    return found


RISING = [0.5 + 0.04 * number for number in range(10)]


def test_it_speaks_when_nothing_gained_for_a_quarter_of_the_run() -> None:
    history = rows([*RISING[:8], 0.941, 0.93, 0.92, 0.93, 0.91, 0.93])
    assert suggestion(history[:-1], epochs=20) == ""
    assert suggestion(history, epochs=20) == "No better epoch in the last 5; the best is epoch 9 at 94.1 %."
    assert suggestion(rows([*RISING[:8], 0.941, *[0.9] * 6]), epochs=20).startswith(
        "No better epoch in the last 6"
    )


@pytest.mark.parametrize(
    ("accuracies", "losses"),
    [
        (RISING, None),
        ([0.5, 0.6, 0.55, 0.65, 0.6, 0.7, 0.65, 0.72, 0.7, 0.74], None),  # noisy, and rising
        ([0.9] * 12, [0.5 * 0.9**number for number in range(12)]),  # as accurate, and surer
        ([0.9] + [0.88] * 11, [0.5 * 0.994**number for number in range(12)]),  # slow falls add up
        ([0.9, 0.8, 0.8, 0.8], None),  # the first epochs
        ([0.9], None),
        ([], None),
    ],
    ids=["rising", "noisy", "loss falls", "loss falls slowly", "first epochs", "one epoch", "none"],
)
def test_it_is_quiet_while_there_is_something_to_gain(
    accuracies: list[float], losses: list[float] | None
) -> None:
    history = rows(accuracies, losses)
    for done in range(len(history) + 1):
        assert suggestion(history[:done], epochs=20) == ""


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 6])
def test_short_runs_end_by_themselves(epochs: int) -> None:
    history = rows([0.9] + [0.8] * (epochs - 1))
    assert all(suggestion(history[:done], epochs=epochs) == "" for done in range(epochs + 1))


def test_a_longer_run_waits_for_longer_but_not_for_ever() -> None:
    history = rows([0.9] + [0.8] * 60)
    for epochs, patience in {10: 4, 20: 5, 60: 15, 1000: 25}.items():
        speaks = [done for done in range(61) if suggestion(history[:done], epochs=epochs)]
        assert speaks[0] == 1 + patience


def test_the_last_epochs_need_no_suggestion() -> None:
    history = rows([0.9] + [0.8] * 19)
    assert suggestion(history[:18], epochs=20) and not suggestion(history[:19], epochs=20)


def test_a_new_phase_gets_its_own_patience() -> None:
    history = rows([0.9] + [0.8] * 30)
    assert suggestion(history[:24], epochs=40, since=20) == ""
    assert (
        suggestion(history[:25], epochs=40, since=20)
        == "No better epoch in the last 24; the best is epoch 1 at 90.0 %."
    )
