"""The Share tab: a demo of one run for others, in a process of its own, and the banner while everyone can reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from tl_app import words
from tl_app.data.index import DatasetIndex
from tl_app.demo.protocol import Settings, Status
from tl_app.errors import UsageError
from tl_app.ui import finished, markup, photo_grid, thumbnails
from tl_app.ui.blocks import html
from tl_app.ui.toasts import toasts
from tl_app.ui.workspace import Workspace

_OFFERED = 18  # photos to choose examples from
_MOST_EXAMPLES = 12
_SIDE = 160
_HOURS = [("1 hour", 1.0), ("8 hours", 8.0), ("1 day", 24.0), ("3 days", 72.0), ("a week", 168.0)]
_IDLE = (
    "Nothing is shared. The demo is a page of its own for one run: it can say what is on photos, and nothing else. "
    "This page, your photos and your other runs stay out of reach."
)
_NO_PHOTOS = "Choose a run to see its validation photos here."

TITLES = {
    "tl-share-start": "Starts the demo in a process of its own; its link appears below.",
    "tl-share-stop": "Ends the demo and its links at once.",
    "tl-share-end": "Ends the demo and its links at once.",
}


@dataclass(frozen=True)
class Banner:
    """What stands above all tabs while everyone with the link can reach the demo."""

    row: gr.Row
    text: gr.HTML
    stop: gr.Button


@dataclass(frozen=True)
class ShareTab:
    """The components that the page as a whole is wired to."""

    run: list[Any]  # outputs of `acts.list_runs`
    chosen: gr.Dropdown
    shown: list[Any]  # outputs of `acts.redraw` and `acts.tick`
    seen: gr.State
    acts: Acts


def banner() -> Banner:
    """Lays the banner out, hidden."""
    with gr.Row(visible=False, elem_id="tl-public", equal_height=True) as row:
        text = html(elem_id="tl-public-text")
        stop = gr.Button("Stop sharing", size="sm", min_width=140, scale=0, elem_id="tl-share-end")
    return Banner(row, text, stop)


def build(work: Workspace, above: Banner) -> ShareTab:
    """Lays the tab out and binds its events."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            run, title, public, hours, user, password = _form()
            with gr.Row(elem_classes=["tl-buttons"]):
                start = gr.Button("Start", variant="primary", elem_id="tl-share-start", min_width=140)
                stop = gr.Button("Stop sharing", interactive=False, elem_id="tl-share-stop", min_width=140)
            card = html(markup.hint(_IDLE), elem_id="tl-share-card")
        with gr.Column(scale=1, min_width=320):
            grid = photo_grid.pickable(
                markup.hint(_NO_PHOTOS), label="Example photos", elem_id="tl-share-photos"
            )
            own = gr.File(
                label="More example photos, of your own",
                file_count="multiple",
                file_types=["image"],
                height=120,
                elem_id="tl-share-own",
            )
    picked, seen = gr.State([]), gr.State(-1)
    acts = Acts(work)
    shown = [seen, card, start, stop, above.row, above.text]
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    run.change(acts.offer, run, [picked, grid], **quiet)
    grid.select(acts.pick, [run, picked], [picked, grid], **quiet)
    asked = [run, title, public, hours, user, password, picked, own]
    start.click(acts.start, asked, [*shown, password], show_progress="hidden")
    stop.click(acts.stop, None, shown, show_progress="hidden")
    above.stop.click(acts.stop, None, shown, show_progress="hidden")
    return ShareTab([run], run, shown, seen, acts)


def _form() -> tuple[Any, ...]:
    run = gr.Dropdown(
        [],
        value=None,
        label="Run",
        info="The demo answers with this run's best model, as it is when the demo starts.",
        elem_id="tl-share-run",
    )
    title = gr.Textbox(
        label="Name of the page", info="What visitors read on top; empty for the run's name.", max_length=80
    )
    public = gr.Checkbox(
        False,
        label="Also make a public link",
        info="Through Gradio's share server: everyone with the link can use the demo, from anywhere.",
        elem_id="tl-share-public",
    )
    hours = gr.Dropdown(
        _HOURS, value=24.0, label="Ends after", info="Then the demo and its links end by themselves."
    )
    with gr.Row():
        user = gr.Textbox(
            label="User", info="Empty: whoever has the link comes in.", max_length=80, min_width=140
        )
        password = gr.Textbox(
            label="Password", info="Asked for together with the user.", type="password", min_width=140
        )
    return run, title, public, hours, user, password


