from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest

from tl_app import resources
from tl_app.errors import ResourceError
from tl_app.serving import rules
from tl_app.ui import app, theme
from tl_app.ui.workspace import Workspace


@pytest.fixture
def page(home: Path) -> gr.Blocks:
    return app.create_app(home / "runs")


def _controls(page: gr.Blocks) -> list[gr.components.Component]:
    """Everything a person can set, type or choose."""
    kinds = (gr.Textbox, gr.Number, gr.Dropdown, gr.Radio, gr.Slider, gr.Checkbox)
    return [block for block in page.blocks.values() if isinstance(block, kinds)]


def test_the_tabs_in_their_order(page: gr.Blocks):
    labels = [block.label for block in page.blocks.values() if isinstance(block, gr.Tab) and block.id]
    assert labels == ["Data", "Train", "Results", "Try it", "Runs", "Export", "Share"]


def test_every_control_has_a_label_and_one_line_of_explanation(page: gr.Blocks):
    controls = _controls(page)
    assert len(controls) > 20
    for control in controls:
        assert control.label, control
        assert control.info and len(control.info) < 140, control.label
        assert control.show_label is not False, control.label
    for file in (block for block in page.blocks.values() if isinstance(block, gr.File)):
        assert file.label


def test_every_button_says_what_it_does(page: gr.Blocks):
    buttons = [
        b for b in page.blocks.values() if isinstance(b, gr.Button | gr.DownloadButton | gr.UploadButton)
    ]
    said = app._TITLES
    assert {button.elem_id for button in buttons} == set(said)
    assert all(text.endswith(".") for text in said.values())


def test_events_are_not_an_api(page: gr.Blocks):
    assert {event.api_visibility for event in page.fns.values()} == {"private"}


def test_nothing_on_the_page_comes_from_the_network(page: gr.Blocks):
    assert app.launch_options(page, rules.local(7860), Workspace())["theme"]._stylesheets == []
    for name in ("style.css", "drop.html", "logo.svg"):
        text = theme.asset(name).replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text and "//" not in text.replace("<!--", ""), name
    for script in resources.assets_dir().glob("*.js"):
        assert "://" not in script.read_text(), script.name


def test_no_script_and_no_style_in_python():
    for module in (Path(app.__file__).parent).glob("*.py"):
        text = module.read_text()
        assert "addEventListener" not in text and "=>" not in text, module.name
        assert "<style" not in text and "<script>" not in text, module.name


def test_handlebars_gets_no_value():
    """What gradio's Handlebars fills into a template is run as JavaScript."""
    for name in ("drop.html",):
        assert "{{" not in theme.asset(name) and "${" not in theme.asset(name)


def test_it_can_be_installed_and_is_served_to_this_machine_only(page: gr.Blocks):
    options = app.launch_options(page, rules.local(7860), Workspace())
    assert options["pwa"] and Path(options["favicon_path"]).is_file()
    assert options["footer_links"] == ["settings"]
    assert options["share"] is False and options["ssr_mode"] is False
    assert "allowed_paths" not in options
    assert app.launch.__kwdefaults__["host"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("Linux", {}, False),
        ("Linux", {"DISPLAY": ":0"}, True),
        ("Linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("Linux", {"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}, False),
        ("Darwin", {}, True),
        ("Darwin", {"SSH_TTY": "/dev/ttys1"}, False),
    ],
)
def test_the_page_opens_by_itself_where_someone_sees_it(
    monkeypatch: pytest.MonkeyPatch, system: str, variables: dict[str, str], expected: bool
):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("platform.system", lambda: system)
    assert app.has_screen() is expected


def test_a_port_in_use_is_said_before_anything_is_built():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"Port {port} .* cannot be used"):
            app.launch(port=port, open_browser=False)


def test_app_py_does_nothing_when_imported():
    done = subprocess.run([sys.executable, "-c", "import app"], cwd=Path(__file__).parents[2], timeout=120)
    assert done.returncode == 0
