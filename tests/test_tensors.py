"""Files of tensors: whole or not there, whatever goes wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from tl_app import tensors
from tl_app.files import remove_leftovers, write_atomically
from tl_app.tensors import write_tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, rows = tmp_path / "rows.safetensors", torch.arange(6.0).reshape(2, 3)
    write_tensors(path, {"rows": rows}, {"about": "them"})
    write_tensors(path, {"rows": rows + 1}, {"about": "more"})  # in the place of the first
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["about"] == "more"
        assert torch.equal(file.get_tensor("rows"), rows + 1)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="rights are POSIX's")
def test_it_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "rows", {"rows": torch.ones(2)})
        write_atomically(tmp_path / "text", b"text")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize(
    ("said", "number"),
    [("I/O error: No space left on device (os error 28)", errno.ENOSPC), ("something else", None)],
)
def test_what_cannot_be_written_leaves_the_old_file(
    said: str, number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    write_tensors(path, {"rows": torch.ones(2)})

    def full(tensors: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"half")
        raise SafetensorError(f"Error while serializing: {said}")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(OSError, match="No space left|something else") as caught:
        write_tensors(path, {"rows": torch.zeros(2)})
    assert caught.value.errno == number
    assert list(tmp_path.iterdir()) == [path] and load_file(path)["rows"].tolist() == [1, 1]


def test_safetensors_own_errors_say_which_of_the_systems_they_are(tmp_path: Path) -> None:
    """What the text of the error is searched for is there in the installed release."""
    with pytest.raises(SafetensorError) as caught:
        tensors.save_file({"rows": torch.ones(2)}, tmp_path / "missing" / "rows")
    assert tensors._SYSTEMS_NUMBER.search(str(caught.value))[1] == str(errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        write_tensors(tmp_path / "missing" / "rows", {"rows": torch.ones(2)})


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Of the names that safetensors gives to a file under way, too: as seen while it writes."""
    for name in (".rows.0.tmp", ".tmpuG6npV"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "rows").write_bytes(b"whole")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
