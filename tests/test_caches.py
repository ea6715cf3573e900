"""Entries, their bytes and their order; a small budget stands for a full one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tl_app import caches, resources
from tl_app.engine.speeds import remembered
from tl_app.errors import UsageError

KIB = 1 << 10


def make(kind: str, key: str, size_bytes: int, age_seconds: float = 0.0) -> Path:
    """An entry of one file, used ``age_seconds`` ago."""
    path = caches.folder(kind, key)
    (path / "content").write_bytes(os.urandom(size_bytes))
    used = time.time() - age_seconds
    os.utime(path, (used, used))
    return path


@pytest.fixture
def three() -> list[Path]:
    """64 KiB each, the oldest first, under a budget of 256 KiB."""
    caches.set_budget(256 * KIB)
    ages = {"decoded": 30, "boundary": 20, "zips": 10}
    return [make(kind, "one", 64 * KIB, age) for kind, age in ages.items()]


def test_a_folder_is_made_and_counts_as_used(home: Path) -> None:
    path = make("decoded", "abc", 10, age_seconds=1000)
    assert path == home / "cache" / "decoded" / "abc"
    assert path.stat().st_mtime < time.time() - 900
    assert caches.folder("decoded", "abc") == path
    assert path.stat().st_mtime > time.time() - 100


def test_what_fits_removes_nothing(three: list[Path]) -> None:
    assert caches.make_room(64 * KIB)
    assert all(path.is_dir() for path in three)


def test_the_least_recently_used_go_first(three: list[Path]) -> None:
    assert caches.make_room(65 * KIB)
    assert [path.is_dir() for path in three] == [False, True, True]
    caches.folder("boundary", "one")  # used again: now the zip is the oldest
    assert caches.make_room(129 * KIB)
    assert [path.is_dir() for path in three] == [False, True, False]
    assert not list(resources.cache_dir().glob("*/.trash-*"))


def test_kept_entries_stay(three: list[Path]) -> None:
    assert caches.make_room(128 * KIB, keep=[three[0]])
    assert [path.is_dir() for path in three] == [True, False, True]


def test_nothing_is_removed_when_it_would_not_help(three: list[Path]) -> None:
    assert not caches.make_room(257 * KIB)
    assert not caches.make_room(193 * KIB, keep=three[2:])
    assert all(path.is_dir() for path in three)


def test_a_full_disk_counts_like_a_full_budget(three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_disk", lambda: (10 << 30, (1 << 30) + 10 * KIB))
    assert caches.make_room(10 * KIB) and all(path.is_dir() for path in three)
    assert caches.make_room(11 * KIB)
    assert [path.is_dir() for path in three] == [False, True, True]
    assert not caches.make_room(150 * KIB)
    monkeypatch.setattr(caches, "_disk", lambda: (1 << 40, (2 << 30) - 100 * KIB))  # a large disk: 2 GiB
    assert not caches.make_room(100 * KIB)
    assert [path.is_dir() for path in three] == [False, True, True]


def test_a_file_that_is_still_empty_counts_in_full(
    three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved = caches.folder("boundary", "two")
    with open(reserved / "content", "wb") as file:
        file.truncate(64 * KIB)
    assert caches.info().total_bytes == 256 * KIB
    assert caches.make_room(0) and three[0].is_dir()
    assert caches.make_room(1, keep=[reserved]) and not three[0].is_dir()
    monkeypatch.setattr(caches, "_disk", lambda: (10 << 30, (1 << 30) + 60 * KIB))
    assert caches.make_room(0, keep=[reserved]) and not three[1].is_dir()  # 64 KiB are still to come


def test_an_entry_in_use_is_not_removed(three: list[Path]) -> None:
    held = caches.hold(three[0])
    assert caches.in_use() == ["decoded/one"] and caches.in_use("zips") == []
    assert caches.make_room(65 * KIB)
    assert [path.is_dir() for path in three] == [True, False, True]
    assert caches.clear() == 64 * KIB
    assert [path.is_dir() for path in three] == [True, False, False]
    held.release()
    held.release()
    assert caches.in_use() == [] and caches.clear() == 64 * KIB and not three[0].exists()


def test_two_users_of_one_entry(three: list[Path]) -> None:
    first = caches.hold(three[0])
    with caches.hold(three[0]):
        first.release()
        assert caches.in_use() == ["decoded/one"]
    assert caches.in_use() == []


def test_an_entry_that_is_forgotten_is_let_go(three: list[Path]) -> None:
    held = caches.hold(three[0])
    assert caches.in_use() == ["decoded/one"]
    del held
    assert caches.in_use() == []


def test_another_process_holds_until_it_is_killed(three: list[Path]) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tl_app import caches\n"
        f"held = caches.hold(Path({str(three[0])!r})); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert caches.in_use() == ["decoded/one"]
        assert caches.clear("decoded") == 0 and three[0].is_dir()
        other.kill()
        other.wait()
    assert caches.in_use() == []
    assert caches.clear("decoded") == 64 * KIB and not three[0].exists()
    assert not list(resources.cache_dir().glob(".in-use/*"))  # its mark is swept away


def test_holding_makes_an_entry_again(three: list[Path]) -> None:
    caches.clear()
    with caches.hold(three[0]):
        assert three[0].is_dir()


def test_clearing_one_kind(three: list[Path]) -> None:
    assert caches.clear("boundary") == 64 * KIB
    assert [path.is_dir() for path in three] == [True, False, True]
    with pytest.raises(UsageError, match="There is no cache 'photos'.*boundary, decoded"):
        caches.clear("photos")


def test_what_was_measured_goes_when_it_is_cleared_and_never_for_room(three: list[Path]) -> None:
    """On a machine that was busy it may be wrong, but a full cache is no reason to measure again."""
    cpu, answers = torch.device("cpu"), iter(("busy", "idle"))
    assert remembered("form", cpu, lambda: next(answers)) == "busy"
    kinds = {kind.kind: kind for kind in caches.info().kinds}
    assert kinds["speeds"].entries == 1 and kinds["speeds"].bytes > 0
    assert caches.make_room(256 * KIB) and [kind.kind for kind in caches.info().kinds] == ["speeds"]
    caches.set_budget(0)
    assert remembered("form", cpu, lambda: next(answers)) == "busy"
    assert caches.clear("zips") == 0 and caches.clear() > 0 and caches.info().kinds == ()
    assert remembered("form", cpu, lambda: next(answers)) == "idle"


def test_what_a_killed_process_was_deleting_is_deleted(three: list[Path]) -> None:
    left = resources.cache_dir() / "decoded" / ".trash-1"
    left.mkdir()
    (left / "content").write_bytes(b"x")
    assert caches.info().total_bytes == 192 * KIB
    assert caches.make_room(0)
    assert not left.exists() and all(path.is_dir() for path in three)


def test_zips_that_are_being_unpacked_are_left_alone(three: list[Path]) -> None:
    partial = make("zips", "partial-x", KIB, age_seconds=1000)
    assert caches.make_room(65 * KIB) and caches.clear("zips") == 64 * KIB
    assert partial.is_dir() and not three[2].exists()


def test_info(three: list[Path], home: Path) -> None:
    make("decoded", "two", 4 * KIB)
    found = caches.info()
    assert found.where == str(home / "cache") and found.budget_bytes == 256 * KIB
    assert [(kind.kind, kind.entries, kind.bytes) for kind in found.kinds] == [
        ("boundary", 1, 64 * KIB),
        ("decoded", 2, 68 * KIB),
        ("zips", 1, 64 * KIB),
    ]
    assert found.total_bytes == 196 * KIB
    assert found.kinds[1].last_used > found.kinds[2].last_used > found.kinds[0].last_used
    assert found.kinds[0].last_used.endswith("Z")


def test_nothing_is_cached_yet() -> None:
    found = caches.info()
    assert found.kinds == () and found.total_bytes == 0 and found.budget_bytes > 0
    assert caches.clear() == 0 and caches.in_use() == []


def test_the_budget(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_disk", lambda: (10**12, 40 << 30))
    assert caches.budget_bytes() == 10 << 30
    monkeypatch.setattr(caches, "_disk", lambda: (10**12, 400 << 30))
    assert caches.budget_bytes() == 20 << 30
    caches.set_budget(5 << 30)
    assert caches.budget_bytes() == 5 << 30
    assert json.loads((home / "cache.json").read_text()) == {"budget_bytes": 5 << 30}
    (home / "cache.json").write_text("[]")
    assert caches.budget_bytes() == 20 << 30
    with pytest.raises(UsageError, match="limited to -1 bytes"):
        caches.set_budget(-1)


def test_a_lower_budget_holds_at_once(three: list[Path]) -> None:
    held = caches.hold(three[0])
    caches.set_budget(130 * KIB)
    assert [path.is_dir() for path in three] == [True, False, True]
    caches.set_budget(0)
    assert [path.is_dir() for path in three] == [True, False, False]  # in use: it may stay over the budget
    held.release()
    assert not caches.make_room(1)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("20GB", 20 * 10**9),
        ("1.5 gib", 3 << 29),
        ("512M", 512 * 10**6),
        ("7kB", 7000),
        ("0", 0),
        ("1e3", 1000),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert caches.parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "much", "-1GB", "10XB", "GB", "infGB", "nan", "1GG", "5 GiBB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size.*20GB"):
        caches.parse_bytes(text)


def test_the_entry_around_a_path(home: Path, tmp_path: Path) -> None:
    inside = home / "cache" / "zips" / "abc" / "photos" / "a"
    assert caches.entry_of(inside) == caches.entry_of(inside.parents[1]) == home / "cache" / "zips" / "abc"
    assert caches.entry_of(home / "cache" / "zips") is None
    assert caches.entry_of(tmp_path) is None


def test_many_threads_at_once() -> None:
    """Entries come and go for want of room, but none while somebody works in it."""
    caches.set_budget(20 * KIB)

    def work(number: int) -> None:
        path = caches.folder("boundary", str(number % 6))
        with caches.hold(path):
            caches.make_room(4 * KIB, keep=[path])
            own = path / str(number)
            own.write_bytes(bytes(4 * KIB))
            caches.make_room(4 * KIB)
            assert own.stat().st_size == 4 * KIB

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))
    assert caches.in_use() == []
    assert caches.make_room(20 * KIB) and caches.info().total_bytes == 0
