"""Attacks on the guard; passwords are hashed at a cost that suits tests."""

from __future__ import annotations

import pytest

from tl_app.serving import logins


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_COST", 2**8)
