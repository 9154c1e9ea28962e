"""That the micro benchmark's conversations are ones the scanners take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import scanners

if TYPE_CHECKING:
    import pytest


def test_every_scanner_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanners, "_REPEATS", 10)
    found = scanners.run()
    assert len(found) == 8
    assert all(nanoseconds > 0 for nanoseconds in found.values())
