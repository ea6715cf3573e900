"""More training of a complete run, on two tabs: a number of epochs, and a button each for more of the same and a stage.

Knows nothing of how a run is extended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app.errors import UsageError
from tl_app.transfer.extensions import EPOCHS

TITLES = {
    "epochs": "Goes on with this run as it is, in the same folder and with the same curves.",
    "stage": "Trains one more stage for so many epochs. The best model stays the best until it is beaten.",
}


@dataclass(frozen=True)
class More:
    """The components of one tab."""

    row: gr.Row
    epochs: gr.Number
    go_on: gr.Button
    unfreeze: gr.Button

    @property
    def shown(self) -> list[Any]:
        """Outputs of :func:`shown`."""
        return [self.row, self.go_on, self.unfreeze]


def build(place: str) -> More:
    """Lays the controls out, hidden; ``place`` makes their names in the page unique."""
    with gr.Row(visible=False, elem_id=f"tl-more-{place}", elem_classes=["tl-more"]) as row:
        epochs = gr.Number(
            EPOCHS,
            label="More epochs",
            info="How many this run goes on for.",
            precision=0,
            minimum=1,
            maximum=1000,
            step=1,
            min_width=110,
            elem_id=f"tl-more-epochs-{place}",
        )
        go_on = gr.Button("Train more epochs", elem_id=f"tl-go-on-{place}", min_width=150)
        unfreeze = gr.Button("Unfreeze one more stage", elem_id=f"tl-unfreeze-{place}", min_width=190)
    return More(row, epochs, go_on, unfreeze)


def titles(place: str) -> dict[str, str]:
    """What the buttons do."""
    return {f"tl-go-on-{place}": TITLES["epochs"], f"tl-unfreeze-{place}": TITLES["stage"]}


def shown(*, complete: bool, busy: bool, depth: int) -> tuple[Any, ...]:
    """How the controls look.

    Args:
        complete: Whether the run is; others are resumed.
        busy: Whether a run is being trained.
        depth: How many of its stages are frozen.
    """
    return (
        gr.update(visible=complete),
        gr.update(interactive=complete and not busy),
        gr.update(interactive=complete and not busy and depth > 0),
    )


def checked(epochs: float | None) -> int:
    """The number of epochs that was typed.

    Raises:
        UsageError: There is none, or it is no whole number.
    """
    if epochs is None or epochs != int(epochs):
        raise UsageError("More epochs is empty or no whole number.", "Allowed: from 1 to 1000.")
    return int(epochs)
