"""What weights may be used for: the licence of those that a run started from. Knows no law."""

from __future__ import annotations

from tl_app.backbones import bundled
from tl_app.config import TrainConfig
from tl_app.engine.source import Source, beside_of, source_of
from tl_app.errors import UserError

_TORCHVISION = (
    "BSD-3-Clause (torchvision's weights, trained on ImageNet-1K, whose photos have terms of their own)"
)
_OWN = "Those of the photos that it was trained on: no other weights are in it"
_FILE = "Unknown: they began as a file of the owner's"
_UNKNOWN = "Unknown: the weights that it started from cannot be found any more"


def licence_of(config: TrainConfig) -> str:
    """What is known of the weights that settings start from, those of a second backbone among them."""
    try:
        first = source_of(config)
        found = [first, beside_of(config, first)]
    except UserError:  # the run that it started from is gone
        return _UNKNOWN
    return "; ".join(dict.fromkeys(_licence(each) for each in found if each is not None)) or _OWN


def _licence(source: Source) -> str:
    if source.run is not None:
        from tl_app.runs import open_run

        return licence_of(open_run(source.run, source.run.parent).config)
    if source.choice is None:  # a file of their own
        return _FILE
    if source.choice.bundled:
        card = bundled.card()
        return card.licence if card is not None else _UNKNOWN
    return source.choice.licence or _TORCHVISION
