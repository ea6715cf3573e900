"""The exported page, from a disk, with no network, in a real Chromium."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.export import small_onnx
from tl_app import resources
from tl_app.errors import ResourceError, UsageError
from tl_app.export import page as pages
from tl_app.export.answering import OnnxPredictor
from tl_app.export.guarded import read_onnx

CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have Chromium: .ci/run installs it")
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    about = small_onnx.description(classes=["</script><b>red</b>", "{{MODEL}}"])
    return pages.write_page(small_onnx.write(folder / "model.onnx", about), folder / "page.html")


def opened(browser: Browser, file: Path, **options: object) -> Page:
    context = browser.new_context(offline=True, viewport={"width": 375, "height": 700}, **options)
    page = context.new_page()
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-state]", timeout=60_000)
    return page


def answer(page: Page, photo: Path) -> dict[str, float]:
    page.set_input_files("#photo", photo)
    page.wait_for_selector("body:not(.busy)")
    rows = page.locator("#bars li")
    texts = [rows.nth(number).locator("span").all_inner_texts() for number in range(rows.count())]
    return {label: float(share.removesuffix(" %")) / 100 for label, share in texts}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.browser
@pytest.mark.xdist_group("browser")
def test_it_answers_offline_like_the_app(browser: Browser, made: Path, tmp_path: Path, scheme: str):
    page = opened(browser, made, color_scheme=scheme)
    assert page.evaluate("document.body.dataset.state") == "ready"
    rng = np.random.default_rng(0)
    photos = []
    for number, (width, height) in enumerate([(40, 60), (301, 77), (500, 500)]):
        colour = rng.integers(0, 256, 3)
        pixels = np.clip(rng.normal(colour, 60, (height, width, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        photos.append(tmp_path / f"{number}.png")
    Image.new("RGBA", (30, 30), (255, 0, 0, 0)).save(tmp_path / "nothing.png")  # white for both
    expected = OnnxPredictor(read_onnx(made.with_name("model.onnx"))).predict(
        [*photos, tmp_path / "nothing.png"]
    )
    for one in expected:
        assert answer(page, Path(one.path)) == pytest.approx(dict(one.top), abs=1e-3), one.path
        assert page.locator("#doubt").is_visible() == (not one.sure)
    assert all(url.startswith(("file:", "blob:")) for url in page.asked)
    assert page.wrong == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(15, 20, 26)") == (scheme == "dark")


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
def test_it_says_what_it_cannot_open(browser: Browser, made: Path, tmp_path: Path):
    page = opened(browser, made)
    (tmp_path / "text.jpg").write_text("no photo")
    page.set_input_files("#photo", tmp_path / "text.jpg")
    page.wait_for_selector("#error:not([hidden])")
    assert "cannot open the photo" in page.locator("#error").inner_text()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    assert answer(page, tmp_path / "red.png") and not page.locator("#error").is_visible()


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
def test_a_network_that_cannot_start_is_said(browser: Browser, made: Path, tmp_path: Path):
    text = made.read_text()
    broken = re.sub(r'(id="model-data">)[^<]+', r"\1H4sIAAAAAAAA/wMAAAAAAAAAAAA=", text)
    (tmp_path / "broken.html").write_text(broken)
    page = opened(browser, tmp_path / "broken.html")
    assert page.evaluate("document.body.dataset.state") == "failed"
    assert "could not be loaded" in page.locator("#error").inner_text()


def test_nothing_in_it_comes_from_elsewhere(made: Path):
    text = made.read_text()
    assert "Microsoft Corporation" in text and "default-src 'none'" in text
    assert "</script><b>" not in text
    assert not re.findall(r'(?:src|href)="?(?:https?:)?//', text)
    assert made.stat().st_size < 5_200_000


def test_the_runtime_is_the_published_one():
    folder = resources.assets_dir() / "export" / "onnxruntime-web"
    digest = hashlib.sha256(
        lzma.decompress((folder / "ort-wasm-simd-threaded.wasm.xz").read_bytes())
    ).hexdigest()
    assert digest in (folder / "README.md").read_text()
    assert "MIT License" in (folder / "LICENSE").read_text()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_500_000


def test_the_network_in_it_can_be_taken_out(made: Path):
    assert pages.carried_network(made) == made.with_name("model.onnx").read_bytes()
    (made.parent / "other.html").write_text("<p>")
    with pytest.raises(UsageError, match="no page that tl-app exported"):
        pages.carried_network(made.parent / "other.html")


def test_a_network_too_large_for_a_phone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = small_onnx.write(tmp_path / "model.onnx")
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written"):
        pages.write_page(model, tmp_path / "file" / "page.html")
    monkeypatch.setattr(pages, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="no phone's browser"):
        pages.write_page(model, tmp_path / "page.html")
