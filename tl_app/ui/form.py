"""The training form, generated from ``TrainConfig``'s fields, and back from the form to a config.

A form is a dictionary from field name to component. Knows nothing of layout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gradio as gr

from tl_app.config import TrainConfig
from tl_app.fields import field_type
from tl_app.transfer.recipes import OF_ANY_DEPTH

FIELDS = {spec.name: spec for spec in dataclasses.fields(TrainConfig)}

# The groups of fields beyond the basic ones, with the title of each.
GROUPS = {
    "training": "Head and optimiser",
    "source": "Source and teacher",
    "photos": "Photos",
    "machine": "Machine",
}

Form = dict[str, gr.components.Component]

_CHOICE_LABELS = {
    "recipe": {
        "head": "Head only",
        "partial": "Partial",
        "full": "Full",
        "lp-ft": "Probe, then fine-tune (recommended)",
        "gradual": "Gradual unfreezing",
        "scratch": "From scratch",
        "pretrain": "Source model",
    },
    "head": {"mlp": "Hidden layer (MLP)"},
    "pooling": {"pool": "Pooled"},
    "optimizer": {"sgd": "SGD with momentum", "adam": "Adam", "adamw": "AdamW"},
    "augmentation": {
        "crop": "Crops and flips alone",
        "trivial": "TrivialAugment",
        "randaugment": "RandAugment",
    },
    "flip": {"horizontal": "Left and right", "vertical": "Upside down"},
    "balance": {"sampling": "By sampling", "loss": "In the loss"},
    "precision": {"fp32": "32-bit", "bf16": "bfloat16"},
}
_STEPS = {
    "weight_decay": 0.01,
    "val_fraction": 0.05,
    "rotation": 5,
    "erasing": 0.1,
    "mixup": 0.1,
    "cutmix": 0.1,
    "label_smoothing": 0.05,
}


def names(group: str) -> list[str]:
    """The fields of one group, in the config's order."""
    return [name for name, spec in FIELDS.items() if spec.metadata["group"] == group]


def control(name: str, kind: type[Any] | None = None, **extra: Any) -> gr.components.Component:
    """The control of one field, with label, explanation, choices and range from its metadata.

    Args:
        name: A field of ``TrainConfig``.
        kind: The component's class, where it is another than the field's type suggests.
        extra: Passed on to the component, over what the metadata gives.
    """
    meta = FIELDS[name].metadata
    common = {"label": meta["label"], "info": _info(name), "elem_id": f"tl-field-{name}"}
    suggested, own = _suggested(name)
    if kind is not None:
        own = {"value": FIELDS[name].default}
    component: gr.components.Component = (kind or suggested)(**{**own, **common, **extra})
    return component


def _suggested(name: str) -> tuple[type[Any], dict[str, Any]]:
    spec = FIELDS[name]
    plain, optional = field_type(spec)
    if spec.metadata["choices"]:
        kind = gr.Radio if spec.metadata["group"] == "basic" else gr.Dropdown
        return kind, {"choices": choices(name), "value": spec.default}
    if plain in (int, float) and not optional:
        return gr.Number, {
            "value": spec.default,
            "step": _STEPS.get(name, 1),
            "precision": 0 if plain is int else None,
        }
    # gr.Number cannot be empty: the page puts a 0 in. So an optional number is text, read by `_plain`.
    placeholder = "automatic" if optional else None
    return gr.Textbox, {"value": spec.default or "", "max_lines": 1, "placeholder": placeholder}


def choices(name: str) -> list[tuple[str, str]]:
    """A field's choices with the words shown for them."""
    words = {"auto": "Automatic"} | _CHOICE_LABELS.get(name, {})
    return [(words.get(choice, choice.capitalize()), choice) for choice in FIELDS[name].metadata["choices"]]


def read(values: Mapping[str, Any]) -> TrainConfig:
    """The config that the form's values stand for.

    The freezing depth is only said for the recipes that can have several; the others each stand for one.

    Raises:
        UsageError: A value is outside its range, or two contradict each other.
    """
    settings = {name: _plain(name, value) for name, value in values.items()}
    if settings.get("recipe") not in OF_ANY_DEPTH:
        settings["freeze"] = None
    return TrainConfig.from_dict(settings)


def shown(config: TrainConfig) -> dict[str, Any]:
    """What the form's controls show for a config, in the fields' order; the reverse of :func:`read`."""
    values = config.to_dict()
    return {name: _text(value) if field_type(FIELDS[name])[1] else value for name, value in values.items()}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _plain(name: str, value: Any) -> Any:
    plain, optional = field_type(FIELDS[name])
    if isinstance(value, str) and plain is not str:
        value = _number(value)
    if optional and value is None:
        return None
    if plain is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _number(text: str) -> float | str | None:
    """The number a person typed; text that is none stays, for the config to refuse by name."""
    text = text.strip().replace(",", ".")
    try:
        return float(text) if text else None
    except ValueError:
        return text


def _info(name: str) -> str:
    meta = FIELDS[name].metadata
    low, high = meta["low"], meta["high"]
    if low is None or high is None or name == "seed":
        return str(meta["help"])
    return f"{meta['help']} From {low:g} to {high:g}."
