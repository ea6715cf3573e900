"""What can be seen in a run's curves and counts: one function for each thing that may be wrong, all of them pure.

Each takes the facts and returns a finding or nothing. Knows nothing of files, and of no remedy whether it goes with the
run's other settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tl_app import words
from tl_app.analysis.certainty import share_interval
from tl_app.config import TrainConfig
from tl_app.events import EpochDone

Severity = Literal["problem", "warning", "note"]

# Fewer epochs have no shape: with a cosine schedule the first and the last of them look alike in every run.
_LEAST_EPOCHS = 6
# The validation loss of a sound run wanders by some percent and falls into place at the end; a sixth is no wandering.
_RISEN_SHARE, _RISEN_NATS = 1.15, 0.05
# Beyond what the size of the validation split explains. Views that are harder than plain photos hide a part of it.
_GAP = 0.05
# Of the way from always naming the largest class to all right; random features get a third of it on ants and bees.
_LEARNT = 0.5
# A loss averages over an epoch, so that three tenths more are many bad steps; the second bound is for losses near 0.
_JUMP_SHARE, _JUMP_NATS = 1.3, 0.1
# Over the last quarter of a phase. A cosine schedule ends at a rate of 0, where a run that is through hardly falls.
_FALLING_SHARE, _FALLING_NATS = 0.05, 0.01
# The second half's fall as a part of the first's: with a halving time of half a phase it is exactly this.
_STEADY = 0.5
# In the second half of a phase, as a part of the loss: less than from one seed to the next.
_FLAT_SHARE = 0.03
# One odd photo is a tenth of what is known of such a class; with ten of each, 80 to 85 % of Caltech-101 were right.
_FEW_PHOTOS = 10
# The ratio from which class balance `auto` acts.
_UNEVEN = 3.0
# Wide enough that a gain of five points, which people train again for, cannot be told from chance.
_WIDE = 0.10
# Training accuracy is counted over an epoch, while the network still learns, and on harder views.
_BETTER_BY = 0.10
# With fewer validation photos all right at once is no surprise.
_AT_ONCE_PHOTOS = 30
_NAMED = 5  # classes in a sentence


@dataclass(frozen=True)
class Remedy:
    """What to train with next.

    Attributes:
        label: For a button: "Train 10 more epochs".
        settings: Fields of ``TrainConfig`` that differ from the run's.
    """

    label: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that is worth knowing.

    Attributes:
        code: What it is, for programs.
        severity: ``problem``: the result cannot be trusted or is well below what is possible; ``warning``: there is
            something to gain; ``note``: good to know.
        text: Plain sentences with the numbers.
        remedy: What may help; None where no setting does.
    """

    code: str
    severity: Severity
    text: str
    remedy: Remedy | None = None


@dataclass(frozen=True)
class Facts:
    """What a run is judged by.

    Attributes:
        config: Its settings without gaps.
        rows: Its epochs, in order.
        since: Epochs done when its last phase began.
        frozen_stages: In the last phase.
        stages: Of the backbone.
        counts: Photos by class and split.
        shared: Validation photos whose very content is among the training photos.
        made_split: Whether the validation split was made by the program.
        rolled_back: How often the loss was not a number.
        extended: Whether it was gone on with after its end, at other rates than the settings say.
        complete: Whether training came to its end.
    """

    config: TrainConfig
    rows: tuple[EpochDone, ...]
    since: int
    frozen_stages: int
    stages: int
    counts: dict[str, dict[str, int]]
    shared: int = 0
    made_split: bool = False
    rolled_back: int = 0
    extended: bool = False
    complete: bool = True

    @property
    def last_phase(self) -> tuple[EpochDone, ...]:
        """The epochs of the last phase: those before lead to it, and rates and losses begin anew with it."""
        return tuple(row for row in self.rows if row.epoch > self.since)

    @property
    def planned(self) -> int:
        """Epochs of the recipe, those it was extended by among them."""
        return max(self.config.epochs or 0, len(self.rows) - self.config.blockwise_epochs)

    @property
    def best(self) -> EpochDone:
        """The epoch whose model the run keeps."""
        return next((row for row in reversed(self.rows) if row.is_best), self.rows[-1])

    @property
    def train(self) -> dict[str, int]:
        """Training photos by class."""
        return {label: row.get("train", 0) for label, row in self.counts.items()}

    @property
    def val_photos(self) -> int:
        """How many validation photos there are."""
        return sum(row.get("val", 0) for row in self.counts.values())

    @property
    def guessing(self) -> float:
        """What always naming the largest class gets of the training photos."""
        return max(self.train.values()) / max(1, sum(self.train.values()))


