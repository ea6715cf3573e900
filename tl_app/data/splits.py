"""Which photos train and which validate, when the user's folder does not say.

Works on names and numbers only: the choice depends on the seed and on each photo's key, never on the order of
listing, the machine or a random generator's version.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from tl_app.errors import UsageError


def stratified(
    labels: Sequence[str], val_fraction: float, seed: int, keys: Sequence[str] | None = None
) -> list[str]:
    """Set ``val_fraction`` of each class aside for validation.

    Every class of two or more photos gets at least one in each split; a class of one trains. Photos of a
    class that share a key (the same content twice) stay in one split wherever the class allows it.

    Args:
        labels: The class of each photo.
        val_fraction: Above 0, below 1.
        seed: Another seed, another choice.
        keys: What identifies each photo, such as its content hash; its position where left out.

    Returns:
        ``"train"`` or ``"val"`` for each photo, in the order of ``labels``.

    Raises:
        UsageError: ``val_fraction`` is out of range.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"val_fraction is {val_fraction}.", "Allowed: above 0 and below 1, such as 0.2.")
    identities = [str(position) for position in range(len(labels))] if keys is None else list(keys)
    members: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
    for position, (label, identity) in enumerate(zip(labels, identities, strict=True)):
        members[label].append((_rank(seed, identity), position))
    splits = ["train"] * len(labels)
    for ranked in members.values():
        ranked.sort()
        for _, position in ranked[: _boundary([rank for rank, _ in ranked], val_fraction)]:
            splits[position] = "val"
    return splits


def dealt(labels: Sequence[str], folds: int, seed: int, keys: Sequence[str]) -> list[int]:
    """Deals photos out to folds for cross-validation, as many of each class to each as can be.

    Photos of a class that share a key stay together; those of a class with a single key are in no fold, as they are
    always needed to train on.

    Args:
        labels: The class of each photo.
        folds: How many, at least 2.
        seed: Another seed, another choice.
        keys: What identifies each photo, such as its content hash.

    Returns:
        For each photo the number of its fold, from 0, or -1.
    """
    members: dict[str, dict[bytes, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, (label, key) in enumerate(zip(labels, keys, strict=True)):
        members[label][_rank(seed, key)].append(position)
    found = [-1] * len(labels)
    turn = 0  # goes on from class to class, else the first folds would get all that is left over
    for groups in (members[label] for label in sorted(members)):
        for rank in sorted(groups) if len(groups) > 1 else ():
            for position in groups[rank]:
                found[position] = turn % folds
            turn += 1
    return found


def _rank(seed: int, identity: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{identity}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _boundary(ranks: list[bytes], val_fraction: float) -> int:
    """How many of the ranked photos validate: about the fraction, and not between two of the same rank."""
    count = len(ranks)
    if count < 2:
        return 0
    wanted = min(count - 1, max(1, int(count * val_fraction + 0.5)))
    apart = [cut for cut in range(1, count) if ranks[cut - 1] != ranks[cut]]
    return min(apart, key=lambda cut: (abs(cut - wanted), cut), default=wanted)
