"""The app as a whole: the six tabs, what one tab does to another, the clock, and the server around it."""

from __future__ import annotations

import dataclasses
import os
import platform
import threading
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from tl_app import compiler, loading, resources
from tl_app.memory import without_collector
from tl_app.serving.guard import Guard
from tl_app.serving.kept_page import KeptPage
from tl_app.serving.rules import Rules
from tl_app.ui import (
    access,
    data_tab,
    diagnosis_card,
    export_tab,
    first_answer,
    open_model,
    preset_bar,
    preview,
    questions,
    rate_card,
    results_tab,
    runs_tab,
    share_tab,
    smaller_card,
    storage,
    theme,
    train_tab,
    try_tab,
    worth_card,
)
from tl_app.ui.blocks import html
from tl_app.ui.data_tab import DataTab
from tl_app.ui.export_tab import ExportTab
from tl_app.ui.results_tab import ResultsTab
from tl_app.ui.runs_tab import RunsTab
from tl_app.ui.share_tab import ShareTab
from tl_app.ui.storage import Storage
from tl_app.ui.strip import HEAD_FIELDS
from tl_app.ui.toasts import toasts
from tl_app.ui.train_tab import TrainTab
from tl_app.ui.try_tab import TryTab
from tl_app.ui.workspace import Workspace

_TITLE = "tl-app"
_TICK_SECONDS = 1.0
_TITLES = {
    **data_tab.TITLES,
    **train_tab.TITLES,
    **preset_bar.TITLES,
    **rate_card.TITLES,
    **preview.TITLES,
    **results_tab.TITLES,
    **try_tab.TITLES,
    **runs_tab.TITLES,
    **share_tab.TITLES,
    **worth_card.TITLES,
    **export_tab.TITLES,
    **storage.TITLES,
}


def create_app(runs_dir: Path | None = None) -> gr.Blocks:
    """The page with all its tabs, not yet served.

    Args:
        runs_dir: Where runs are kept; None for the user's own place.
    """
    return _create(Workspace(runs_dir))[0]


def launch(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    runs_dir: Path | None = None,
    open_browser: bool = True,
    data: str | None = None,
    token: str | None = None,
    auth: Iterable[str] = (),
    allowed_hosts: Iterable[str] = (),
    data_roots: Sequence[str | Path] = (),
) -> None:
    """Serves the app until it is interrupted.

    Args:
        host: Address to listen on; the default can be reached from this machine only.
        port: Port to listen on; 0 for a free one.
        runs_dir: Where runs are kept; None for the user's own place.
        open_browser: Opens the page by itself where there is a screen to open it on.
        data: A folder or zip of photos to begin with.
        token: What opens the page on this machine; None makes one. ``$TL_APP_TOKEN`` sets it as well.
        auth: Logins as ``USER:PASSWORD``, for a page that other machines can reach. ``$TL_APP_AUTH`` as well.
        allowed_hosts: Names beside this machine's own that the page may be asked for by, such as a proxy's.
        data_roots: Folders that photos may come from. When other machines can reach the page and there are none, photos
            come from uploads and the sample alone.

    Raises:
        ResourceError: The port is taken.
        UsageError: Other machines could reach the page, and there is no login.
        DataError: ``data`` cannot be used.
    """
    compiler.load_later()
    port = access.usable_port(host, port)
    _own_temp_folder()
    rules = access.rules_for(host, port, token=token, auth=auth, allowed_hosts=allowed_hosts)
    roots = None if rules.mode == "local" and not data_roots else access.roots(data_roots, data)
    work = Workspace(runs_dir, roots)
    if data is not None:
        work.scan(str(Path(data).expanduser()))
    with without_collector():
        demo, complete = _create(work)
    access.trust_own_address()
    loading.announce()
    demo.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        **launch_options(demo, rules, work),
    )
    loading.in_background(complete)
    url = access.link(host, rules)
    print(f"tl-app is running at {url} (Ctrl+C ends it)", flush=True)
    if open_browser and has_screen():
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    try:
        demo.block_thread()
    finally:
        work.close()


