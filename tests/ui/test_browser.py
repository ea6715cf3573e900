"""The whole flow in a real browser: choose photos, train, watch, reload, stop, resume, try."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.conftest import SHARED
from tl_app.ui import train_tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(300),
]

PHOTOS = SHARED / "data" / "hymenoptera"
ANT = PHOTOS / "val" / "ants" / "10308379_1b6c72e180.jpg"
BEE = PHOTOS / "val" / "bees" / "10870992_eebeeb3a12.jpg"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "known-to-the-test"
POINTS = "document.querySelector('#tl-curves .tl-plot')?.data?.[0]?.x?.length ?? 0"
RANGE = "document.querySelector('#tl-curves .tl-plot')._fullLayout.xaxis.range"
# Counts every svg that comes or goes in the figure from now on.
COUNT_REBUILDS = """() => {
  const isFigure = (node) => node.nodeName.toLowerCase() === "svg" ||
    node.classList?.contains("tl-plot") || node.querySelector?.("svg.main-svg");
  window.rebuilds = 0;
  new MutationObserver((changes) => changes.forEach((change) => {
    window.rebuilds += [...change.addedNodes, ...change.removedNodes].filter(isFigure).length;
  })).observe(document.querySelector("#tl-curves"), { childList: true, subtree: true });
}"""


@dataclass
class Visit:
    """A page and everything it did that it should not have."""

    page: Page
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def check(self) -> None:
        assert self.foreign == [], "the page asked another host"
        assert self.errors == [], "the page put errors on the console"


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have Chromium: .ci/run installs it")
        pytest.skip("there is no Chromium on this machine")
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, chromium: str, shared: Path) -> Iterator[str]:
    """A server of its own, with a home folder of its own."""
    yield from serving(tmp_path_factory.mktemp("browser-home"), shared)


def serving(home: Path, shared: Path) -> Iterator[str]:
    """A server with that home folder, until the caller is done with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "TL_APP_HOME": str(home),
        "TORCH_HOME": str(shared / "weights"),
        "OMP_NUM_THREADS": "1",
        "TL_APP_TOKEN": TOKEN,
    }
    code = f"from tl_app.ui.app import launch; launch(port={port}, open_browser=False)"
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=log, stderr=log)
        try:
            yield _wait_until_up(f"http://127.0.0.1:{port}/", server, home / "server.log")
        finally:
            server.terminate()
            server.wait(30)
    assert "Traceback" not in (home / "server.log").read_text(), (home / "server.log").read_text()[-3000:]


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
            with urllib.request.urlopen(request, timeout=2):
                return url
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"the server did not come up: {log.read_text()}")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


def _to(page: Page, tab: str) -> None:
    """Opens a tab, where there is no room for its name from the menu beside the others."""
    named = page.get_by_role("tab", name=tab, exact=True)
    if not named.is_visible():
        page.locator("#tl-tabs .overflow-menu > button").first.click()
        named = page.locator("#tl-tabs .overflow-dropdown button", has_text=tab)
    named.click()


def _open(context: BrowserContext, address: str) -> Visit:
    page = context.new_page()
    page.set_default_timeout(60_000)
    visit = Visit(page)
    host = address.removeprefix("http://").rstrip("/")
    page.on("request", lambda r: _is_foreign(r.url, host) and visit.foreign.append(r.url))
    page.on("console", lambda m: m.type == "error" and visit.errors.append(m.text))
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.goto(f"{address}?token={TOKEN}")
    assert page.url == address, "the token stays in no history"
    page.get_by_role("tab", name="Data").wait_for()
    return visit


def _is_foreign(url: str, host: str) -> bool:
    return not url.startswith((f"http://{host}/", "data:", "blob:"))


