"""Cards that answer "why?": what may be asked, what comes back, and a click in a real browser."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from playwright.sync_api import Browser

from tests.conftest import make_photos
from tests.ui.test_browser import _open, serving
from tests.ui.test_browser import browser as browser  # noqa: F401 - a fixture
from tests.ui.test_browser import chromium as chromium  # noqa: F401 - a fixture
from tl_app.api import train
from tl_app.errors import UsageError
from tl_app.ui import try_tab, why
from tl_app.ui.workspace import Workspace

TINY: dict[str, Any] = {"name": "tiny", "backbone": "mobilenet_v3_small", "weights": "random"}


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory, chromium: str, shared: Path) -> Iterator[str]:  # noqa: F811
    """A server that has a run to use."""
    home = tmp_path_factory.mktemp("why-home")
    train(make_photos(home / "photos"), **TINY, epochs=1, image_size=64, runs_dir=home / "runs")
    yield from serving(home, shared)


def _event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def test_a_click_is_answered_and_only_about_cards_that_are_there(home: Path, photos: Path) -> None:
    train(photos, **TINY, epochs=1, image_size=32)
    acts, photo = try_tab._Acts(Workspace(home / "runs")), str(photos / "red" / "00.png")
    seen, made_by = [photo], (try_tab.RUN, "tiny")
    answer = acts.why(seen, made_by, _event(photo=photo, label="blue", turn=7))
    assert (answer["turn"], answer["label"]) == (7, "blue") and "“blue”" in answer["legend"]
    head, _, content = answer["picture"].partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (320, 320)
    other = str(photos / "blue" / "00.png")
    for refused in (({"seen": [], "made_by": made_by}), {"seen": seen, "made_by": None}):
        with pytest.raises(gr.Error, match="not here any more"):
            acts.why(event=_event(photo=photo, label="red", turn=1), **refused)
    with pytest.raises(gr.Error, match="not here any more"):
        acts.why(seen, made_by, _event(photo=other, label="red", turn=1))
    with pytest.raises(gr.Error, match="no class"):
        acts.why(seen, made_by, _event(photo=photo, label="green", turn=1))


def test_odd_events_are_no_questions() -> None:
    for data in (None, "x", {}, {"photo": "a", "label": "b"}, {"photo": "a", "label": "b", "turn": "x"}):
        with pytest.raises(UsageError, match="did not arrive"):
            why.asked(data)


def test_each_failure_is_another() -> None:
    first = why.failed()
    time.sleep(0.01)
    assert first["failed"] and first != why.failed(), "the page hears only of changes"


def test_labels_and_photos_are_escaped() -> None:
    assert 'data-label="&lt;b&gt;&quot;"' in why.button('<b>"', "x", "tl-class")
    assert why.card('a"b') == 'data-photo="a&quot;b"'


@pytest.mark.browser
@pytest.mark.shared
@pytest.mark.xdist_group("browser")
@pytest.mark.timeout(300)
def test_a_card_shows_why_and_the_photo_again(browser: Browser, address: str, photos: Path) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": 375, "height": 812}, has_touch=True)
    visit = _open(context, address)
    page = visit.page
    page.get_by_role("tab", name="Try it").click()
    page.wait_for_function("document.querySelector('#tl-try-used').innerText.includes('Using run tiny')")
    files = sorted(photos.rglob("0[01].png"))[:2]
    page.locator("#tl-drop input[type=file]").set_input_files(files)
    card = page.locator(".tl-cards article").first
    card.get_by_role("button", name="Why?").click()
    card.locator(".tl-why-picture").wait_for()
    first = card.locator(".tl-class").first.get_attribute("data-label")
    assert f"“{first}”" in card.locator("figcaption").inner_text()
    assert card.locator(".tl-why-picture").evaluate("(image) => image.naturalWidth") >= 320
    assert page.locator(".tl-why-picture").count() == 1, "the other card keeps its photo"
    second = card.locator(".tl-class").nth(1)
    second.click()
    label = second.get_attribute("data-label")
    page.wait_for_function(
        "(name) => document.querySelector('figcaption').innerText.includes(name)", arg=label
    )
    assert second.get_attribute("aria-pressed") == "true" and card.locator(".tl-why-picture").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    card.get_by_role("button", name="Photo", exact=True).click()
    assert card.locator(".tl-why-picture").count() == 0 and card.locator("figure img").first.is_visible()
    visit.check()
    context.close()
