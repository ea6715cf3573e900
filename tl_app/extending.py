"""Extending a complete run: from where its checkpoint stands to a phase more in its record.

Knows nothing of how it is then trained.
"""

from __future__ import annotations

from typing import Any

from tl_app import runs
from tl_app.errors import ResourceError
from tl_app.transfer.extensions import Extension, describe, extend, phases_of


def extended(info: runs.RunInfo, **asked: Any) -> str:
    """Records in a run's folder what it is extended by; returns a sentence on it.

    Args:
        info: The run.
        **asked: As :func:`tl_app.transfer.extensions.extend` takes it.

    Raises:
        UserError: A number is out of its range, or the folder cannot be read or written.
    """
    from tl_app.engine.checkpoints import LAST, read_position

    position = read_position(info.path / "checkpoints" / LAST)
    if position is None or position.phase < 0:
        raise ResourceError(f"Run '{info.name}' has no checkpoint to go on from.", remedy="Start a new run.")
    known, stages, begun = (
        [Extension.from_dict(each) for each in info.extensions],
        len(info.stages),
        position.phase + 1,
    )
    phases = phases_of(info.config, stages, known)
    if known and len(phases) > begun:
        known.pop()  # asked for, but ended before it began
    extension = extend(
        phases, stages=stages, optimizer=info.config.optimizer, after=position.epoch, begun=begun, **asked
    )
    runs.write_extensions(info.path, [each.to_dict() for each in [*known, extension]])
    return describe(extension, info.stages)