def test_the_whole_flow(browser: Browser, address: str, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    visit = _open(context, address)
    page = visit.page
    _choose_photos(page)
    _set_up(page)
    page.locator("#tl-start").click()
    _curves_move(page)
    _zoom_stays(page)
    _reload_finds_the_run(page, address)
    _second_browser_finds_it(browser, address)
    _stop_and_resume(page)
    _stop(page)  # after an epoch at least, so that there is a model to try
    page.wait_for_function("!document.querySelector('#tl-start').disabled")
    _try_photos(page)
    _try_odd_files(page, tmp_path)
    _look_at_the_run(page)
    visit.check()
    context.close()


def _choose_photos(page: Page) -> None:
    box = page.locator("#tl-path input")
    box.click()
    box.press_sequentially(f"{PHOTOS.parent}/hym")
    page.get_by_role("option", name=f"{PHOTOS}/").wait_for()
    box.press("Tab")
    assert box.input_value() == f"{PHOTOS}/"
    page.locator("#tl-scan").click()
    page.locator("#tl-quick-start").wait_for()
    assert "153" in page.locator("#tl-data-summary").inner_text()
    page.locator("#tl-counts svg.main-svg").first.wait_for()
    assert page.locator("#tl-thumbnails img").count() == 16
    page.locator("#tl-to-train").click()
    page.locator("#tl-field-freeze").wait_for()


def _set_up(page: Page) -> None:
    assert page.locator("#tl-start").is_enabled()
    page.wait_for_function("document.querySelector('.tl-strip-text').innerText.includes('Only the head')")
    page.locator(".tl-stage").nth(6).click()  # frozen: lets it and everything after it be trained
    page.wait_for_function("document.querySelector('.tl-strip-text').innerText.includes('6 of 9 stages')")
    page.wait_for_function("document.querySelector('#tl-field-recipe input:checked').value === 'partial'")
    page.locator("#tl-field-recipe").get_by_text("Head only").click()
    page.wait_for_function("document.querySelector('.tl-strip-text').innerText.includes('Only the head')")
    assert page.locator("#tl-field-freeze input[type=range]").input_value() == "9"
    page.locator("#tl-field-epochs input").fill("300")  # it must still be training when it is stopped
    page.get_by_role("button", name="Advanced settings").click()
    for title in ("Photos", "Machine"):
        page.locator("#tl-advanced").get_by_role("button", name=title).click()
    page.locator("#tl-field-image_size input").fill("128")  # keeps the test short
    page.locator("#tl-field-cache input").click()  # from cached activations it would be over in no time
    page.get_by_role("option", name="Off").click()
    page.locator("#tl-run-name input").fill("ants and bees")


def _curves_move(page: Page) -> None:
    page.locator("#tl-curves svg.main-svg").first.wait_for()
    page.wait_for_function(f"({POINTS}) > 2")
    before = page.evaluate(POINTS)
    page.wait_for_function(f"({POINTS}) > {before}")
    page.wait_for_selector(".tl-run .tl-badge.tl-running")
    assert "Epoch" in page.locator(".tl-run .tl-progress-text").inner_text()


def _zoom_stays(page: Page) -> None:
    page.evaluate(COUNT_REBUILDS)
    page.locator("#tl-curves").scroll_into_view_if_needed()
    area = page.locator("#tl-curves .nsewdrag[data-subplot='xy']").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] * 0.2, area["y"] + area["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + area["height"] * 0.5, steps=5)
    page.mouse.up()
    # Plotly puts its zoom outline into the svg and takes it out; count from when that is over.
    page.wait_for_timeout(600)
    page.evaluate("window.rebuilds = 0")
    zoomed, points = page.evaluate(RANGE), page.evaluate(POINTS)
    assert zoomed[0] > 0, "dragging over the plot zooms in"
    page.wait_for_function(f"({POINTS}) > {points}")
    points = page.evaluate(POINTS)
    page.wait_for_function(f"({POINTS}) > {points}")
    assert page.evaluate(RANGE) == zoomed, "an update lost the zoom"
    assert page.evaluate("window.rebuilds") == 0, "an update rebuilt the figure"


def _reload_finds_the_run(page: Page, address: str) -> None:
    seconds = min(_reload(page, address) for _ in range(3))
    print(f"curves back {seconds:.2f} s after a reload")
    # Two seconds is the promise; a machine that others keep busy as well gets more.
    busy = os.name == "posix" and os.getloadavg()[0] > (os.cpu_count() or 1)
    assert seconds < (6.0 if busy else 2.0)
    assert page.locator("#tl-start").is_disabled()
    page.wait_for_function("document.querySelector('#tl-why').innerText.includes('ants and bees')")
    page.wait_for_function("document.querySelector('#tl-field-epochs input').value === '300'")


def _reload(page: Page, address: str) -> float:
    before = page.evaluate(POINTS)
    started = time.monotonic()
    page.goto(address)
    page.wait_for_function(f"({POINTS}) >= {before}")
    return time.monotonic() - started


def _second_browser_finds_it(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 812}, has_touch=True, color_scheme="dark")
    other = _open(context, address)
    other.page.wait_for_function(f"({POINTS}) > 0")
    assert other.page.locator("#tl-stop").is_enabled()
    other.check()
    context.close()


