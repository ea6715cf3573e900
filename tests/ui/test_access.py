"""Who may reach the page, and which folders and runs the page may reach when others use it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.conftest import make_photos
from tests.synthetic_runs import make_many_photos, make_run
from tl_app import resources
from tl_app.config import TrainConfig
from tl_app.errors import DataError, UsageError
from tl_app.ui import access, app, data_tab, paths, questions
from tl_app.ui.remembered import remember
from tl_app.ui.workspace import Workspace


@pytest.fixture(autouse=True)
def page_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(home / "page"))
    monkeypatch.delenv("TL_APP_AUTH", raising=False)
    monkeypatch.delenv("TL_APP_TOKEN", raising=False)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return make_many_photos(tmp_path / "outside", classes=2, per_class=6)


@pytest.fixture
def work(home: Path, tmp_path: Path) -> Workspace:
    """An app's memory on a network, with one folder of photos."""
    make_photos(tmp_path / "root" / "photos", per_class=3)
    return Workspace(home / "runs", access.roots([tmp_path / "root"], None))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_alone_needs_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = access.rules_for(host, 7860)
    assert rules.mode == "local" and len(rules.token) >= 43
    assert access.link(host, rules).endswith(f":7860/?token={rules.token}")
    monkeypatch.setenv("TL_APP_TOKEN", "fixed")
    assert access.rules_for(host, 7860).token == "fixed"
    assert access.rules_for(host, 7860, token="given").token == "given"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "my-machine"])
def test_other_machines_need_a_login(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="a user and a password.*--auth USER:PASSWORD.*TL_APP_AUTH"):
        access.rules_for(host, 7860)
    with pytest.raises(UsageError, match="USER:PASSWORD"):
        access.rules_for(host, 7860, auth=["anna"])
    rules = access.rules_for(host, 7860, auth=["anna:se:cret"])
    assert rules.mode == "lan" and [user for user, _ in rules.logins] == ["anna"] and not rules.token
    assert "se:cret" not in repr(rules) and "token" not in access.link(host, rules)
    monkeypatch.setenv("TL_APP_AUTH", "anna:secret\nben:other")
    assert [user for user, _ in access.rules_for(host, 7860).logins] == ["anna", "ben"]


def test_without_a_login_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="a user and a password"):
        app.launch(host="0.0.0.0", port=0, open_browser=False)


def test_a_link_to_a_page_for_all_addresses_is_one_that_opens() -> None:
    rules = access.rules_for("0.0.0.0", 7860, auth=["anna:secret"])
    assert access.link("0.0.0.0", rules) == "http://127.0.0.1:7860/"
    assert access.link("::1", access.rules_for("::1", 80, token="t")) == "http://[::1]:80/?token=t"


def test_photos_come_from_the_roots_alone(work: Workspace, outside: Path, tmp_path: Path) -> None:
    acts = data_tab._Acts(work)
    root = tmp_path / "root"
    (root / "way-out").symlink_to(outside)
    assert acts.scan(f"{root}/photos")[0] == f"{root}/photos"
    assert acts.scan_sample()[0] == str(resources.sample_data_dir())
    for typed in (
        outside,
        root / "way-out",
        f"{root}/../outside",
        f"file://{outside}",
        f"'{outside}'",
        "/",
        "~",
    ):
        with pytest.raises(Exception, match="may be used"):
            acts.scan(str(typed))
    with pytest.raises(DataError, match="may be used"):
        work.start(TrainConfig(data=str(outside), backbone="mobilenet_v3_small", weights="random"))
    for search in (work.find_rate, lambda config: work.weigh(config, [25], 1)):
        with pytest.raises(DataError, match="may be used"):
            search(TrainConfig(data=str(outside), backbone="mobilenet_v3_small", weights="random"))


def test_without_roots_uploads_and_the_sample_are_left(home: Path, outside: Path) -> None:
    work = Workspace(home / "runs", access.roots([], None))
    zipped = shutil.make_archive(str(home / "made"), "zip", outside)
    (home / "uploads" / "0").mkdir(parents=True)
    kept = shutil.move(zipped, home / "uploads" / "0" / "photos.zip")
    assert work.scan(str(kept)).classes
    assert work.scan(str(resources.sample_data_dir())).classes
    with pytest.raises(DataError, match="may be used"):
        work.scan(str(home))


