"""`tl-app demo`: what it asks its process for, and how it passes on what that says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.synthetic_runs import make_run
from tl_app import cli, cli_demo
from tl_app.demo import child
from tl_app.demo.protocol import Settings, Status
from tl_app.errors import UsageError

LOCAL, PUBLIC = "http://127.0.0.1:5000/", "https://abc.gradio.live"


class Told:
    """Stands for a demo's process: says what it is given to say."""

    asked: list[Settings] = []
    says: list[Status] = []
    stopped = 0

    def __init__(self, settings: Settings, heard: Callable[[Status], None]) -> None:
        Told.asked.append(settings)
        for status in Told.says:
            heard(status)

    def stop(self) -> None:
        Told.stopped += 1


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    monkeypatch.setattr(child, "Demo", Told)
    Told.asked, Told.says, Told.stopped = [], [], 0
    return Told


@pytest.fixture
def run(home: Path, photos: Path) -> Path:
    return make_run(home / "runs", "tiny", photos).path


def _up(**more: object) -> Status:
    return Status("ready", LOCAL, **more)  # type: ignore[arg-type]


def test_links_and_their_end_are_printed(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Told.says = [
        _up(sharing=True),
        _up(public=PUBLIC, expires="2026-11-24T04:58:00+00:00"),
        Status("ended", LOCAL),
    ]
    arguments = [
        "demo",
        "tiny",
        "--share",
        "--auth",
        "ann:a:b",
        "--port",
        "7000",
        "--expires",
        "1.5",
        "--title",
        "Hi",
    ]
    assert (
        cli.run(
            [*arguments, "--examples", str(photos / "red"), "--examples", str(photos / "blue" / "00.png")]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert f"running at {LOCAL}" in out and PUBLIC in out and "24 Nov 2026" in out and "has ended" in out
    assert out.count("▀") + out.count("▄") > 50, "a QR code"
    (asked,) = Told.asked
    assert (asked.run, asked.port, asked.share, asked.hours) == (str(run.resolve()), 7000, True, 1.5)
    assert (asked.user, asked.password, asked.title) == ("ann", "a:b", "Hi")
    assert len(asked.examples) == cli_demo._PHOTOS_OF_A_FOLDER + 1 and asked.examples[-1].endswith(
        "blue/00.png"
    )
    assert Told.stopped == 1


def test_no_share_server_is_said_and_the_link_stays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = "Gradio's share server cannot be reached from here, so there is no public link."
    Told.says = [_up(sharing=True), _up(note=note), _up(note=note, asked=1), Status("ended", LOCAL)]
    assert cli.run(["demo", "tiny", "--share"]) == 0
    out = capsys.readouterr().out
    assert LOCAL in out and out.count(note) == 1


def test_json_is_one_line_once_the_links_are_known(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = _up(public=PUBLIC, expires="2026-11-24T04:58:00+00:00")
    Told.says = [_up(sharing=True), public, Status("ended", LOCAL)]
    assert cli.run(["demo", "tiny", "--share", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"local": LOCAL, "public": PUBLIC, "expires": public.expires, "note": ""}


def test_a_demo_that_does_not_come_up_ends_with_its_reason(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Told.says = [Status("failed", note="Port 80 cannot be used.", exit_code=4)]
    assert cli.run(["demo", "tiny"]) == 4
    assert "Port 80 cannot be used." in capsys.readouterr().err and Told.stopped == 1


def test_ctrl_c_ends_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Told.says = [_up()]

    def interrupted(status: Status, last: Status | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_demo, "_for_people", interrupted)
    assert cli.run(["demo", "tiny"]) == 0 and Told.stopped == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny", "--auth", "ann"], "USER:PASSWORD"),
        (["tiny", "--expires", "0"], "hours above 0"),
        (["tiny", "--examples", "nowhere.jpg"], "no photo or folder"),
        (["other"], "no run 'other'"),
    ],
)
def test_what_is_asked_wrongly_starts_nothing(
    run: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["demo", *arguments]) == 2
    assert said in capsys.readouterr().err and Told.asked == []


def test_a_login_may_come_from_the_environment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_APP_DEMO_AUTH", "ann:secret")
    Told.says = [Status("ended", LOCAL)]
    assert cli.run(["demo", "tiny"]) == 0 and Told.asked[0].password == "secret"
    with pytest.raises(UsageError, match="USER:PASSWORD"):
        cli_demo.login(":x")
