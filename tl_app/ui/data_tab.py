"""The Data tab: choose photos, see what is in them, and what will be left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from tl_app import plots, words
from tl_app.data.index import DatasetIndex
from tl_app.data.sources import sample_data
from tl_app.errors import DataError, UsageError
from tl_app.ui import first_answer, markup, paths, remembered, theme, thumbnails
from tl_app.ui.blocks import figure, html
from tl_app.ui.first_answer import FirstAnswer
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

_CLASSES_PER_PAGE = 12
_PHOTOS_PER_CLASS = 8
_SIDE = 112
_LEFT_OUT_SHOWN = 500

_EMPTY = (
    "No photos chosen yet. The app wants one folder per class, for instance photos/ants/… and photos/bees/…, "
    "or the same inside train and val folders. Nothing at hand? Use the sample photos."
)

TITLES = {
    "tl-scan": "Looks through the folder or zip and counts its photos; nothing in it is changed.",
    "tl-sample": "Uses the small labelled photo set that comes with the app.",
    "tl-quick-start": "Trains with the settings of the Train tab; the defaults train well.",
    "tl-to-train": "Shows the settings before anything is trained.",
    "tl-more": "Shows thumbnails of the next classes.",
    **first_answer.TITLES,
}


@dataclass(frozen=True)
class DataTab:
    """The components that other tabs, or the page as a whole, are wired to."""

    source: gr.State
    scan: Any  # event: photos were chosen
    quick_start: gr.Button
    quick_why: gr.HTML
    to_train: gr.Button
    answer: FirstAnswer
    chosen: list[Any]  # outputs of `fill`
    fill: Any


@dataclass(frozen=True)
class _Parts:
    source: gr.State
    path: gr.Textbox
    scan: gr.Button
    recent: gr.Dropdown
    zip: gr.File
    sample: gr.Button
    summary: gr.HTML
    next_steps: gr.Row
    quick_start: gr.Button
    quick_why: gr.HTML
    to_train: gr.Button
    answer: FirstAnswer
    details: gr.Row
    counts: gr.HTML
    shown_classes: gr.State
    grid: gr.HTML
    more: gr.Button
    left_out: gr.HTML

    @property
    def filled(self) -> list[Any]:
        return [
            self.source,
            self.path,
            self.recent,
            self.summary,
            self.next_steps,
            self.details,
            self.counts,
            self.shown_classes,
            self.grid,
            self.more,
            self.left_out,
        ]


def build(work: Workspace) -> DataTab:
    """Lays the tab out and binds its events."""
    parts = _lay_out(work)
    acts = _Acts(work)
    filled = parts.filled
    busy = {"show_progress_on": [parts.summary]}
    chosen = [
        parts.scan.click(acts.scan, parts.path, filled, **busy),
        parts.path.submit(acts.scan, parts.path, filled, **busy),
        parts.recent.input(acts.scan, parts.recent, filled, **busy),
        parts.zip.upload(acts.scan_zip, parts.zip, [parts.zip, *filled], **busy),
        parts.sample.click(acts.scan_sample, None, filled, **busy),
    ]
    parts.more.click(
        acts.more, [parts.source, parts.shown_classes], [parts.shown_classes, parts.grid, parts.more]
    )
    return DataTab(
        source=parts.source,
        scan=chosen,
        quick_start=parts.quick_start,
        quick_why=parts.quick_why,
        to_train=parts.to_train,
        answer=parts.answer,
        chosen=filled,
        fill=acts.restore,
    )


def _lay_out(work: Workspace) -> _Parts:
    source, shown_classes = gr.State(""), gr.State(0)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            path = gr.Textbox(
                label="Folder or zip of photos",
                info="One sub-folder per class. Folders are suggested as you type; Tab takes one.",
                placeholder="/home/me/photos",
                max_lines=1,
                elem_id="tl-path",
            )
            _completion("tl-path")
        # Beside the box, not under it, where the suggestions would hide them.
        with gr.Column(scale=1, min_width=200, elem_id="tl-choose"):
            scan = gr.Button("Use these photos", variant="primary", elem_id="tl-scan")
            sample = gr.Button("Use sample photos", elem_id="tl-sample")
    with gr.Row(equal_height=False):
        recent = gr.Dropdown(
            work.recent(),
            value=None,
            label="Recent",
            info="Folders and zips you used before, latest first.",
            scale=3,
            min_width=320,
            elem_id="tl-recent",
        )
        zip_ = gr.File(
            label="Zip of photos (stays on this machine)",
            file_types=[".zip"],
            height=150,
            scale=2,
            min_width=300,
            elem_id="tl-zip",
        )
    summary = html(markup.hint(_EMPTY), elem_id="tl-data-summary", min_height=64)
    with gr.Row(visible=False, elem_id="tl-next-steps") as next_steps:
        quick_start = gr.Button("Start training", variant="primary", elem_id="tl-quick-start", min_width=180)
        to_train = gr.Button("Choose settings first →", elem_id="tl-to-train", min_width=180)
        quick_why = html(elem_id="tl-quick-why", min_width=260)
    answer = first_answer.build(work)
    with gr.Row(visible=False, equal_height=False, elem_id="tl-data-details") as details:
        with gr.Column(scale=2, min_width=300):
            counts = figure(
                label="Photos per class and split", hint="The classes appear here.", elem_id="tl-counts"
            )
            left_out = html(elem_id="tl-left-out")
        with gr.Column(scale=3, min_width=300):
            grid = html(elem_id="tl-thumbnails")
            more = gr.Button("Show more classes", visible=False, elem_id="tl-more")
    return _Parts(
        source=source,
        path=path,
        scan=scan,
        recent=recent,
        zip=zip_,
        sample=sample,
        summary=summary,
        next_steps=next_steps,
        quick_start=quick_start,
        quick_why=quick_why,
        to_train=to_train,
        answer=answer,
        details=details,
        counts=counts,
        shown_classes=shown_classes,
        grid=grid,
        more=more,
        left_out=left_out,
    )


def _completion(target: str) -> gr.HTML:
    return gr.HTML(
        html_template='<ul class="tl-suggestions" role="listbox" aria-label="Suggested folders" hidden></ul>',
        js_on_load=theme.script("paths"),
        apply_default_css=False,
        elem_classes=["tl-completion"],
        target=target,
    )


@dataclass(frozen=True)
class _Acts:
    """The tab's event handlers."""

    work: Workspace

    @toasts
    def scan(self, typed: str | None, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        source = paths.tidy(typed or "")
        if not source:
            raise UsageError("No folder was named.", remedy="Type or paste a path, or use the sample photos.")
        return self._chosen(source, progress)

    @toasts
    def scan_sample(self, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        return self._chosen(str(sample_data()), progress)

    @toasts
    def scan_zip(self, upload: str | None, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        if not upload:
            raise UsageError("The upload did not arrive.", remedy="Drop the zip again.")
        kept, is_new = remembered.keep_upload(Path(upload))
        try:
            return (None, *self._chosen(str(kept), progress))
        except DataError:
            if is_new:  # what cannot be used does not stay
                kept.unlink(missing_ok=True)
            raise

    def more(self, source: str, shown: int) -> tuple[Any, ...]:
        index = self.work.dataset(source)
        if index is None:
            return gr.skip(), gr.skip(), gr.skip()
        shown = min(len(index.classes), shown + _CLASSES_PER_PAGE)
        return shown, class_grid(index, shown), gr.update(visible=shown < len(index.classes))

    def restore(self) -> tuple[Any, ...]:
        """What a page that was just opened shows: the photos chosen last."""
        index = self.work.last_dataset()
        if index is None:
            return (gr.skip(), gr.skip(), _recent_choices(self.work), *[gr.skip()] * 8)
        return _filled(self.work, index)

    def _chosen(self, source: str, progress: gr.Progress) -> tuple[Any, ...]:
        progress((0, None), desc="Looking for photos", unit="photos")
        index = self.work.scan(source, lambda done, total: _say(progress, done, total))
        return _filled(self.work, index)


def _say(progress: gr.Progress, done: int, total: int) -> None:
    progress((done, total or None), desc="Looking at photos", unit="photos")


def _filled(work: Workspace, index: DatasetIndex) -> tuple[Any, ...]:
    shown = min(len(index.classes), _CLASSES_PER_PAGE)
    return (
        str(index.source),
        str(index.source),
        _recent_choices(work),
        summary_of(index),
        gr.update(visible=True),
        gr.update(visible=True),
        plots.class_counts(index),
        shown,
        class_grid(index, shown),
        gr.update(visible=shown < len(index.classes)),
        left_out_table(index),
    )


def _recent_choices(work: Workspace) -> Any:
    return gr.update(choices=work.recent(), value=None)


def summary_of(index: DatasetIndex) -> str:
    """One card: how many photos, in which classes and splits, and how many are left out."""
    train, val, test = (len(index.used(split)) for split in ("train", "val", "test"))
    split = "made by the app, the same share of each class" if index.made_split else "as the folders say"
    pairs = [
        ("Classes", f"{len(index.classes):,}"),
        ("Training photos", f"{train:,}"),
        ("Validation photos", f"{val:,}"),
        ("Test photos", f"{test:,}" if test else ""),
        ("Left out", f"{len(index.left_out):,}"),
        ("Split", split),
    ]
    name = markup.text(Path(index.source).name or str(index.source))
    return f'<div class="tl-card"><h3>{name}</h3>{markup.facts(pairs)}</div>'


def class_grid(index: DatasetIndex, shown: int) -> str:
    """Thumbnails of the first ``shown`` classes."""
    names = list(index.classes[:shown])
    counts = index.counts()
    pictures = thumbnails.of_classes(index, names, per_class=_PHOTOS_PER_CLASS, side=_SIDE)
    return f'<div class="tl-classes">{"".join(_class_card(n, counts[n], pictures[n]) for n in names)}</div>'


def _class_card(name: str, counts: dict[str, int], pictures: list[Any]) -> str:
    images = "".join(
        f'<img src="{uri}" alt="{markup.text(photo.path)}" title="{markup.text(photo.path)}">'
        for photo, uri in pictures
    )
    total = words.plural(sum(counts.values()), "photo")
    head = f'<h4 title="{markup.text(name)}">{markup.text(name)}<small>{total}</small></h4>'
    return f"<section>{head}<div>{images}</div></section>"


def left_out_table(index: DatasetIndex) -> str:
    """Every file that will not be used, with its reason."""
    left_out = index.left_out
    if not left_out:
        return '<div class="tl-fine">Every file is used; none had to be left out.</div>'
    rows = [(photo.path, photo.issue) for photo in left_out[:_LEFT_OUT_SHOWN]]
    caption = f"{words.plural(len(left_out), 'file')} left out"
    if len(left_out) > len(rows):
        caption += f", the first {len(rows)} shown"
    return markup.table(("File", "Why it is not used"), rows, caption=caption)
