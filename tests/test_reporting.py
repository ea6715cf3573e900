"""One HTML file says what there is to say of a run, and needs nothing beside itself."""

from __future__ import annotations

import os
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.synthetic_runs import make_many_photos, make_run
from tests.test_cli import call
from tl_app import insights, reporting
from tl_app.analysis import answers
from tl_app.analysis.examined import examine
from tl_app.errors import ResourceError, UsageError
from tl_app.predictor import load_run
from tl_app.runs import RunInfo
from tl_app.ui import report_button
from tl_app.ui.workspace import Workspace

STRANGE = "<img src=x onerror=alert(1)> & co"


class Seen(HTMLParser):
    """The text of a page, its tags, and every address that it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.addresses, self.tags, self._hidden = "", list[str](), list[str](), False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in ("script", "style")
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else data


@pytest.fixture
def info(home: Path, tmp_path: Path) -> RunInfo:
    photos = make_many_photos(tmp_path / "photos", classes=3, per_class=20)
    (photos / "class 0001").rename(photos / STRANGE)
    return make_run(home / "runs", "three", photos, features=1024, wrong=0.3)


def test_a_report_says_it_all_and_loads_nothing(info: RunInfo) -> None:
    seen = Seen(reporting.report_of(examine(info, "val"), load_run(info)))
    for part in (
        "66.7 %",
        "on 12 validation photos",
        "Balanced accuracy",
        "class 0000",
        "No epoch is done yet",
    ):
        assert part in seen.text, part
    assert "Its worst mistakes: 4 of 4" in seen.text and "tl-app train" in seen.text
    assert seen.tags.count("figure") == 4 and seen.tags.count("img") == 8
    assert seen.addresses and all(each.startswith("data:image/") for each in seen.addresses)
    assert STRANGE in seen.text


def test_a_classs_name_cannot_end_the_script_it_stands_in() -> None:
    assert reporting._for_script({"a": "</script><b>"}) == r'{"a": "\u003c/script>\u003cb>"}'


def test_many_classes_show_the_most_confused_ones(home: Path, tmp_path: Path) -> None:
    photos = make_many_photos(tmp_path / "photos", classes=33, per_class=5, side=16)
    examined = examine(make_run(home / "runs", "many", photos, wrong=0.2), "val")
    matrix = reporting._matrix(examined)
    assert len(matrix["matrix_rows"]) == 30 and matrix["matrix_heads"][-1] == "others"
    assert "Of 33 classes these are the 30 most confused" in matrix["matrix_told"]
    counted = sum(cell["count"] for row in matrix["matrix_rows"] for cell in row["cells"])
    assert counted == sum(
        examined.metrics.confusion[examined.answers.classes.index(row["name"])].sum()
        for row in matrix["matrix_rows"]
    )


def test_it_goes_into_the_run_folder_or_where_nothing_is_yet(
    info: RunInfo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, _ = call(capsys, "evaluate", info.path, "--report", "--json")
    assert code == 0, found
    assert found["report"] == str(info.path / "report.html") and found["accuracy"] > 0.5
    assert "three" in (info.path / "report.html").read_text()
    own = tmp_path / "reports" / "mine.html"
    assert insights.evaluate(info.path, report=own).report == str(own) and own.stat().st_size > 10_000
    own.write_text("mine")
    code, found, _ = call(capsys, "evaluate", info.path, "--out", own, "--json")
    assert code == 2 and "nothing is overwritten" in found["error"] and own.read_text() == "mine"


def test_nothing_stays_behind_when_there_is_no_report(info: RunInfo, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="split is 'some'"):
        insights.evaluate(info.path, split="some", report=tmp_path / "new.html")
    assert not (tmp_path / "new.html").exists()


def test_the_page_makes_one_to_download(info: RunInfo, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(home / "page"))
    work = Workspace(home / "runs")
    found = work.examiner.ask("three", "val", 60.0).result
    assert found is not None
    _, made = report_button.Acts(work).make(("three", "val", found.model))
    assert made["visible"] and "MB" in made["label"] and Path(made["value"]).name == "three-val-report.html"
    with pytest.raises(gr.Error, match="No results are shown"):
        report_button.Acts(work).make(None)


def test_a_name_that_is_no_text_is_shown_as_its_bytes(home: Path, tmp_path: Path) -> None:
    photos = make_many_photos(tmp_path / "photos", classes=2, per_class=5, side=64)
    for file in photos.rglob("*.jpg"):
        os.rename(file, os.fsencode(file.parent) + b"/caf\xe9" + os.fsencode(file.name))
    info = make_run(home / "runs", "odd", photos, wrong=0.5)
    assert "caf\\udce9" in reporting.report_of(examine(info, "val"), load_run(info))


def test_a_folder_that_is_a_file_is_named(info: RunInfo, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ResourceError, match="The folder .*notes.txt cannot be made"):
        insights.evaluate(info.path, report=tmp_path / "notes.txt" / "r.html")


def test_other_photos_are_asked_once_and_get_their_own_report(
    info: RunInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    compute = answers.computed

    def counted(*arguments: Any) -> Any:
        found = compute(*arguments)
        asked.append(1)
        return found

    monkeypatch.setattr(answers, "computed", counted)
    shutil.rmtree(info.path / "analysis")
    shutil.rmtree(tmp_path / "photos")  # so that nothing can calibrate it any more
    other = make_many_photos(tmp_path / "other", classes=3, per_class=5, side=64)
    (other / "class 0001").rename(other / STRANGE)
    found = insights.evaluate(info.path, other, report=True)
    assert asked == [1] and found.calibrated_on == 0 and found.sure_share is None and found.temperature == 1
    text = (info.path / "report-other.html").read_text()
    assert "before it could be calibrated" in text
