from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tl_app import resources
from tl_app.engine.speeds import remembered

CPU = torch.device("cpu")


def test_a_measurement_is_made_once() -> None:
    answers = iter([[32, 0.5], [64, 0.1]])
    assert remembered("batch", CPU, lambda: next(answers)) == [32, 0.5]
    assert remembered("batch", CPU, lambda: next(answers)) == [32, 0.5]
    assert remembered("another", CPU, lambda: next(answers)) == [64, 0.1]


def test_other_numbers_of_threads_are_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remembered("batch", CPU, lambda: 1) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert remembered("batch", CPU, lambda: 2) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}"])
def test_a_damaged_file_is_measured_again(content: bytes) -> None:
    remembered("batch", CPU, lambda: 1)
    (file,) = (resources.cache_dir() / "speeds").glob("*/*")
    file.write_bytes(content)
    assert remembered("batch", CPU, lambda: 2) == 2
    assert remembered("batch", CPU, lambda: 3) == 2


def test_without_a_disk_it_is_measured_every_time(home: Path) -> None:
    (home / "cache").write_text("a file where the folder should be")
    assert [remembered("batch", CPU, lambda n=n: n) for n in (1, 2)] == [1, 2]