def _stop(page: Page) -> None:
    page.locator("#tl-try-it").wait_for()
    page.locator("#tl-stop").click()
    page.wait_for_selector(".tl-run .tl-badge.tl-stopped:text-is('stopped')")


def _stop_and_resume(page: Page) -> None:
    _stop(page)
    page.wait_for_function("!document.querySelector('#tl-resume').disabled")
    points = page.evaluate(POINTS)
    page.locator("#tl-resume").click()
    page.wait_for_selector(".tl-run .tl-badge.tl-running")
    page.wait_for_function(f"({POINTS}) > {points}")


def _try_photos(page: Page) -> None:
    page.locator("#tl-try-it").click()
    page.locator(".tl-drop").wait_for()
    page.wait_for_function("document.querySelector('#tl-try-used').innerText.includes('ants and bees')")
    _drag_in(page, [ANT, BEE])
    cards = page.locator(".tl-cards article")
    cards.nth(1).wait_for()
    first = [cards.nth(i).locator(".tl-class span").first.inner_text() for i in range(2)]
    names = [cards.nth(i).locator("h4").inner_text() for i in range(2)]
    assert dict(zip(names, first, strict=True)) == {ANT.name: "ants", BEE.name: "bees"}
    assert "Classified by run ants and bees" in page.locator("#tl-try-cards").inner_text()
    average = page.get_by_label("Average over several views")
    average.check()
    page.wait_for_function(
        "document.querySelector('#tl-try-used').innerText.includes('Averaged over 6 views')"
    )
    assert "× slower" in page.locator("#tl-try-used").inner_text()
    average.uncheck()
    page.wait_for_function("!document.querySelector('#tl-try-used').innerText.includes('Averaged')")


def _try_odd_files(page: Page, folder: Path) -> None:
    """What a browser cannot show is classified as well, and a bomb is refused unopened."""
    Image.open(BEE).save(folder / "bee.tiff")
    (folder / "bomb.png").write_bytes(_huge_png(30_000))
    page.locator("#tl-drop input[type=file]").set_input_files([folder / "bee.tiff", folder / "bomb.png"])
    page.locator(".tl-cards article").nth(3).wait_for()
    tiff, bomb = (page.locator(f".tl-cards article:has(h4:text-is('{n}'))") for n in ("bee.tiff", "bomb.png"))
    assert tiff.locator(".tl-class span").first.inner_text() == "bees"
    assert tiff.locator("img").evaluate("(image) => image.naturalWidth") > 100
    assert "900.0 megapixels" in bomb.inner_text()


