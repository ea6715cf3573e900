"""The picture one can draw on a napkin, held against the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tl_app"

# From the bottom up; a module may import from rows above its own here, and from its own row.
LAYERS: list[set[str]] = [
    {
        "errors",
        "events",
        "compiler",
        "config",
        "contradictions",
        "cores",
        "fields",
        "resources",
        "files",
        "loading",
        "look",
        "markup",
        "caches",
        "choices",
        "memory",
        "older",
        "plateau",
        "tables",
        "tensors",
        "words",
    },
    {"data", "serving"},
    {"backbones", "references", "results", "runs"},
    {"transfer"},
    {"engine"},
    {
        "history",
        "presets",
        "reproduce",
        "locks",
        "scanning",
        "snapshot",
        "plots",
        "plots_runs",
        "plots_results",
        "preview",
    },
    {
        "analysis",
        "beside",
        "predictor",
        "evaluation",
        "distilling",
        "extending",
        "finding",
        "folding",
        "reporting",
        "job",
        "jobs",
        "probing",
        "decisions",
        "blending",
        "keeping",
        "worthwhile",
    },
    {"cards", "export"},
    {
        "api",
        "exports",
        "insights",
        "predicting",
        "upkeep",
        "options",
        "rows",
        "terminal",
        "terminal_exports",
        "terminal_verdicts",
        "terminal_insights",
    },
    {"demo"},
    {
        "cli",
        "cli_cache",
        "cli_demo",
        "cli_exports",
        "cli_insights",
        "cli_lists",
        "cli_ui",
        "ui",
    },
    {"__main__", "__init__"},
]
NO_TORCH_AT_THE_TOP = {
    "decisions",
    "distilling",
    "choices",
    "caches",
    "compiler",
    "config",
    "contradictions",
    "fields",
    "errors",
    "events",
    "finding",
    "extending",
    "plots",
    "plots_results",
    "plots_runs",
    "presets",
    "beside",
    "options",
    "cli",
    "cli_exports",
    "cli_demo",
    "cli_insights",
    "cli_lists",
    "cli_ui",
    "api",
    "exports",
    "insights",
    "predicting",
    "job",
    "jobs",
    "memory",
    "plateau",
    "probing",
    "older",
    "runs",
    "snapshot",
    "tables",
    "terminal",
    "terminal_exports",
    "terminal_verdicts",
    "terminal_insights",
    "words",
    "worthwhile",
}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _layer(path: Path) -> tuple[str, int]:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for number, names in enumerate(LAYERS):
        if part in names:
            return part, number
    raise AssertionError(f"{path} is in no layer: give it a place in this test and in the README")


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _top_level(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_flow_one_way(path: Path) -> None:
    own, layer = _layer(path)
    if own == "__init__":
        return
    for name in _imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] != "tl_app" or len(parts) < 2 or parts[1] == own or parts[1].startswith("__"):
            continue
        home, other = next(
            ((part, n) for n, row in enumerate(LAYERS) for part in row if part == parts[1]), ("", -1)
        )
        assert home, f"{path.name} imports {name}, which has no layer"
        assert other <= layer, f"{own} must not import {home}: that arrow points back up"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_gradio_is_for_the_page_only_and_torch_comes_late(path: Path) -> None:
    own, _ = _layer(path)
    tree = ast.parse(path.read_text())
    roots = {name.split(".")[0] for name in _imports(tree)}
    if own not in ("ui", "demo", "look"):
        assert "gradio" not in roots
    if own not in ("ui", "plots", "plots_runs"):
        assert "plotly" not in roots
    if own in NO_TORCH_AT_THE_TOP or own == "ui":
        assert not {"torch", "torchvision"} & {name.split(".")[0] for name in _top_level(tree)}


def test_the_engine_runs_without_gradio_and_plotly() -> None:
    """Only the page may need them: everything below `jobs` is imported with both blocked."""
    import subprocess
    import sys

    code = (
        "import sys; sys.modules.update(gradio=None, plotly=None, pandas=None)\n"
        "import tl_app.engine.train, tl_app.jobs, tl_app.predictor, tl_app.evaluation, tl_app.api, tl_app.cli"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
