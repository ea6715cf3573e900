"""What ships: the wheel brings everything it needs, and the set-up files say what they should."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_assets_and_sample_photos(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"tl_app/_assets/style.css", "tl_app/cli.py", "tl_app/py.typed"} <= names
    assert "tl_app/_assets/presets/ants-and-bees.yaml" in names
    photos = [name for name in names if name.startswith("tl_app/_sample_data/") and name.endswith(".jpg")]
    assert len(photos) > 150
    assert not [name for name in names if name.startswith(("tests/", ".")) or "__pycache__" in name]
    assert wheel.stat().st_size < 20_000_000


def test_the_wheel_works_in_an_empty_folder(wheel: Path, tmp_path: Path, home: Path) -> None:
    """Unpacked beside nothing of the checkout: scans the sample photos, and builds the page with its assets."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    code = (
        "import tl_app, tl_app.resources as r, tl_app.data.sources as s\n"
        f"assert tl_app.__file__.startswith({str(tmp_path)!r}), tl_app.__file__\n"
        "index = tl_app.inspect(s.sample_data())\n"
        "assert len(index.classes) == 5 and '_sample_data' in str(index.root)\n"
        "from tl_app.ui.app import create_app\n"
        "assert create_app() is not None and r.assets_dir().name == '_assets'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "GRADIO_ANALYTICS_ENABLED": "False"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=empty, env=environment)


def test_the_set_up_names_what_it_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0].split("[")[0].strip() for requirement in project["dependencies"]}
    assert names >= {
        *(
            "gradio",
            "torch",
            "torchvision",
            "pillow",
            "pandas",
            "plotly",
            "safetensors",
            "typer",
            "platformdirs",
        ),
        *("filelock", "psutil", "pyyaml"),
    }
    assert "gradio>=6.31,<7" in project["dependencies"] and "pillow>=12.3" in project["dependencies"]
    assert {"heif", "test"} <= set(project["optional-dependencies"])


def test_what_ships_stays_small() -> None:
    total = sum(
        path.stat().st_size
        for name in ("assets", "sample_data")
        for path in (ROOT / name).rglob("*")
        if path.is_file()
    )
    assert total < 15_000_000


def test_no_file_or_function_grows_without_a_reason() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "tl_app").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_every_block_of_the_style_sheet_is_closed() -> None:
    depth = 0
    for number, line in enumerate((ROOT / "assets" / "style.css").read_text().splitlines(), 1):
        opened = line.count("{") - line.count("}")
        # A rule begins at the top or in a media query, never within another rule, whose lines end in semicolons.
        assert not (depth and line and not line.startswith((" ", "}"))), f"line {number}: {line}"
        depth += opened
    assert depth == 0