def launch_options(page: gr.Blocks, rules: Rules, work: Workspace) -> dict[str, Any]:
    """What ``Blocks.launch`` is given besides the address.

    Args:
        page: What is launched; a visitor is sent it as its ``config`` says it.
        rules: Who may ask for what.
        work: The app's memory.
    """
    routes = theme.routes() + questions.routes(work)
    rules = dataclasses.replace(rules, routes=frozenset(route.path for route in routes))
    middleware = [Middleware(Guard, rules=rules), Middleware(KeptPage, version=lambda: page.config)]
    return {
        "theme": theme.theme(),
        "css_paths": [theme.style_sheet()],
        "favicon_path": str(theme.icon()),
        "pwa": True,
        "footer_links": ["settings"],
        "run_history": False,
        "ssr_mode": False,
        "share": False,
        "show_error": True,
        "enable_monitoring": False,
        "mcp_server": False,
        "app_kwargs": {"routes": routes, "middleware": middleware},
    }


def has_screen() -> bool:
    """Whether a browser opened here would be seen by whoever started the app."""
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY") or os.environ.get("CI"):
        return False
    if platform.system() == "Linux":
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def _create(work: Workspace) -> tuple[gr.Blocks, Callable[[], None]]:
    """The page, and what completes it for later visitors once the catalogue is loaded."""
    _own_temp_folder()
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as demo:
        public = share_tab.banner()
        html(_header(), elem_id="tl-header")
        with gr.Tabs(selected="data", elem_id="tl-tabs") as tabs:
            with gr.Tab("Data", id="data"):
                data = data_tab.build(work)
            with gr.Tab("Train", id="train") as train_page:
                train = train_tab.build(work, data.source, data.quick_start, data.quick_why)
            with gr.Tab("Results", id="results") as results_page:
                results = results_tab.build(work, [results_page.select])
            with gr.Tab("Try it", id="try") as try_page:
                trial = try_tab.build(work)
            with gr.Tab("Runs", id="runs") as runs_page:
                stored = runs_tab.build(work)
                weighing = worth_card.lay_out()
                kept = storage.build()
            with gr.Tab("Export", id="export") as export_page:
                exports = export_tab.build(work, [export_page.select])
            with gr.Tab("Share", id="share") as share_page:
                share = share_tab.build(work, public)
        _explain_buttons()
        clock = gr.Timer(_TICK_SECONDS)
        _wire_photos(data, train, tabs)
        _wire_sources(train, train_page)
        _wire_clock(demo, clock, data, train, share, tabs)
        share_page.select(share.acts.list_runs, share.chosen, share.run, queue=False, show_progress="hidden")
        _wire_trial(train, trial, stored, tabs, try_page)
        filled = open_model.bind(trial.opened, work, data.source, train.settings.all)
        filled.success(_go_to("train"), None, tabs, queue=False, show_progress="hidden")
        _wire_results(train, results, stored, tabs)
        _wire_runs(data, train, stored, kept, tabs, runs_page)
        _wire_remedies(data, train, stored, tabs)
        _wire_exports(data, train, exports, stored, tabs)
        study = worth_card.bind(weighing, work, data.source, train.settings.form)
        runs_page.select(study.draw, None, weighing.shown, queue=False, show_progress="hidden")
    for event in (
        demo.fns.values()
    ):  # of this page, not of a public API: the page is a third lighter without its manual
        event.api_visibility = "private"
    # Ticks and sliders do not queue; scans, downloads and predictions do, several side by side, and have to.
    demo.queue(default_concurrency_limit=8, max_size=64, api_open=False)

    def complete() -> None:
        train.settings.complete()
        demo.config = demo.get_config_file()  # what new visitors are sent

    return demo, complete


def _own_temp_folder() -> None:
    # The system's temporary folder is shared, and another user's gradio may own it. Not a cache: what was uploaded
    # cannot be made again.
    os.environ["GRADIO_TEMP_DIR"] = str(resources.home_dir() / "page")


def _header() -> str:
    return (
        f'<header class="tl-header">{theme.asset("logo.svg")}<div><h1>{_TITLE}</h1>'
        "<p>Turn a folder of labelled photos into a classifier you can trust.</p></div></header>"
    )


