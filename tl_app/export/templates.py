"""Text with places to fill in, ``{{NAME}}``. What is filled in is not looked at again: it may hold anything."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACE = re.compile(r"\{\{([A-Z]+)\}\}")


def filled(template: str, values: Mapping[str, str]) -> str:
    """The text with every place filled.

    Args:
        template: With places.
        values: By the names of the places, all of them.
    """
    return _PLACE.sub(lambda place: values[place[1]], template)
