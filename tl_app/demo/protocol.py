"""What a demo is told when it starts, and what it says of itself: one JSON object a line, on its pipes.

Settings come in on standard input, never as arguments: other users of a machine can read those, and a password is among
the settings. Input that ends tells the demo to stop. Knows neither side.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["starting", "ready", "failed", "ended"]


@dataclass(frozen=True)
class Settings:
    """What to serve, and for whom.

    Attributes:
        run: The run's folder.
        title: The demo's name; empty for the run's.
        examples: Paths of photos that visitors may try.
        port: 0 for any that is free.
        share: Whether to ask Gradio's share server for a public link.
        user: Who may come in; empty for everyone who has the link.
        password: Theirs.
        hours: After how long the demo ends by itself; 0 for never, or for when the public link does.
        device: Where to compute.
    """

    run: str
    title: str = ""
    examples: tuple[str, ...] = ()
    port: int = 0
    share: bool = False
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    hours: float = 0.0
    device: str = "auto"


@dataclass(frozen=True)
class Status:
    """Where a demo stands.

    Attributes:
        state: ``failed`` when it never came up; then ``note`` says why.
        local: The link for this machine; empty until it is ready.
        public: The link for everyone; empty when there is none.
        sharing: Whether a public link is still awaited.
        expires: ISO date and time at which it ends by itself; empty for never.
        note: What to know, such as why there is no public link.
        asked: Questions so far.
        answered: Those of them that got an answer.
        exit_code: Of the error in ``note``; 0 when there is none.
    """

    state: State = "starting"
    local: str = ""
    public: str = ""
    sharing: bool = False
    expires: str = ""
    note: str = ""
    asked: int = 0
    answered: int = 0
    exit_code: int = 0

    @property
    def alive(self) -> bool:
        """Whether it serves, or is about to."""
        return self.state in ("starting", "ready")


def to_line(value: Settings | Status) -> str:
    """A line, its end included."""
    return json.dumps(dataclasses.asdict(value)) + "\n"


def settings_of(line: str) -> Settings:
    """What :func:`to_line` made of settings."""
    values: dict[str, Any] = json.loads(line)
    return Settings(**{**values, "examples": tuple(values["examples"])})


def status_of(line: str) -> Status | None:
    """What :func:`to_line` made of a status; None for a line that is none, as libraries may print."""
    try:
        values = json.loads(line)
        return Status(**values)
    except (ValueError, TypeError):
        return None