def _explain_buttons() -> None:
    gr.HTML(
        html_template="<span hidden></span>",
        js_on_load=theme.script("titles"),
        apply_default_css=False,
        elem_id="tl-titles",
        titles=_TITLES,
    )


def _wire_photos(data: DataTab, train: TrainTab, tabs: gr.Tabs) -> None:
    """Photos chosen on the Data tab reach the form, and two clicks are enough to train."""
    form, told_of = train.settings.form, train.settings.acts.photos_chosen
    network, answer = [data.source, *(form[name] for name in ("backbone", *HEAD_FIELDS))], data.answer
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    asked = {"inputs": data.source, "inputs_kwargs": {name: form[name] for name in first_answer.FIELDS}}
    for chosen in data.scan:
        # Side by side: Start is ready, and the first answer begins, whether the catalogue is there or not.
        chosen.success(train.acts.redraw, data.source, train.live, **quiet)
        chosen.success(answer.acts.photos_chosen, outputs=answer.shown, **asked, **quiet)
        chosen.success(told_of, network, train.settings.photos, **quiet)
    data.to_train.click(_go_to("train"), None, tabs, queue=False, show_progress="hidden")
    started = data.quick_start.click(
        train.acts.start, [data.source, train.settings.run_name], train.live, inputs_kwargs=form
    )
    started.success(_go_to("train"), None, tabs, show_progress="hidden")
    answer.ask.click(answer.acts.ask, outputs=answer.shown, **asked, **quiet)
    answer.stop.click(answer.acts.stop, data.source, answer.shown, **quiet)


def _wire_sources(train: TrainTab, page: gr.Tab) -> None:
    """Runs that ended meanwhile can be started from."""
    form = train.settings.form
    listed = train.settings.acts.list_weights
    page.select(listed, form["backbone"], form["weights"], queue=False, show_progress="hidden")


def _wire_clock(
    demo: gr.Blocks, clock: gr.Timer, data: DataTab, train: TrainTab, share: ShareTab, tabs: gr.Tabs
) -> None:
    """Once a second what moved; everything at once for a page that was just opened."""
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    answer, form = data.answer, train.settings.form

    def tick(run_seen: Any, answer_seen: Any, share_seen: Any, source: str) -> Any:
        run, first = train.acts.tick(run_seen, source), answer.acts.tick(answer_seen, source)
        shared = share.acts.tick(share_seen)
        if run is None and first is None and shared is None:
            return gr.skip()
        parts = ((run, train.live), (first, answer.shown), (shared, share.shown))
        return [value for moved, outputs in parts for value in (moved or _skips(outputs))]

    asked_by_clock = [train.seen, answer.seen, share.seen, data.source]
    clock.tick(tick, asked_by_clock, [*train.live, *answer.shown, *share.shown], **quiet)
    demo.load(share.acts.redraw, None, share.shown, **quiet)
    # The running run first: it does not wait for the thumbnails of the photos.
    demo.load(train.acts.redraw, data.source, train.live, **quiet)
    demo.load(rate_card.Acts(train.acts.work).draw, None, train.rates.shown, **quiet)
    demo.load(
        lambda: gr.Tabs(selected="train") if train.acts.work.running() else gr.skip(), None, tabs, **quiet
    )
    restored = demo.load(data.fill, None, data.chosen, **quiet)
    restored.then(train.acts.redraw, data.source, train.live, **quiet)
    restored.then(train.settings.acts.restore, data.source, train.settings.all, **quiet)
    asked = {name: form[name] for name in first_answer.FIELDS}
    restored.then(answer.acts.restore, data.source, answer.shown, inputs_kwargs=asked, **quiet)


