"""``tl-app export`` for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.main import get_command

from tl_app import cli
from tl_app.export.formats import ALL, names
from tl_app.runs import RunInfo


def test_a_table_with_ticks_or_one_line_of_json(
    run: RunInfo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["export", str(run.path), "--to", "safetensors"]
    assert cli.run(asked) == 0
    said = capsys.readouterr().out
    assert "✓" in said and "safetensors" in said and str(run.path / "exports" / "safetensors") in said
    assert cli.run([*asked, "--out", str(tmp_path / "out"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = answer["exports"]
    assert (
        row["passed"]
        and row["same"] == row["photos"]
        and row["file"] == str(tmp_path / "out" / "safetensors")
    )
    assert set(row["latency"]["32"]) == {"p50", "p95"} and row["run_accuracy"] == row["accuracy"]


def test_a_failed_check_has_an_exit_code_of_its_own(run: RunInfo, capsys: pytest.CaptureFixture[str]) -> None:
    (run.path / "manifest.csv").write_text((run.path / "manifest.csv").read_text().replace("/odd", "/gone"))
    assert cli.run(["export", str(run.path), "--to", "onnx", "--json"]) == 5
    assert "no export of it can be checked" in capsys.readouterr().out


def test_help_names_every_format() -> None:
    command = get_command(cli.app).commands["export"]  # type: ignore[attr-defined]
    told = next(option.help for option in command.params if option.name == "to")
    assert all(name in told for name in (*names(), ALL))