def test_a_root_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder.*--data-root"):
        access.roots([tmp_path / "nowhere"], None)


def test_nothing_outside_is_suggested_or_recalled(work: Workspace, outside: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "way-out").symlink_to(outside)
    assert paths.suggest(f"{root}/", work.roots) == [f"{root}/photos/"]
    for typed in (f"{tmp_path}/", f"{root}/way-out/", "/", "~/", f"{root}/../"):
        assert paths.suggest(typed, work.roots) == []
    assert f"{root}/" in paths.suggest("", work.roots) and paths.suggest("") == []
    remember(str(outside))
    remember(f"{root}/photos")
    assert work.recent() == [f"{root}/photos"]


def test_runs_come_from_their_folder_alone(work: Workspace, tmp_path: Path, home: Path) -> None:
    photos = make_many_photos(tmp_path / "root" / "many", classes=2, per_class=6)
    make_run(home / "runs", "own", photos)
    foreign = make_run(tmp_path / "elsewhere", "foreign", photos).path
    assert work.open_run("own").name == "own"
    for name in (str(foreign), f"../../{foreign.parent.name}/foreign", "..", str(tmp_path)):
        with pytest.raises(UsageError, match="may not be used from here"):
            work.open_run(name)
        with pytest.raises(UsageError, match="may not be used from here"):
            work.predictor("run", name)
        with pytest.raises(UsageError, match="may not be used from here"):
            work.examiner.ask(name, "val")
        with pytest.raises(UsageError, match="may not be used from here"):
            work.resume(Path(name))
        for setting in ("weights", "teacher"):
            config = dataclasses.replace(
                TrainConfig(data=str(photos), recipe="full"), **{setting: f"run:{name}"}
            )
            with pytest.raises(UsageError, match="may not be used from here"):
                work.start(config)
    assert Workspace(home / "runs").open_run(foreign).name == "foreign"


def test_photos_of_a_run_from_outside_are_not_shown(work: Workspace, outside: Path, home: Path) -> None:
    make_run(home / "runs", "private", outside)
    for read in (
        work.open_with_photos,
        lambda name: work.examiner.ask(name, "val"),
        lambda n: work.resume(Path(n)),
    ):
        with pytest.raises(DataError, match="may be used"):
            read("private")
    assert work.open_run("private").name == "private"  # the model itself may be tried


def test_the_pages_own_questions(work: Workspace, tmp_path: Path) -> None:
    client = TestClient(Starlette(routes=questions.routes(work)))
    root = tmp_path / "root"
    assert client.post("/tl-app/folders", json=f"{root}/").json() == [f"{root}/photos/"]
    assert client.post("/tl-app/folders", json="/").json() == []
    for nonsense in (None, {}, [], 3, "\0"):
        assert client.post("/tl-app/folders", content=json.dumps(nonsense)).json() == []
        assert client.post("/tl-app/map-photo", content=json.dumps(nonsense)).json() is None
    about = {"about": ["../../etc", "val", "x"], "number": 0}
    assert client.post("/tl-app/map-photo", json=about).json() is None
    assert client.post("/tl-app/folders", content=b"{").status_code == 400


def test_a_run_is_not_found_in_the_servers_own_folder(
    work: Workspace, home: Path, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "elsewhere", "theirs", outside)
    own = make_run(home / "runs", "mine", tmp_path / "root" / "photos")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("theirs", "./theirs", str(tmp_path / "elsewhere" / "theirs")):
        with pytest.raises(UsageError, match="There is no run|may not be used from here"):
            work.open_run(name)
    with pytest.raises(UsageError, match="There is no run"):
        work.start(TrainConfig(data=str(tmp_path / "root" / "photos"), recipe="full", teacher="run:theirs"))
    assert work.checked(TrainConfig(weights="run:mine")).weights == f"run:{own.path.resolve()}"
    assert work.open_run("mine").path == own.path
