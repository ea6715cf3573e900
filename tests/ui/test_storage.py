from __future__ import annotations

import gradio as gr
import pytest

from tl_app import caches
from tl_app.ui import storage


@pytest.fixture
def entry() -> str:
    path = caches.folder("decoded", "abc")
    (path / "photos.bin").write_bytes(bytes(3_000_000))
    return str(path)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(gr, "Info", said.append)
    return said


def test_an_empty_cache_says_what_it_is_for() -> None:
    card, clear, confirm = storage.show()
    assert "Nothing is kept yet" in card and "Memory of this app" in card
    assert clear["interactive"] is False and confirm["visible"] is False


def test_what_is_kept_is_named_in_plain_words(entry: str) -> None:
    card, clear, _ = storage.show()
    assert "Decoded photos" in card and card.count("3.0 MB") == 2
    assert clear["interactive"] is True


def test_clearing_takes_two_steps(entry: str, told: list[str]) -> None:
    clear, confirm, question = storage.ask()
    assert clear["interactive"] is False and confirm["visible"] is True
    assert question["value"] == "Really clear 3.0 MB?"
    assert caches.info().total_bytes > 0, "asking clears nothing"
    card, *_ = storage.clear_all()
    assert "Nothing is kept yet" in card and told == ["3.0 MB are free again."]


def test_what_is_in_use_stays_and_is_said(entry: str, told: list[str]) -> None:
    with caches.hold(caches.folder("decoded", "abc")):
        card, *_ = storage.clear_all()
    assert "Decoded photos" in card
    assert told == ["0 bytes are free again. 1 entry in use stayed."]


def test_a_cache_that_cannot_be_written_is_a_toast(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(caches, "clear", refused)
    with pytest.raises(gr.Error, match="Read-only file system"):
        storage.clear_all()
