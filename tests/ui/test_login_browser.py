"""The page on a network, in a real browser: a link without its token, a login, and folders out of reach."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.conftest import make_photos
from tests.ui.test_browser import TOKEN, _wait_until_up
from tests.ui.test_browser import browser as browser  # noqa: F401 - a fixture
from tests.ui.test_browser import chromium as chromium  # noqa: F401 - a fixture

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]


def _serving(home: Path, *options: str, **variables: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"TL_APP_HOME": str(home), "OMP_NUM_THREADS": "1", "TL_APP_TOKEN": TOKEN} | variables
    command = [sys.executable, "-m", "tl_app", "ui", "--no-browser", "--port", str(port), *options]
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            up = "login" if variables else ""
            yield _wait_until_up(f"http://127.0.0.1:{port}/{up}", server, home / "server.log").removesuffix(
                up
            )
        finally:
            server.terminate()
            server.wait(30)
    assert "Traceback" not in (home / "server.log").read_text(), (home / "server.log").read_text()[-3000:]


def test_without_its_token_the_page_says_what_to_do(
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    for address in _serving(tmp_path):
        context = browser.new_context(viewport={"width": 375, "height": 700})
        page = context.new_page()
        answer = page.goto(address)
        assert answer is not None and answer.status == 403
        page.get_by_text("Open that link once").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        page.goto(f"{address}?token={TOKEN}")
        page.get_by_role("tab", name="Data").wait_for()
        page.reload()
        page.get_by_role("tab", name="Data").wait_for()
        assert TOKEN not in page.url and TOKEN not in str(context.cookies())
        context.close()


def test_a_login_opens_the_page_and_other_folders_stay_shut(
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    photos = make_photos(tmp_path / "root" / "photos", per_class=4)
    home = tmp_path / "home"
    home.mkdir()
    options = ["--host", "0.0.0.0", "--data-root", str(photos.parent)]
    for address in _serving(home, *options, TL_APP_AUTH="anna:a secret"):
        _log_in_and_look_around(browser, address, photos)


def _log_in_and_look_around(browser: Browser, address: str, photos: Path) -> None:  # noqa: F811
    page = browser.new_context(viewport={"width": 375, "height": 700}).new_page()
    said: list[tuple[str, str]] = []
    page.goto(address)
    page.fill("#user", "anna")
    page.fill("#password", "wrong")
    page.press("#password", "Enter")
    page.get_by_text("User or password is wrong").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.on("console", lambda message: said.append((message.type, message.text)))
    page.fill("#user", "anna")
    page.fill("#password", "a secret")
    page.press("#password", "Enter")
    page.get_by_role("tab", name="Data").wait_for()
    assert page.url == address
    box = page.locator("#tl-path textarea, #tl-path input")
    box.fill(str(photos.parent.parent))
    page.get_by_role("button", name="Use these photos").click()
    page.get_by_text("is not in a folder that may be used from here").first.wait_for()
    box.fill(str(photos))
    box.press("Enter")  # the toast lies over the button
    page.wait_for_function("document.querySelector('#tl-data-summary').innerText.includes('photos')")
    assert [text for kind, text in said if kind == "error"] == []
