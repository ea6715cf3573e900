"""The training settings: the form's layout, and how backbone, weights, recipe and freezing depth move together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from tl_app import runs
from tl_app.config import TrainConfig
from tl_app.transfer.recipes import default_depth
from tl_app.ui import form, picker
from tl_app.ui.blocks import html
from tl_app.ui.form import Form
from tl_app.ui.strip import stage_count, strip, value_of
from tl_app.ui.workspace import Workspace

_DEFAULTS = TrainConfig()
_SLIDER = "tl-field-freeze"


@dataclass(frozen=True)
class Settings:
    """The form, and what the page as a whole is wired to."""

    form: Form
    run_name: gr.Textbox
    photos: list[Any]  # outputs of `photos_chosen`
    all: list[Any]  # outputs of `restore`
    acts: _Acts


@dataclass(frozen=True)
class _Parts:
    form: Form
    group: gr.Radio
    facts: gr.HTML
    strip: gr.HTML
    run_name: gr.Textbox


def build(work: Workspace, source: gr.State) -> Settings:
    """Lays the settings out, one below the other, and binds their events.

    Args:
        work: The app's memory.
        source: Names the photos chosen on the Data tab.
    """
    parts = _lay_out()
    acts = _Acts(work)
    fields = parts.form
    backbone, weights, recipe, freeze = (fields[n] for n in ("backbone", "weights", "recipe", "freeze"))
    # No queue: these answer within milliseconds, and the last position of a slider is the one that counts.
    quick = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
    network, drawn = [weights, parts.facts], [freeze, parts.strip]
    parts.group.input(acts.group_chosen, [parts.group, backbone], backbone, **quick)
    backbone.input(acts.backbone_chosen, [backbone, recipe, source], [*network, *drawn], **quick)
    weights.input(acts.weights_chosen, [backbone, weights], parts.facts, **quick)
    recipe.input(acts.recipe_chosen, [backbone, recipe, weights, source], [*network, *drawn], **quick)
    freeze.input(acts.depth_chosen, [backbone, recipe, weights, freeze], [recipe, *network], **quick)
    return Settings(
        form=fields,
        run_name=parts.run_name,
        photos=[fields["data"], parts.strip],
        all=[parts.facts, parts.strip, *fields.values()],
        acts=acts,
    )


def _lay_out() -> _Parts:
    fields: Form = {}
    group, facts, strip_ = _basic(fields)
    with gr.Accordion("Advanced settings", open=False, elem_id="tl-advanced"):
        run_name = gr.Textbox(
            label="Name of the run",
            info="Empty: made of the photos, the backbone, the recipe and the time.",
            placeholder="automatic",
            max_lines=1,
            elem_id="tl-run-name",
        )
        with gr.Row(elem_classes=["tl-grid"]):
            for name in form.names("advanced"):
                fields[name] = _advanced(name)
    ordered = {name: fields[name] for name in form.FIELDS}
    return _Parts(ordered, group, facts, strip_, run_name)


def _basic(fields: Form) -> tuple[gr.Radio, gr.HTML, gr.HTML]:
    name = _DEFAULTS.backbone
    depth = default_depth(_DEFAULTS.recipe, stage_count(name))
    fields["data"] = form.control(
        "data", interactive=False, placeholder="none yet: choose them on the Data tab"
    )
    group = gr.Radio(
        picker.GROUPS,
        value="all",
        label="Group",
        info="Narrows the list of backbones: fast ones train soonest, accurate ones usually end best.",
        elem_id="tl-group",
    )
    fields["backbone"] = form.control(
        "backbone",
        kind=gr.Dropdown,
        choices=picker.backbones(),
        info="The pretrained network to start from; type to search. Bigger is slower, often better.",
    )
    facts = html(picker.facts(name, "default"), elem_id="tl-backbone-facts")
    fields["weights"] = form.control(
        "weights",
        kind=gr.Dropdown,
        choices=picker.weights(name),
        info="What the backbone has learned already; the recommended weights are usually best.",
    )
    fields["recipe"] = form.control("recipe")
    fields["freeze"] = form.control(
        "freeze",
        kind=gr.Slider,
        minimum=0,
        maximum=stage_count(name),
        step=1,
        precision=0,
        value=depth,
        info="Stages kept as they are, counted from the input. Slide, or click a stage below.",
    )
    strip_ = strip(_SLIDER, value_of(name, depth, classes=2))
    with gr.Row(elem_classes=["tl-grid"]):
        for small in ("epochs", "batch_size"):
            fields[small] = form.control(small, min_width=140)
    return group, facts, strip_


def _advanced(name: str) -> gr.components.Component:
    if name == "device":
        devices = ["auto", "cpu", "cuda", "mps"]
        return form.control(name, kind=gr.Dropdown, choices=devices, allow_custom_value=True, min_width=200)
    return form.control(name, min_width=200)


@dataclass(frozen=True)
class _Acts:
    """The settings' event handlers."""

    work: Workspace

    def group_chosen(self, group: str, backbone: str) -> Any:
        """The list of one group; the chosen backbone stays in it, or nothing would be shown as chosen."""
        found = picker.backbones(group)
        if all(name != backbone for _, name in found):
            found = [entry for entry in picker.backbones() if entry[1] == backbone] + found
        return gr.update(choices=found)

    def backbone_chosen(self, backbone: str, recipe: str, source: str) -> tuple[Any, ...]:
        weights = "random" if recipe == "scratch" else "default"
        choice = gr.update(choices=picker.weights(backbone), value=weights)
        return choice, picker.facts(backbone, weights), *self._depth(backbone, recipe, source)

    def weights_chosen(self, backbone: str, weights: str) -> str:
        return picker.facts(backbone, weights)

    def recipe_chosen(self, backbone: str, recipe: str, weights: str, source: str) -> tuple[Any, ...]:
        return *_network(backbone, recipe, weights), *self._depth(backbone, recipe, source)

    def depth_chosen(self, backbone: str, recipe: str, weights: str, depth: int) -> tuple[Any, ...]:
        recipe = recipe_of(recipe, depth, stage_count(backbone))
        return recipe, *_network(backbone, recipe, weights)

    def photos_chosen(self, source: str, backbone: str, depth: int) -> tuple[Any, ...]:
        """Other photos were chosen: their name, and the strip with a head for their classes."""
        return source, value_of(backbone, depth, self._classes(source))

    def restore(self, source: str, backbone: str, depth: int) -> tuple[Any, ...]:
        """The photos, and the settings of the run that is being trained, for a page that was just opened."""
        job = self.work.worker.job
        if job is None or not job.is_alive:
            photos, strip_value = self.photos_chosen(source, backbone, depth)
            others = [photos if name == "data" else gr.skip() for name in form.FIELDS]
            return (gr.skip(), strip_value, *others)
        config = runs.open_run(job.path, self.work.runs_dir).asked
        stages = stage_count(config.backbone)
        depth = default_depth(config.recipe, stages) if config.freeze is None else config.freeze
        special = {
            "weights": gr.update(choices=picker.weights(config.backbone), value=config.weights),
            "freeze": gr.update(maximum=stages, value=depth),
        }
        shown = [special.get(name, value) for name, value in form.shown(config).items()]
        strip_value = value_of(config.backbone, depth, self._classes(source or config.data))
        return (picker.facts(config.backbone, config.weights), strip_value, *shown)

    def _depth(self, backbone: str, recipe: str, source: str) -> tuple[Any, Any]:
        stages = stage_count(backbone)
        depth = default_depth(recipe, stages)
        return gr.update(maximum=stages, value=depth), value_of(backbone, depth, self._classes(source))

    def _classes(self, source: str) -> int:
        index = self.work.dataset(source)
        return len(index.classes) if index is not None else 2


def recipe_of(recipe: str, depth: int, stages: int) -> str:
    """The recipe that a freezing depth stands for, seen from the recipe chosen before."""
    if depth >= stages:
        return "head"
    if depth > 0:
        return "partial"
    return recipe if recipe in ("full", "scratch") else "full"


def _network(backbone: str, recipe: str, weights: str) -> tuple[Any, str]:
    """The choice of weights and the card with figures: from scratch there is nothing to choose."""
    if recipe == "scratch":
        weights = "random"
    elif weights == "random":
        weights = "default"
    return gr.update(value=weights, interactive=recipe != "scratch"), picker.facts(backbone, weights)
