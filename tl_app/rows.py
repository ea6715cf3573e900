"""What the command line prints as JSON for a backbone, a run and a photo: plain values. Knows no command."""

from __future__ import annotations

import dataclasses
from typing import Any


def prediction(prediction: Any) -> dict[str, Any]:
    """A photo's label and the runners-up, or why it could not be read."""
    if prediction.error:
        return {"path": prediction.path, "error": prediction.error}
    top = [{"label": label, "confidence": confidence} for label, confidence in prediction.top]
    return {
        "path": prediction.path,
        "label": prediction.label,
        "confidence": prediction.confidence,
        "sure": prediction.sure,
        "unfamiliar": prediction.unfamiliar,
        "top": top,
    }


def backbone(spec: Any) -> dict[str, Any]:
    """All that the catalogue says, and what of it is on disk."""
    from tl_app.backbones.staged import stage_parameters
    from tl_app.backbones.weights import is_on_disk

    values = dataclasses.asdict(spec)
    for choice, listed in zip(spec.weights, values["weights"], strict=True):
        listed["on_disk"] = is_on_disk(choice)
    values["stages"] = [name for name, _ in stage_parameters(spec.name)[:-1]]
    return values


def run(info: Any) -> dict[str, Any]:
    """What a run's folder says, and the command and the script that repeat it."""
    from tl_app.reproduce import command_of, script_of

    return {
        "run": str(info.path),
        "name": info.name,
        "state": info.state,
        "created": info.created,
        "data": info.config.data,
        "backbone": info.config.backbone,
        "recipe": info.config.recipe,
        "frozen_stages": info.frozen_stages,
        "epochs_done": info.epochs_done,
        "epochs": info.epochs,
        "best_epoch": info.best_epoch,
        "val_accuracy": info.val_accuracy,
        "val_loss": info.val_loss,
        "resumable": info.resumable,
        "message": info.message,
        "lineage": list(info.lineage),
        "shared_layers": list(info.shared_layers),
        "task_layers": list(info.task_layers),
        "extensions": list(info.extensions),
        "command": command_of(info),
        "script": script_of(info),
    }


def as_json(value: Any) -> Any:
    """A dataclass of the API, or a list of them, as plain JSON values."""
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return (
        dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
    )