def leakage(facts: Facts) -> Finding | None:
    """Validation photos that are training photos too, or that are suspiciously easy."""
    if facts.shared:
        text = (
            f"{words.plural(facts.shared, 'validation photo')} of {facts.val_photos:,} "
            f"{'is' if facts.shared == 1 else 'are'} among the training photos as well, so the accuracy flatters. "
            "Take copies out of one of the splits."
        )
        return Finding("leakage", "problem", text)
    best, first = facts.best, facts.rows[0]
    low, _ = share_interval(best.val_accuracy, facts.val_photos)
    mixed = facts.config.mixup or facts.config.cutmix or facts.config.label_smoothing
    if low > best.train_accuracy + _BETTER_BY and not mixed:
        text = (
            f"Validation photos are right far more often ({words.percent(best.val_accuracy)}) than training photos "
            f"({words.percent(best.train_accuracy)}). That is how near-copies of training photos in the validation "
            "split look, but very strong augmentation does it too."
        )
        return Finding("leakage", "warning", text)
    if first.val_accuracy == 1 and facts.val_photos >= _AT_ONCE_PHOTOS:
        text = (
            f"All {facts.val_photos:,} validation photos are right after the first epoch. Either the classes are very "
            "easy, or something gives them away: near-copies in both splits, a frame or a stamp."
        )
        return Finding("leakage", "note", text)
    return None


def high_rate(facts: Facts) -> Finding | None:
    """A loss that is no number, or that jumps."""
    seen = []
    if facts.rolled_back:
        seen.append(f"the loss was not a number {words.plural(facts.rolled_back, 'time')}")
    jumps = [
        after
        for before, after in zip(facts.last_phase, facts.last_phase[1:], strict=False)
        if after.train_loss > before.train_loss * _JUMP_SHARE
        and after.train_loss > before.train_loss + _JUMP_NATS
    ]
    if jumps:
        worst = max(jumps, key=lambda row: row.train_loss)
        many = f", {words.plural(len(jumps), 'time')} in all" if len(jumps) > 1 else ""
        seen.append(f"the training loss jumped to {worst.train_loss:.2f} in epoch {worst.epoch}{many}")
    if not seen:
        return None
    text = f"The learning rate is too high: {' and '.join(seen)}."
    return Finding("high-rate", "problem", text, _other_rates(facts, "Use half the learning rate", 0.5))


