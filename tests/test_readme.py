"""The README tells the truth about names: commands, options, files, Python calls."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

import tl_app
from tl_app import cli

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_commands_and_options_exist() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    lines = [line.split("#")[0] for line in TEXT.splitlines() if line.startswith("tl-app ")]
    assert len(lines) >= len(commands)
    for line in lines:
        command = commands[line.split()[1]]
        known = {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line


def test_the_tree_names_every_module() -> None:
    tree = TEXT.split("app.py                    starts the page")[1].split("```")[0]
    for path in (ROOT / "tl_app").rglob("*.py"):
        if path.name not in ("__init__.py", "__main__.py") and path.parent.name != "ui":
            assert path.name in tree, f"{path} is not in the README's tree"
    for name in re.findall(r"(\w+\.py)\b", tree):
        assert list((ROOT / "tl_app").rglob(name)), f"{name} is gone"


def test_python_names_and_pictures_exist() -> None:
    for name in re.findall(r"tl_app\.(\w+)\(", TEXT):
        assert hasattr(tl_app, name), name
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT):
        assert (ROOT / picture).is_file(), picture