def _huge_png(side: int) -> bytes:
    """A PNG whose header promises ``side`` x ``side`` pixels, with some of them."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 3 * side) * 10)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _drag_in(page: Page, photos: list[Path]) -> None:
    """Drops files on the drop zone, as a drag from the file manager does."""
    import base64

    files = [{"name": p.name, "content": base64.b64encode(p.read_bytes()).decode()} for p in photos]
    data = page.evaluate_handle(
        """(files) => {
          const data = new DataTransfer();
          for (const { name, content } of files) {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            data.items.add(new File([bytes], name, { type: "image/jpeg" }));
          }
          return data;
        }""",
        files,
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event(".tl-drop", kind, {"dataTransfer": data})


def _look_at_the_run(page: Page) -> None:
    page.get_by_role("tab", name="Runs").click()
    page.locator("tr[data-name='ants and bees']").click()
    page.locator("#tl-opened-curves svg.main-svg").first.wait_for()
    command = page.locator("#tl-command textarea").input_value()
    assert command.startswith(f"tl-app train {PHOTOS} --backbone mobilenet_v2")
    assert "--image-size 128" in command
    with page.expect_download() as download:
        page.locator("#tl-csv").click()
    assert download.value.path().read_text().startswith("kind,step,epoch,loss")
    page.locator("#tl-delete").click()
    page.locator("#tl-really-delete").wait_for()
    assert "ants and bees" in page.locator("#tl-really-delete").inner_text()
    page.locator("#tl-cancel-delete").click()
    page.locator("#tl-really-delete").wait_for(state="hidden")
    assert page.locator("tr[data-name='ants and bees']").count() == 1


def test_the_page_can_be_installed(address: str) -> None:
    with urllib.request.urlopen(f"{address}manifest.json") as answer:
        manifest = json.load(answer)
    assert manifest["name"] == "tl-app" and manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        with urllib.request.urlopen(address + icon["src"].lstrip("/")) as answer:
            with Image.open(io.BytesIO(answer.read())) as picture:
                assert "x".join(map(str, picture.size)) == icon["sizes"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_tab_without_cutting_anything_off(
    browser: Browser, address: str, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 812}, has_touch=True, color_scheme=scheme)
    visit = _open(context, address)
    for tab in ("Data", "Train", "Results", "Try it", "Runs", "Export", "Share"):
        _to(visit.page, tab)
        visit.page.wait_for_timeout(500)
        too_wide = visit.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert too_wide <= 0, f"{tab} is {too_wide} px wider than the phone"
    visit.check()
    context.close()


def test_one_click_trains_photos_that_are_chosen(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    visit = _open(context, address)
    page = visit.page
    if not page.locator("#tl-data-summary .tl-card").count():
        page.locator("#tl-path input").fill(str(PHOTOS))
        page.locator("#tl-path input").press("Enter")
    page.locator("#tl-quick-start").click()
    page.wait_for_selector(".tl-run .tl-badge.tl-running")
    assert page.get_by_role("tab", name="Train").get_attribute("aria-selected") == "true"
    assert "being trained" in page.locator("#tl-why").inner_text()
    assert page.locator("#tl-stop").get_attribute("title") == train_tab.TITLES["tl-stop"]
    page.locator("#tl-stop").click()
    page.wait_for_function("!document.querySelector('#tl-start').disabled")
    visit.check()
    context.close()


def test_a_preview_shows_photos_as_training_sees_them(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    visit = _open(context, address)
    page = visit.page
    page.locator("#tl-sample").click()
    page.wait_for_function("document.querySelector('#tl-data-summary').innerText.includes('sample_data')")
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("button", name="Advanced settings").click()
    page.locator("#tl-advanced").get_by_role("button", name="Photos").click()
    page.locator("#tl-preview-ask").click()
    page.wait_for_function("document.querySelectorAll('#tl-preview img').length === 18")
    first = page.locator("#tl-preview img").nth(1).get_attribute("src")
    page.locator("#tl-field-mixup input").fill("0.4")
    page.locator("#tl-field-rotation input").fill("45")
    page.locator("#tl-preview-ask").click()
    page.get_by_role("img", name="MixUp, ").first.wait_for()
    assert page.locator("#tl-preview img").nth(1).get_attribute("src") != first
    assert page.locator("#tl-preview img:not([alt])").count() == 0
    visit.check()
    context.close()


def test_the_first_answer_comes_by_itself(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    visit = _open(context, address)
    page = visit.page
    page.locator("#tl-sample").click()
    page.wait_for_function("document.querySelector('#tl-data-summary').innerText.includes('sample_data')")
    # Features that an earlier test computed are kept, and then the bar may be gone before anyone sees it.
    page.locator("#tl-answer .tl-bar, .tl-answer").first.wait_for()
    page.wait_for_function("document.querySelector('.tl-answer')?.innerText.includes('of new photos right')")
    page.locator("#tl-ask").wait_for()
    page.locator("#tl-ask-stop").wait_for(state="hidden")
    page.reload()
    page.locator(".tl-answer").wait_for()
    visit.check()
    context.close()


def test_what_is_stored_is_cleared_in_two_steps(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 812}, has_touch=True)
    visit = _open(context, address)
    page = visit.page
    _to(page, "Runs")
    page.get_by_role("button", name="Storage").click()
    page.locator("#tl-storage-card td", has_text="Decoded photos").wait_for()
    page.locator("#tl-clear-cache").click()
    page.locator("#tl-keep-cache").click()
    page.locator("#tl-really-clear-cache").wait_for(state="hidden")
    page.locator("#tl-clear-cache").click()
    assert "Really clear" in page.locator("#tl-really-clear-cache").inner_text()
    page.locator("#tl-really-clear-cache").click()
    page.locator("#tl-storage-card .tl-hint", has_text="Nothing is kept yet").wait_for()
    visit.check()
    context.close()


def test_an_error_is_a_toast_that_says_what_to_do(browser: Browser, address: str) -> None:
    context = browser.new_context()
    visit = _open(context, address)
    visit.page.wait_for_timeout(1500)  # until the photos of the last visit are back in the box
    visit.page.locator("#tl-path input").fill("/not/there")
    visit.page.locator("#tl-path input").press("Enter")
    toast = visit.page.locator(".toast-body").first
    toast.wait_for()
    assert "/not/there" in toast.inner_text()
    visit.check()
    context.close()
