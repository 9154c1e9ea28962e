"""Kinds of state and their names."""

from __future__ import annotations

from proxy.mysql import effects


def test_every_kind_has_a_bit_and_a_name_of_its_own() -> None:
    kinds = list(effects.REASONS)
    assert all(kind & (kind - 1) == 0 for kind in kinds)
    assert len(set(effects.REASONS.values())) == len(kinds)
    assert effects.reasons(sum(kinds)) == list(effects.REASONS.values())


def test_no_kind_no_reason() -> None:
    assert effects.reasons(0) == []
    assert effects.reasons(effects.HANDLER) == ["handler"]
