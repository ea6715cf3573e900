"""The Share tab: what it starts and shows; and in a browser from Start to the demo's answer and to the end."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser

from tests.conftest import make_photos
from tests.synthetic_runs import make_run
from tests.ui.test_browser import _open, serving
from tests.ui.test_browser import browser as browser  # noqa: F401 - a fixture
from tests.ui.test_browser import chromium as chromium  # noqa: F401 - a fixture
from tl_app.demo.protocol import Settings, Status
from tl_app.ui import share_tab, sharing
from tl_app.ui.workspace import Workspace

LOCAL, PUBLIC = "http://127.0.0.1:5000/", "https://abc.gradio.live"


class Told:
    """Stands for a demo's process."""

    def __init__(self, settings: Settings, heard: Callable[[Status], None]) -> None:
        self.settings, self.heard, self.status = settings, heard, Status()

    def say(self, status: Status) -> None:
        self.status = status
        self.heard(status)

    def stop(self) -> None:
        self.say(Status("ended", LOCAL))


@pytest.fixture
def acts(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[share_tab.Acts]:
    monkeypatch.setattr(sharing, "Demo", Told)
    make_run(home / "runs", "tiny", photos)
    acts = share_tab.Acts(Workspace(home / "runs"))
    yield acts
    acts.work.sharer.stop()


def _start(acts: share_tab.Acts, **more: Any) -> tuple[Any, ...]:
    values = {
        "title": "",
        "public": True,
        "hours": 24.0,
        "user": "",
        "password": "",
        "picked": [0],
        "own": None,
    }
    return acts.start("tiny", **{**values, **more})


def _demo(acts: share_tab.Acts) -> Told:
    demo: Any = acts.work.sharer._demo
    return demo


def test_runs_and_their_photos_are_offered(acts: share_tab.Acts) -> None:
    assert acts.list_runs(None)["value"] == "tiny"
    picked, grid = acts.offer("tiny")
    assert picked == [], "nobody sees a photo that its owner did not choose"
    assert 'aria-checked="true"' not in grid and grid.count("data-pick") == 4 and "data:image/jpeg" in grid
    event: Any = SimpleNamespace(_data={"pick": "example:2"})
    more, grid = acts.pick("tiny", picked, event)
    assert more == [2] and grid.count('aria-checked="true"') == 1 and "1 of at most" in grid
    assert acts.pick("tiny", more, event)[0] == picked
    for odd in ({"pick": "example:99"}, {"pick": "photo:0"}, None):
        assert acts.pick("tiny", picked, SimpleNamespace(_data=odd))[0] == gr.skip()  # type: ignore[arg-type]
    assert acts.offer(None)[0] == []


def test_a_demo_is_started_with_what_was_asked(acts: share_tab.Acts, photos: Path) -> None:
    own = str(photos / "red" / "00.png")
    shown = _start(acts, title=" Red? ", user="ann", password="secret", own=[own, "/nowhere.png"])
    settings = _demo(acts).settings
    assert (
        settings.share and settings.hours == 24 and settings.title == "Red?" and settings.password == "secret"
    )
    assert len(settings.examples) == 2 and settings.examples[-1] == own
    assert settings.run == str((acts.work.runs_dir / "tiny").resolve())
    assert "Starting the demo" in shown[1] and shown[-1] == "", "the password does not stay in the page"
    assert not shown[2]["interactive"] and shown[3]["interactive"]


def test_links_count_and_banner_follow_the_demo(acts: share_tab.Acts) -> None:
    seen = _start(acts)[0]
    assert acts.tick(seen) is None
    _demo(acts).say(Status("ready", LOCAL, sharing=True))
    seen, card, _, _, banner, text = acts.tick(seen) or ()
    assert LOCAL in card and "Asking for a public link" in card and not banner["visible"] and text == ""
    _demo(acts).say(
        Status("ready", LOCAL, PUBLIC, expires="2026-11-24T04:58:00+00:00", asked=1234, answered=1200)
    )
    seen, card, _, _, banner, text = acts.tick(seen) or ()
    assert PUBLIC in card and "<svg" in card and "1,234" in card and "24 Nov 2026" in card
    assert banner["visible"] and "Public" in text and "1,234 questions" in text
    assert acts.redraw()[1] == card, "a page that is opened later shows the same"
    _, card, start, stop, banner, text = acts.stop()
    assert not banner["visible"] and PUBLIC not in card and start["interactive"] and not stop["interactive"]


def test_what_went_wrong_is_said_and_the_local_link_stays(acts: share_tab.Acts) -> None:
    _start(acts)
    _demo(acts).say(Status("ready", LOCAL, note="Gradio's share server cannot be reached from here."))
    card, banner = acts.redraw()[1], acts.redraw()[4]
    assert "cannot be reached" in card and LOCAL in card and not banner["visible"]
    with pytest.raises(gr.Error, match="running already"):
        _start(acts)
    _demo(acts).say(Status("failed", note="Run <b> has no finished epoch yet.", exit_code=2))
    assert "Run &lt;b&gt; has no finished epoch" in acts.redraw()[1]
    _start(acts)
    for wrong in ({"user": "ann"}, {"password": "x"}):
        with pytest.raises(gr.Error, match="go together"):
            _start(acts, **wrong)
    with pytest.raises(gr.Error, match="no run to share"):
        acts.start(None, "", False, 1.0, "", "", [], None)


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[str]:  # noqa: F811
    """A server that has a run to share."""
    home = tmp_path_factory.mktemp("share-home")
    make_run(home / "runs", "tiny", make_photos(home / "photos"))
    yield from serving(home, home)


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
@pytest.mark.timeout(300)
def test_a_demo_from_the_share_tab_to_its_answers(
    browser: Browser,  # noqa: F811
    address: str,
    photos: Path,
    tmp_path: Path,
) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    visit = _open(context, address)
    owner = visit.page
    owner.get_by_role("tab", name="Share").click()
    owner.locator("#tl-share-photos [data-pick]").first.click()
    owner.locator("#tl-share-photos [aria-checked=true]").first.wait_for()
    owner.locator("#tl-share-start").click()
    link = owner.locator("#tl-share-card a").first
    link.wait_for(timeout=90_000)
    local = str(link.get_attribute("href"))
    phone = browser.new_context(viewport={"width": 375, "height": 812}, accept_downloads=True)
    visitor = phone.new_page()
    visitor.goto(local)
    visitor.locator(".tl-examples button").first.click()
    visitor.locator("#tl-one .tl-why-ask").first.wait_for()
    visitor.locator("#tl-one input[type=file]").set_input_files(photos / "red" / "00.png")
    visitor.wait_for_function("document.querySelectorAll('#tl-one .tl-why-ask').length == 2")
    card = visitor.locator("#tl-one article").first
    assert card.locator(".tl-class").first.get_attribute("data-label") in ("red", "blue")
    card.locator(".tl-why-ask").click()
    card.locator(".tl-why-picture").wait_for()
    visitor.get_by_role("tab", name="Many photos").click()
    text = tmp_path / "=no photo.txt"
    text.write_text("words")
    visitor.locator("#tl-many input[type=file]").set_input_files([photos / "red" / "01.png", text])
    visitor.wait_for_function("document.querySelector('#tl-many .tl-drop-note').innerText.includes('done')")
    with visitor.expect_download() as saved:
        visitor.get_by_role("button", name="Download CSV").click()
    head, first, second = saved.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert head == '"photo","class","confidence","note"'
    assert re.fullmatch(r'"01.png","(red|blue)","0\.\d+",".*"', first) and second.startswith(
        '"\'=no photo.txt","",""'
    )
    assert visitor.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    owner.wait_for_function(r"/Questions\s+5\b/.test(document.querySelector('#tl-share-card').innerText)")
    owner.reload()
    owner.get_by_role("tab", name="Share").click()
    owner.locator(f'#tl-share-card a[href="{local}"]').wait_for()
    assert not owner.locator("#tl-public").is_visible(), "only this machine can reach it"
    owner.locator("#tl-share-stop").click()
    owner.wait_for_function("document.querySelector('#tl-share-card').innerText.includes('has ended')")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(local.rstrip("/").rpartition(":")[2]))), (
            "nobody answers there"
        )
    visit.check()
    context.close()
    phone.close()
