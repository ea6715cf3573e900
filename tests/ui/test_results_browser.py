"""The Results tab in a real browser: a cell of the matrix, by mouse and by keys, shows the photos it counts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.synthetic_runs import make_many_photos, make_run
from tests.ui.test_browser import TOKEN, _open, _wait_until_up, browser, chromium  # noqa: F401
from tl_app.analysis.answers import answers_of

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[tuple[str, Path]]:  # noqa: F811
    """A server with one finished run, and where that run is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("results-home")
    photos = make_many_photos(home / "photos", classes=3, per_class=20)
    run = make_run(home / "runs", "three", photos, wrong=0.3).path
    code = f"from tl_app.ui.app import launch; launch(port={port}, open_browser=False)"
    env = os.environ | {"TL_APP_HOME": str(home), "OMP_NUM_THREADS": "1", "TL_APP_TOKEN": TOKEN}
    with open(home / "server.log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=log, stderr=log)
        try:
            yield _wait_until_up(f"http://127.0.0.1:{port}/", process, home / "server.log"), run
        finally:
            process.terminate()
            process.wait(30)
    assert "Traceback" not in (home / "server.log").read_text(), (home / "server.log").read_text()[-3000:]


def _titles(page: Page) -> set[str]:
    return {
        photo.get_attribute("title") or "" for photo in page.locator("#tl-confusion-photos .tl-photo").all()
    }


def test_a_cell_shows_its_photos_and_a_photo_opens(
    server: tuple[str, Path],
    browser: Browser,  # noqa: F811
) -> None:
    from tl_app import runs

    address, run = server
    answers = answers_of(runs.open_run(run, run.parent))
    said = answers.logits.argmax(1)
    true, wrong = next((t, s) for t, s in zip(answers.labels, said, strict=True) if t != s)

    def photos_of(one: int, other: int) -> set[str]:
        pairs = zip(answers.paths, answers.labels, said, strict=True)
        return {path for path, label, answer in pairs if (label, answer) == (one, other)}

    visit = _open(browser.new_context(viewport={"width": 375, "height": 800}), address)
    page = visit.page
    page.get_by_role("tab", name="Results").click()
    page.locator("#tl-headline").get_by_text("on 12 validation photos").wait_for()
    page.get_by_role("tab", name="Confusions").click()
    page.locator(f"#tl-confusion-matrix [data-pick='cell:{true},{wrong}']").click()
    page.locator("#tl-confusion-photos .tl-photo").first.wait_for()
    assert _titles(page) == photos_of(true, wrong)

    # The same with keys alone: Tab reaches the matrix once, arrows move in it.
    matrix = page.locator("#tl-confusion-matrix")
    assert matrix.locator("button[tabindex='0']").count() == 1
    matrix.locator("button[tabindex='0']").focus()
    page.keyboard.press("ArrowLeft" if true < wrong else "ArrowRight")
    focused = page.evaluate("document.activeElement.dataset.pick")
    assert focused != f"cell:{true},{wrong}"
    page.keyboard.press("Enter")
    one, other = (int(number) for number in focused.removeprefix("cell:").split(","))
    first = answers.paths.index(sorted(photos_of(one, other))[0])
    page.locator(f"#tl-confusion-photos [data-pick='photo:{first}']").wait_for()
    assert _titles(page) == photos_of(one, other)

    page.locator(f"#tl-confusion-photos [data-pick='photo:{first}']").click()
    page.locator("#tl-photo-card").get_by_text(answers.paths[first]).wait_for()
    page.locator("#tl-photo-why img").first.wait_for()
    page.locator("#tl-photo-nearest .tl-photo").nth(5).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375, "something is cut off"
    visit.check()


def test_the_last_choice_is_what_is_shown_in_the_end(
    server: tuple[str, Path],
    browser: Browser,  # noqa: F811
) -> None:
    visit = _open(browser.new_context(viewport={"width": 1200, "height": 900}), server[0])
    page = visit.page
    page.set_default_timeout(20_000)
    page.get_by_role("tab", name="Results").click()
    page.locator("#tl-headline").get_by_text("on 12 validation photos").wait_for()
    page.get_by_role("tab", name="Mistakes").click()
    page.locator("#tl-mistakes-order").get_by_text("Least sure first").click()
    photos = page.locator("#tl-mistakes-photos .tl-photo")
    page.locator("#tl-mistakes-photos").get_by_text("12 photos, right or wrong").wait_for()
    # Each of these is picked while what was picked before is still being explained.
    for number in (0, 1, 2):
        photos.nth(number).click()
    last = photos.nth(2)
    page.locator("#tl-photo-card").get_by_text(last.get_attribute("title") or "").wait_for()
    number = (last.get_attribute("data-pick") or "").removeprefix("photo:")
    page.locator(f"#tl-photo-why [data-of*='] {number} class']").wait_for()

    page.locator("#tl-results-split").get_by_text("Training").click()
    page.locator("#tl-headline").get_by_text("on 48 training photos").wait_for(state="attached")
    assert page.locator("#tl-results-split input:checked").get_attribute("value") == "train"
    page.locator("#tl-photo-panel").wait_for(state="hidden")
    # Back and forth, faster than it is drawn.
    for name in ("Validation", "Training", "Validation"):
        page.locator("#tl-results-split").get_by_text(name).click()
    page.locator("#tl-headline").get_by_text("on 12 validation photos").wait_for(state="attached")
    page.wait_for_timeout(1500)
    assert page.locator("#tl-headline").get_by_text("on 12 validation photos").count() == 1
    assert page.locator("#tl-results-split input:checked").get_attribute("value") == "val"

    page.get_by_role("tab", name="Map").click()
    page.locator("#tl-map-colour").get_by_text("Right or wrong").click()
    page.locator("#tl-map").get_by_text("right (").wait_for()
    page.locator("#tl-make-report").click()
    page.get_by_text("Download the report of three").wait_for()
    page.locator("#tl-results-again").click()
    page.wait_for_timeout(1000)
    assert page.get_by_text("Download the report of three").is_visible(), (
        "it is of the run that is shown still"
    )
    visit.check()
