"""The training settings: the form's layout, and how backbone, weights, recipe and freezing depth move together.

What the catalogue knows (`late` parts) comes when it is loaded, which is after the page is served.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from tl_app import loading
from tl_app.backbones import bundled
from tl_app.backbones.naming import family_and_label
from tl_app.config import TrainConfig
from tl_app.errors import UsageError
from tl_app.references import FILE_PREFIX
from tl_app.transfer.recipes import BEGIN_WITH_HEAD, OF_ANY_DEPTH, default_depth
from tl_app.ui import form, picker, preview
from tl_app.ui.blocks import html
from tl_app.ui.form import Form
from tl_app.ui.preview import Preview
from tl_app.ui.strip import HEAD_FIELDS, stage_count, strip, value_of
from tl_app.ui.workspace import Workspace

PARTS = ("group", "facts", "strip", *form.FIELDS)  # what `Settings.all` is made of
_FROM_RANDOM = ("scratch", "pretrain")  # recipes that pretrained weights are not chosen for by themselves
_SLIDER = "tl-field-freeze"
# Fields of the advanced settings that are sliders, with their steps; ranges are the config's.
_STEPS = {"alpha": 0.05, "layer_decay": 0.05, "l2_sp": 0.1, "feature_distance": 0.1, "bss": 0.1}
_FUSION = ("fuse_stages", "fuse_backbone")  # fields for a head that is trained alone
_RECOMMENDED_STAGES = 9  # so that the slider stands right before the catalogue is there


@dataclass(frozen=True)
class Settings:
    """The form, and what the page as a whole is wired to."""

    form: Form
    run_name: gr.Textbox
    photos: list[Any]  # outputs of `photos_chosen`
    all: list[Any]  # outputs of `restore`
    late: dict[str, Any]  # what waits for the catalogue
    acts: _Acts

    def complete(self) -> None:
        """Puts what waits for the catalogue into the components themselves, for pages opened from now on."""
        defaults = _defaults()
        for name, values in late_parts(defaults, _depth_of(defaults), classes=2).items():
            for key, value in values.items():
                setattr(self.late[name], key, value)


@dataclass(frozen=True)
class _Parts:
    form: Form
    group: gr.Radio
    facts: gr.HTML
    strip: gr.HTML
    run_name: gr.Textbox
    preview: Preview


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
    head = [fields[name] for name in HEAD_FIELDS]
    parts.group.input(acts.group_chosen, [parts.group, backbone], backbone, **quick)
    backbone.input(acts.backbone_chosen, [backbone, recipe, source, *head], [*network, *drawn], **quick)
    weights.input(acts.weights_chosen, [backbone, weights], parts.facts, **quick)
    recipe.input(acts.recipe_chosen, [backbone, recipe, weights, source, *head], [*network, *drawn], **quick)
    freeze.input(acts.depth_chosen, [backbone, recipe, weights, freeze, *head], [recipe, *network], **quick)
    fusion = [fields[name] for name in _FUSION]
    recipe.change(
        acts.fusion_for, [backbone, recipe, freeze, source, *head], [*fusion, freeze, parts.strip], **quick
    )
    for each in head:
        each.input(acts.head_chosen, [backbone, recipe, freeze, source, *head], drawn, **quick)
    preview.bind(parts.preview, work, source, fields)
    cards = {"group": parts.group, "facts": parts.facts, "strip": parts.strip}
    return Settings(
        form=fields,
        run_name=parts.run_name,
        photos=[fields["data"], parts.strip],
        all=[*cards.values(), *fields.values()],
        late=cards | {name: fields[name] for name in ("backbone", "weights", "fuse_backbone")},
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
        for group_name, title in form.GROUPS.items():
            with gr.Accordion(title, open=False):
                with gr.Row(elem_classes=["tl-grid"]):
                    for name in form.names(group_name):
                        fields[name] = _advanced(name)
                if group_name == "photos":
                    preview_ = preview.lay_out()
    ordered = {name: fields[name] for name in form.FIELDS}
    return _Parts(ordered, group, facts, strip_, run_name, preview_)


def _basic(fields: Form) -> tuple[gr.Radio, gr.HTML, gr.HTML]:
    defaults = _defaults()
    shipped = bundled.card() if defaults.backbone == bundled.NAME else None
    stages = shipped.stages if shipped is not None else _RECOMMENDED_STAGES
    name, depth = defaults.backbone, default_depth(defaults.recipe, stages)
    waiting: dict[str, Any] = {"interactive": False}
    label = (family_and_label(name) or ("", name))[1]
    fields["data"] = form.control(
        "data", interactive=False, placeholder="none yet: choose them on the Data tab"
    )
    group = gr.Radio(
        picker.GROUPS,
        value="all",
        label="Group",
        info="Narrows the list of backbones: fast ones train soonest, accurate ones usually end best.",
        elem_id="tl-group",
        **waiting,
    )
    fields["backbone"] = form.control(
        "backbone",
        kind=gr.Dropdown,
        choices=[(label, name)],
        value=name,
        info="The pretrained network to start from; type to search. Bigger is slower, often better.",
        **waiting,
    )
    facts = html(picker.facts_to_come(), elem_id="tl-backbone-facts")
    fields["weights"] = form.control(
        "weights",
        kind=gr.Dropdown,
        choices=[("Recommended", defaults.weights)],
        info="What the backbone has learned already; the recommended weights are usually best.",
        **waiting,
    )
    fields["recipe"] = form.control("recipe")
    fields["freeze"] = form.control(
        "freeze",
        kind=gr.Slider,
        minimum=0,
        maximum=stages,
        step=1,
        precision=0,
        value=depth,
        info="Stages kept as they are, counted from the input. Slide, or click a stage below.",
    )
    strip_ = strip(_SLIDER, depth)
    with gr.Row(elem_classes=["tl-grid"]):
        for small in ("epochs", "batch_size"):
            fields[small] = form.control(small, min_width=140)
    return group, facts, strip_


def _advanced(name: str) -> gr.components.Component:
    if name == "device":
        devices = ["auto", "cpu", "cuda", "mps"]
        return form.control(name, kind=gr.Dropdown, choices=devices, allow_custom_value=True, min_width=200)
    if name in _STEPS:
        meta = form.FIELDS[name].metadata
        ends = {"minimum": meta["low"], "maximum": meta["high"]}
        return form.control(name, kind=gr.Slider, step=_STEPS[name], min_width=200, **ends)
    if name == "fuse_backbone":
        return form.control(name, kind=gr.Dropdown, choices=[("None", "")], interactive=False, min_width=200)
    if name == "teacher":
        return form.control(name, placeholder="none", min_width=200)
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

    def backbone_chosen(self, backbone: str, recipe: str, source: str, *head: Any) -> tuple[Any, ...]:
        weights = "random" if recipe in _FROM_RANDOM else "default"
        choice = gr.update(choices=picker.weights(backbone, self.work.runs_dir), value=weights)
        drawn = self._depth(backbone, recipe, source, _suited(head, recipe))
        return choice, picker.facts(backbone, weights), *drawn

    def list_weights(self, backbone: str) -> Any:
        """The weights that can be chosen by now."""
        return gr.update(choices=picker.weights(backbone, self.work.runs_dir))

    def weights_chosen(self, backbone: str, weights: str) -> str:
        return picker.facts(backbone, weights)

    def recipe_chosen(
        self, backbone: str, recipe: str, weights: str, source: str, *head: Any
    ) -> tuple[Any, ...]:
        drawn = self._depth(backbone, recipe, source, _suited(head, recipe))
        return *_network(backbone, recipe, weights), *drawn

    def depth_chosen(
        self, backbone: str, recipe: str, weights: str, depth: int, *head: Any
    ) -> tuple[Any, ...]:
        recipe = recipe_of(recipe, depth, stage_count(backbone, head))
        return recipe, *_network(backbone, recipe, weights)

    def head_chosen(self, backbone: str, recipe: str, depth: int, source: str, *head: Any) -> tuple[Any, Any]:
        """Another head: its size, and other stages where it takes the place of some; a chosen depth stays."""
        stages = stage_count(backbone, head)
        deepest = stages - 1 if recipe in BEGIN_WITH_HEAD else stages
        depth = min(depth, deepest) if recipe in OF_ANY_DEPTH else default_depth(recipe, stages)
        drawn = value_of(backbone, depth, self._classes(source), head)
        return gr.update(maximum=stages, value=depth), drawn

    def fusion_for(self, backbone: str, recipe: str, depth: int, source: str, *head: Any) -> tuple[Any, ...]:
        """Another recipe, whoever chose it: features are fused for a head alone, else that is off and cannot be set."""
        alone, plain = recipe == "head", _suited(head, recipe)
        if alone or plain == list(head):
            able = gr.update(interactive=alone)
            return able, able, gr.skip(), gr.skip()
        off = (gr.update(value=value, interactive=False) for value in plain[-len(_FUSION) :])
        return *off, *self.head_chosen(backbone, recipe, depth, source, *plain)

    def photos_chosen(self, source: str, backbone: str, *head: Any) -> tuple[Any, ...]:
        """Other photos were chosen: their name, and the strip with a head for their classes.

        Not with a depth: someone may slide while a scan, or the catalogue, is under way.
        """
        return source, value_of(backbone, None, self._classes(source), head)

    def restore(self, source: str) -> tuple[Any, ...]:
        """For a page that was just opened: what waited for the catalogue, the photos, and the settings of a run.

        Without a run no value is given, since someone may have chosen others while the catalogue was loading.
        """
        loading.wait()  # first of all: someone may choose photos, or start, while the catalogue is loading
        job, runs_dir = self.work.worker.job, self.work.runs_dir
        if job is None or not job.is_alive:
            late = late_parts(_defaults(), None, self._classes(source), runs_dir)
            return _given(late, {"data": source} if source else {})
        config = self.work.open_run(job.path).asked
        return filled(config, self._classes(source or config.data), runs_dir)

    def _depth(self, backbone: str, recipe: str, source: str, head: Sequence[Any]) -> tuple[Any, Any]:
        stages = stage_count(backbone, head)
        depth = default_depth(recipe, stages)
        return gr.update(maximum=stages, value=depth), value_of(backbone, depth, self._classes(source), head)

    def _classes(self, source: str) -> int:
        # A page that was opened a moment ago does not know yet which photos it will show.
        index = self.work.dataset(source) or self.work.last_dataset()
        return len(index.classes) if index is not None else 2


def filled(
    config: TrainConfig, classes: int, runs_dir: Path | None, keep: tuple[str, ...] = ()
) -> tuple[Any, ...]:
    """What every part of the form shows for these settings: ``Settings.all``.

    Args:
        config: The settings.
        classes: Of the target task.
        runs_dir: Where the runs are whose weights can be chosen.
        keep: Fields that stay as they are.

    Raises:
        UsageError: The backbone has no such weights, or fewer stages than are frozen.
    """
    stages = stage_count(config.backbone, _head_of(config))
    if config.freeze is not None and config.freeze > stages:
        raise UsageError(
            f"Freezing depth {config.freeze} is too deep for {config.backbone}.", f"It has {stages} stages."
        )
    depth = _depth_of(config)
    late, shown = late_parts(config, depth, classes, runs_dir), form.shown(config)
    late["backbone"]["value"] = shown["backbone"]
    late["weights"]["value"] = picker.listed(config.backbone, config.weights)
    late["fuse_backbone"]["value"] = shown["fuse_backbone"]
    shown["fuse_stages"] = gr.update(value=config.fuse_stages, interactive=config.recipe == "head")
    shown["freeze"] = gr.update(maximum=stages, value=depth)
    return _given(late, {name: value for name, value in shown.items() if name not in keep})


def late_parts(
    config: TrainConfig, depth: int | None, classes: int, runs_dir: Path | None = None
) -> dict[str, dict[str, Any]]:
    """What the parts of the form that wait for the catalogue are given for these settings.

    Args:
        config: The settings.
        depth: The freezing depth; None for the one that the strip stands at.
        classes: Of the target task, for the size of the new head.
        runs_dir: Where the runs are whose weights can be chosen; None: none are offered yet.

    Returns:
        New properties by part: group, facts and strip first, then fields.
    """
    weights = "random" if config.is_random else config.weights
    return {
        "group": {"interactive": True},
        "facts": {"value": picker.facts(config.backbone, weights)},
        "strip": {"value": value_of(config.backbone, depth, classes, _head_of(config))},
        "backbone": {"choices": picker.backbones(), "interactive": True},
        "weights": {
            "choices": picker.weights(config.backbone, runs_dir) + _own_file(weights),
            "interactive": config.recipe != "scratch",
        },
        "fuse_backbone": {"choices": picker.second_backbones(), "interactive": config.recipe == "head"},
    }


def _own_file(weights: str) -> list[tuple[str, str]]:
    """A file that a run or a preset starts from; the page itself offers none."""
    named = weights.startswith(FILE_PREFIX)
    return [(f"File {Path(weights.removeprefix(FILE_PREFIX)).name}", weights)] if named else []


def _given(late: dict[str, dict[str, Any]], shown: dict[str, Any]) -> tuple[Any, ...]:
    """Outputs of `restore`: late parts, then values of fields; what is in neither stays."""
    # Bare values where there is nothing else: an update takes the other properties from a gr.HTML not shown before.
    updates = {
        name: values["value"] if list(values) == ["value"] else gr.update(**values)
        for name, values in late.items()
    }
    fields = [updates.pop(name, shown.get(name, gr.skip())) for name in form.FIELDS]
    return (*updates.values(), *fields)


def _defaults() -> TrainConfig:
    """The settings with the backbone that is used when nobody chooses."""
    return dataclasses.replace(TrainConfig(), backbone=bundled.default_backbone())


def _head_of(config: TrainConfig) -> list[Any]:
    return [getattr(config, name) for name in HEAD_FIELDS]


def _suited(head: Sequence[Any], recipe: str) -> list[Any]:
    """What the form says of the head, without a fusion where the recipe does not go with one."""
    values = dict(zip(HEAD_FIELDS, head, strict=False))
    if recipe != "head":
        values |= {name: form.FIELDS[name].default for name in _FUSION if name in values}
    return list(values.values())


def _depth_of(config: TrainConfig) -> int:
    stages = stage_count(config.backbone, _head_of(config))
    return default_depth(config.recipe, stages) if config.freeze is None else config.freeze


def recipe_of(recipe: str, depth: int, stages: int) -> str:
    """The recipe that a freezing depth stands for, seen from the recipe chosen before."""
    if depth >= stages:
        return "head"
    if recipe in BEGIN_WITH_HEAD:  # which end at that depth
        return recipe
    if depth > 0:
        return "partial"
    return "full" if recipe in ("head", "partial") else recipe


def _network(backbone: str, recipe: str, weights: str) -> tuple[Any, str]:
    """The choice of weights and the card with figures: from scratch there is nothing to choose."""
    if recipe in _FROM_RANDOM:
        weights = "random"
    elif weights == "random":
        weights = "default"
    return gr.update(value=weights, interactive=recipe != "scratch"), picker.facts(backbone, weights)
