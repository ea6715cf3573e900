"""Two runs on the same photos: what McNemar's test is given, and what it then means in words.

Knows contents, labels and answers, and nothing of where they come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tl_app import words
from tl_app.analysis.certainty import LEVEL, holm

Answers = tuple[list[str], list[str], list[str]]  # of each photo: content hash, label, predicted label


@dataclass(frozen=True)
class Pair:
    """Two runs on the same photos.

    Attributes:
        first: A run's name.
        second: Another's.
        images: Validation photos of both that neither was trained on.
        trained_on: Validation photos of one that the other was trained on, which are left out.
        only_first: Photos that only the first classifies right.
        only_second: Photos that only the second does.
        p_value: Of McNemar's mid-p test that both are equally good; None without common photos.
        adjusted: The same, corrected for the number of pairs (Holm).
        sentence: What that means.
    """

    first: str
    second: str
    images: int
    trained_on: int
    only_first: int
    only_second: int
    p_value: float | None
    adjusted: float | None
    sentence: str


def paired(first: Answers, second: Answers, trained: Sequence[set[str]]) -> tuple[int, int, int, int]:
    """Counts what McNemar's test needs.

    Args:
        first: One run's answers on its validation photos.
        second: Another's.
        trained: The contents that each was trained on.

    Returns:
        Common photos, photos left out since the other run was trained on them, photos that only the first classifies
        right, and photos that only the second does. The same content twice counts once; a photo whose label is not the
        same in both is left out without being counted.
    """
    one, two = _by_content(first), _by_content(second)
    left_out = len((one.keys() & trained[1]) | (two.keys() & trained[0]))
    learned = trained[0] | trained[1]
    common = [
        content
        for content in one.keys() & two.keys()
        if content not in learned and one[content][0] == two[content][0]
    ]
    right = [(one[c][0] == one[c][1], two[c][0] == two[c][1]) for c in common]
    return (
        len(common),
        left_out,
        sum(mine and not yours for mine, yours in right),
        sum(yours and not mine for mine, yours in right),
    )


def sentence(pair: Pair, tests: int) -> str:
    """What a pair's test means.

    Args:
        pair: With everything but its sentence.
        tests: How many there are, for the remark on the correction.
    """
    left_out = (
        f" {words.plural(pair.trained_on, 'photo')} that one validates with and the other was trained on "
        f"{'is' if pair.trained_on == 1 else 'are'} left out."
        if pair.trained_on
        else ""
    )
    if pair.adjusted is None:
        return (
            f"{pair.first} and {pair.second} have no validation photo in common that neither was trained on, so which "
            f"is better cannot be told photo by photo.{left_out}"
        )
    corrected = f", corrected for {tests} pairs" if tests > 1 else ""
    p = "p < 0.001" if pair.adjusted < 0.001 else f"p = {pair.adjusted:.2g}"
    seen = (
        f"of {words.plural(pair.images, 'common validation photo')} only {pair.first} gets {pair.only_first} right, "
        f"only {pair.second} {pair.only_second}.{left_out}"
    )
    if pair.adjusted >= 1 - LEVEL:
        return f"{pair.first} or {pair.second}: too close to call ({p}{corrected}); {seen}"
    better, worse = (
        (pair.second, pair.first) if pair.only_second > pair.only_first else (pair.first, pair.second)
    )
    return f"{better} is better than {worse} ({p}{corrected}); {seen}"


def corrected(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs with p-values corrected for their number, and sentences."""
    tested = [pair.p_value for pair in pairs if pair.p_value is not None]
    adjusted = iter(holm(tested))
    known = [
        pair if pair.p_value is None else dataclasses.replace(pair, adjusted=next(adjusted)) for pair in pairs
    ]
    return tuple(
        pair if pair.sentence else dataclasses.replace(pair, sentence=sentence(pair, len(tested)))
        for pair in known
    )


def _by_content(answers: Answers) -> dict[str, tuple[str, str]]:
    contents, labels, predicted = answers
    return dict(zip(contents, zip(labels, predicted, strict=True), strict=True))