@dataclass(frozen=True)
class Acts:
    """The tab's event handlers."""

    work: Workspace

    def list_runs(self, name: str | None) -> Any:
        """The runs that have a model, newest first, with the choice kept where it still is there."""
        found = finished.usable_runs(self.work)
        names = [info.name for info in found]
        kept = name if name in names else (names[0] if names else None)
        return gr.update(choices=finished.choices(found), value=kept)

    @toasts
    def offer(self, name: str | None) -> tuple[Any, ...]:
        """The run's validation photos; none is shown to visitors that its owner did not choose."""
        return [], self._grid(self._offered(name), [])

    @toasts
    def pick(self, name: str | None, picked: list[int], event: gr.EventData) -> tuple[Any, ...]:
        """Another example, or one less."""
        kind, numbers = photo_grid.picked(event)
        offered = self._offered(name)
        if kind != "example" or not 0 <= numbers[0] < len(offered):
            return gr.skip(), gr.skip()
        number = numbers[0]
        if number in picked:
            picked = [each for each in picked if each != number]
        elif len(picked) < _MOST_EXAMPLES:
            picked = [*picked, number]
        return picked, self._grid(offered, picked)

    @toasts
    def start(
        self,
        name: str | None,
        title: str,
        public: bool,
        hours: float,
        user: str,
        password: str,
        picked: list[int],
        own: list[str] | None,
    ) -> tuple[Any, ...]:
        """Starts the demo; the clock tells how it goes."""
        if not name:
            raise UsageError("There is no run to share yet.", remedy="Train one first.")
        if bool(user.strip()) != bool(password):
            raise UsageError("User and password go together.", remedy="Fill in both, or none.")
        offered = self._offered(name)
        examples = [str(offered[number][0]) for number in picked if number < len(offered)]
        examples = [path for path in [*examples, *(own or [])] if Path(path).is_file()][:_MOST_EXAMPLES]
        info = self.work.open_with_photos(name)
        settings = Settings(
            run=str(info.path.resolve()),
            title=title.strip(),
            examples=tuple(examples),
            share=public,
            user=user.strip(),
            password=password,
            hours=float(hours),
        )
        self.work.sharer.start(settings, info.name)
        return (*self.redraw(), "")

    @toasts
    def stop(self) -> tuple[Any, ...]:
        """Ends the demo; nobody can reach it any more when this returns."""
        self.work.sharer.stop()
        return self.redraw()

    def tick(self, seen: int) -> tuple[Any, ...] | None:
        """What moved since; None when nothing did."""
        return self.redraw() if seen != self.work.sharer.version else None

    def redraw(self) -> tuple[Any, ...]:
        """Everything as it stands."""
        sharer = self.work.sharer
        version, status = sharer.version, sharer.status
        alive = status is not None and status.alive
        open_to_all = status is not None and bool(status.public)
        return (
            version,
            card_of(status, sharer.run),
            gr.update(interactive=not alive),
            gr.update(interactive=alive),
            gr.update(visible=open_to_all),
            public_text(status, sharer.run) if status is not None and open_to_all else "",
        )

    def _offered(self, name: str | None) -> list[tuple[Path, Any]]:
        """Validation photos, evenly of all classes, with where they are."""
        if not name:
            return []
        info = self.work.open_with_photos(name)
        index = DatasetIndex.read_manifest(info.path / "manifest.csv")
        photos = thumbnails.spread(index.used("val"), _OFFERED)
        return [(index.root / photo.path, photo) for photo in photos]

    def _grid(self, offered: Sequence[tuple[Path, Any]], picked: list[int]) -> str:
        if not offered:
            return markup.hint(_NO_PHOTOS)
        files = [(str(path), photo.content_hash) for path, photo in offered]
        pictures = thumbnails.of_files(Path(), files, _SIDE)
        tiles = "".join(
            _tile(number, photo.label, picture, number in picked)
            for number, ((_, photo), picture) in enumerate(zip(offered, pictures, strict=True))
        )
        head = (
            "Example photos: pick those that visitors may try with one tap. They are shown to everyone who comes. "
            f"{len(picked) or 'None'} of at most {_MOST_EXAMPLES} chosen."
        )
        return f'<p class="tl-fine">{head}</p><div class="tl-photos" data-keys>{tiles}</div>'


def _tile(number: int, label: str, picture: str, chosen: bool) -> str:
    name = markup.text(label)
    image = f'<img src="{picture}" alt="" loading="lazy">' if picture else photo_grid.no_picture()
    return (
        f'<button type="button" class="tl-photo" role="checkbox" aria-checked="{str(chosen).lower()}" '
        f'data-pick="example:{number}" aria-label="Example {number + 1}: {name}" '
        f'title="Takes this photo as an example, or takes it out.">{image}<span><b>{name}</b></span></button>'
    )


def card_of(status: Status | None, run: str) -> str:
    """Links, end and count of a demo, or why there is none."""
    if status is None:
        return markup.hint(_IDLE)
    if status.state == "starting":
        return f'<div class="tl-card">{markup.progress(0, 0, f"Starting the demo of run {run}")}</div>'
    if not status.alive:
        kind = "error" if status.state == "failed" else "note"
        said = status.note or "The demo has ended."
        return markup.message(said, kind) + markup.hint(_IDLE)
    public = _link("Public link", status.public) if status.public else ""
    asking = markup.progress(0, 0, "Asking for a public link") if status.sharing else ""
    facts = markup.facts(
        [
            ("Run", run),
            ("Ends", words.moment(status.expires) if status.expires else "when you stop it"),
            ("Questions", f"{status.asked:,}"),
            ("Answered", f"{status.answered:,}"),
        ]
    )
    note = markup.message(status.note) if status.note else ""
    links = (
        f'<div class="tl-links">{public}{_link("Link for this machine", status.local)}{asking}{note}</div>'
    )
    code = (
        f'<div class="tl-code" title="QR code of the public link">{qr(status.public)}</div>' if public else ""
    )
    return f'<div class="tl-card tl-shared"><h3>The demo is running</h3>{links}{code}{facts}</div>'


def public_text(status: Status, run: str) -> str:
    """What the banner says."""
    return (
        f'<p class="tl-public"><b>Public</b> Everyone with the link can ask run {markup.text(run)} about photos, '
        f"until {markup.text(words.moment(status.expires))}. {words.plural(status.asked, 'question')} so far.</p>"
    )


def _link(name: str, address: str) -> str:
    where = markup.text(address)
    return f'<p><span>{name}</span><a href="{where}" target="_blank" rel="noopener">{where}</a></p>'


def qr(address: str) -> str:
    """The address as a picture for phones: dark on light in any theme, or cameras would not read it."""
    import segno

    code = segno.make(address, micro=False, error="m")
    return str(code.svg_inline(scale=4, border=3, dark="#0f141a", light="#ffffff", omitsize=True))