def _wire_trial(train: TrainTab, trial: TryTab, stored: RunsTab, tabs: gr.Tabs, page: gr.Tab) -> None:
    """Ways to the Try it tab: its own, from the run just trained, from the list of runs."""
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    page.select(trial.acts.refresh, [trial.kind, trial.name], trial.model, **quiet)
    asked = train.try_it.click(lambda: trial.acts.use_run(train.acts.best_run()), None, trial.model, **quiet)
    asked.success(_go_to("try"), None, tabs, **quiet).then(trial.acts.again, trial.asked, trial.shown)
    used = stored.use.click(trial.acts.use_run, stored.open_name, trial.model, **quiet)
    used.success(_go_to("try"), None, tabs, **quiet).then(trial.acts.again, trial.asked, trial.shown)


def _wire_results(train: TrainTab, results: ResultsTab, stored: RunsTab, tabs: gr.Tabs) -> None:
    """Ways to the Results tab beside its own: from the run just trained, from the list of runs."""
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    point_at, run = results.acts.point_at, results.run
    trained = train.results.click(lambda: point_at(train.acts.best_run()), None, run, **quiet)
    trained.success(_go_to("results"), None, tabs, **quiet)
    listed = stored.results.click(point_at, stored.open_name, run, **quiet)
    listed.success(_go_to("results"), None, tabs, **quiet)


def _wire_runs(
    data: DataTab, train: TrainTab, stored: RunsTab, kept: Storage, tabs: gr.Tabs, page: gr.Tab
) -> None:
    """The list of runs and what is stored are read when their tab opens; resuming goes on at the Train tab."""
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    page.select(stored.acts.refresh, stored.known, stored.listed, **quiet)
    page.select(storage.show, None, kept.shown, **quiet)

    @toasts
    def resume(name: str, source: str) -> tuple[Any, ...]:
        return train.acts.resume_run(runs_tab.checked(name), source)

    resumed = stored.resume.click(resume, [stored.open_name, data.source], train.live, show_progress="hidden")
    resumed.success(_go_to("train"), None, tabs, show_progress="hidden")

    @toasts
    def go_on(name: str, source: str, epochs: float | None) -> tuple[Any, ...]:
        return train.acts.extend_run(runs_tab.checked(name), source, epochs, 0)

    @toasts
    def unfreeze(name: str, source: str, epochs: float | None) -> tuple[Any, ...]:
        return train.acts.extend_run(runs_tab.checked(name), source, epochs, 1)

    asked = [stored.open_name, data.source, stored.more.epochs]
    for button, act in ((stored.more.go_on, go_on), (stored.more.unfreeze, unfreeze)):
        extended = button.click(act, asked, train.live, show_progress="hidden")
        extended.success(_go_to("train"), None, tabs, show_progress="hidden")


def _wire_remedies(data: DataTab, train: TrainTab, stored: RunsTab, tabs: gr.Tabs) -> None:
    """A remedy of the opened run's diagnosis goes into the form, with the run's other settings."""

    @toasts
    def fill(name: str, source: str, event: gr.EventData) -> tuple[Any, ...]:
        code = str((event._data or {}).get("name", ""))
        return diagnosis_card.fill(train.acts.work, runs_tab.checked(name), code, source)

    asked = [stored.open_name, data.source]
    filled = stored.diagnosis.select(fill, asked, train.settings.all, show_progress="hidden")
    filled.success(_go_to("train"), None, tabs, queue=False, show_progress="hidden")


def _wire_exports(data: DataTab, train: TrainTab, exports: ExportTab, stored: RunsTab, tabs: gr.Tabs) -> None:
    """From the list of runs to its exports, and from a run to the form for a smaller copy of it."""
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    listed = stored.export.click(exports.acts.point_at, stored.open_name, exports.run, **quiet)
    listed.success(_go_to("export"), None, tabs, **quiet)

    @toasts
    def fill(run: str | None, backbone: str | None) -> tuple[Any, ...]:
        return smaller_card.fill(train.acts.work, run, backbone)

    smaller = exports.smaller
    filled = smaller.fill.click(
        fill, [exports.run, smaller.backbone], train.settings.all, show_progress="hidden"
    )
    filled.success(_go_to("train"), None, tabs, **quiet)


def _skips(outputs: list[Any]) -> list[Any]:
    return [gr.skip()] * len(outputs)


def _go_to(tab: str) -> Any:
    return lambda: gr.Tabs(selected=tab)