def low_rate(facts: Facts) -> Finding | None:
    """A loss that was still falling when training ended: steadily, or less and less."""
    rows = facts.last_phase
    if not facts.complete or len(rows) < _LEAST_EPOCHS:
        return None
    last, then = rows[-1], rows[-1 - len(rows) // 4]
    falls = [
        before > after * (1 + _FALLING_SHARE) and before > after + _FALLING_NATS
        for before, after in ((then.train_loss, last.train_loss), (then.val_loss, last.val_loss))
    ]
    if not all(falls):
        return None
    middle = rows[len(rows) // 2].val_loss
    steady = middle - last.val_loss >= _STEADY * (rows[0].val_loss - middle)
    seen = (
        f"The validation loss was still falling at the end, from {then.val_loss:.3f} to {last.val_loss:.3f} in the "
        f"last {words.plural(last.epoch - then.epoch, 'epoch')}"
    )
    if steady:
        text = f"{seen}, and about as fast as before: the learning rate is too low for so many epochs."
        return Finding("low-rate", "warning", text, _other_rates(facts, "Use twice the learning rate", 2.0))
    more = max(5, len(rows) // 2)
    remedy = Remedy(f"Train {more} more epochs", {"epochs": min(1000, facts.planned + more)})
    return Finding("unfinished", "warning", f"{seen}: it has not learned all it can.", remedy)


def overfitting(facts: Facts) -> Finding | None:
    """Training photos learned by heart."""
    rows, best = facts.last_phase, facts.best
    if len(rows) < 3:
        return None
    lowest, last = min(rows, key=lambda row: row.val_loss), rows[-1]
    risen = last.val_loss > max(lowest.val_loss * _RISEN_SHARE, lowest.val_loss + _RISEN_NATS)
    _, high = share_interval(best.val_accuracy, facts.val_photos)
    if risen and last.train_loss < lowest.train_loss:
        text = (
            f"Overfitting: after epoch {lowest.epoch} the validation loss rose from {lowest.val_loss:.2f} to "
            f"{last.val_loss:.2f}, while the training loss went on falling to {last.train_loss:.2f}."
        )
    elif best.train_accuracy > high + _GAP:
        text = (
            f"Overfitting: {words.percent(best.train_accuracy)} of the training photos are right, but "
            f"{words.percent(best.val_accuracy)} of the validation photos, more than chance explains."
        )
    else:
        return None
    return Finding("overfitting", "warning", text, _against_overfitting(facts))


def _against_overfitting(facts: Facts) -> Remedy | None:
    config = facts.config
    if config.augmentation in ("auto", "none", "light"):  # left open in runs older than the setting
        return Remedy("Vary the photos more (strong augmentation)", {"augmentation": "strong"})
    if config.recipe == "full" and not config.is_random:
        return Remedy("Keep the early stages frozen", {"recipe": "partial", "freeze": None})
    if config.recipe == "scratch":
        return Remedy("Start from a pretrained network", {"recipe": "lp-ft", "freeze": None})
    if config.label_smoothing == 0:
        return Remedy("Smooth the labels a little", {"label_smoothing": 0.1})
    return None


def underfitting(facts: Facts) -> Finding | None:
    """Photos, training photos among them, that are mostly not learned."""
    best = facts.best
    reached = max(best.train_accuracy, best.val_accuracy)
    if not facts.complete or reached >= facts.guessing + _LEARNT * (1 - facts.guessing):
        return None
    text = (
        f"Underfitting: only {words.percent(best.train_accuracy)} of the training photos are right, and always naming "
        f"the largest class would get {words.percent(facts.guessing)}."
    )
    return Finding("underfitting", "problem", text, _against_underfitting(facts))


def _against_underfitting(facts: Facts) -> Remedy | None:
    config = facts.config
    if config.recipe == "scratch" or config.start == "scratch":
        return Remedy("Start from a pretrained network", {"recipe": "lp-ft", "freeze": None, "start": "copy"})
    if config.weights == "random":
        return Remedy("Start from pretrained weights", {"weights": "default"})
    if facts.frozen_stages:
        return Remedy("Unfreeze all stages", {"recipe": "full", "freeze": None})
    return Remedy("Train twice as long", {"epochs": min(1000, 2 * facts.planned)})


def settled(facts: Facts) -> Finding | None:
    """A head alone that has nothing left to gain."""
    rows = facts.last_phase
    if facts.frozen_stages < facts.stages or len(rows) < _LEAST_EPOCHS or not facts.complete:
        return None
    late, early = rows[len(rows) // 2 :], rows[: len(rows) // 2]
    losses = [row.val_loss for row in late]
    flat = max(losses) <= min(losses) * (1 + _FLAT_SHARE)
    photo = 1.5 / max(1, facts.val_photos)  # one photo more is no gain
    gained = max(row.val_accuracy for row in late) - max(row.val_accuracy for row in early)
    if not flat or gained > photo or facts.best.val_accuracy >= 1 - photo:
        return None
    text = (
        f"The head is at its best: in the last {words.plural(len(late), 'epoch')} the validation loss stayed at "
        f"{losses[-1]:.3f} and the accuracy at {words.percent(facts.best.val_accuracy)}. More epochs change nothing; "
        "unfreezing stages might."
    )
    remedy = Remedy("Fine-tune the stages as well", {"recipe": "lp-ft", "freeze": None})
    return Finding("settled", "note", text, remedy)


def few_photos(facts: Facts) -> Finding | None:
    """Classes that hardly anything is known of."""
    few = {label: count for label, count in facts.train.items() if count < _FEW_PHOTOS}
    if not few:
        return None
    ranked = sorted(few.items(), key=lambda item: item[1])
    named = ", ".join(f"'{label}' ({count})" for label, count in ranked[:_NAMED])
    more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    text = f"Too few training photos of {named}{more}: add photos, ten of each at least."
    remedy = None
    if len(few) == len(facts.train) and facts.config.head == "linear":
        remedy = Remedy("Use a cosine head, made for few photos", {"head": "cosine"})
    return Finding("few-photos", "warning", text, remedy)


def unbalanced(facts: Facts) -> Finding | None:
    """Classes of very different size, with nothing done about it."""
    train = facts.train
    large, small = max(train, key=lambda label: train[label]), min(train, key=lambda label: train[label])
    ratio = train[large] / max(1, train[small])
    if ratio <= _UNEVEN or facts.config.balance != "none":
        return None
    text = (
        f"Unbalanced: '{large}' has {train[large]:,} training photos, '{small}' {train[small]:,}. "
        f"A network learns to prefer '{large}' when in doubt."
    )
    return Finding("unbalanced", "warning", text, Remedy("Let rare classes count more", {"balance": "auto"}))


def small_validation(facts: Facts) -> Finding | None:
    """A validation split that cannot tell good from better."""
    low, high = share_interval(facts.best.val_accuracy, facts.val_photos)
    if high - low <= _WIDE:
        return None
    text = (
        f"{words.plural(facts.val_photos, 'validation photo')} cannot tell much: the accuracy of new photos may be "
        f"anything from {math.floor(100 * low)} to {math.ceil(100 * high)} %. Differences between runs that are "
        "smaller than that mean little."
    )
    remedy = None
    if facts.made_split and facts.config.val_fraction < 0.4:
        share = min(0.4, 2 * facts.config.val_fraction)
        remedy = Remedy(f"Keep {share:.0%} for validation", {"val_fraction": share})
    return Finding("small-validation", "note", text, remedy)


def _other_rates(facts: Facts, label: str, factor: float) -> Remedy | None:
    """None after an extension, whose rates are not those of the settings."""
    if facts.extended:
        return None
    rates = {"lr_head": facts.config.lr_head, "lr_backbone": facts.config.lr_backbone}
    return Remedy(
        label,
        {name: min(10.0, max(1e-8, float(f"{factor * rate:.2g}"))) for name, rate in rates.items() if rate},
    )


# The worst first.
SYMPTOMS: tuple[Callable[[Facts], Finding | None], ...] = (
    leakage,
    high_rate,
    underfitting,
    overfitting,
    low_rate,
    unbalanced,
    few_photos,
    settled,
    small_validation,
)
