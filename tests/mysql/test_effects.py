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


def test_what_called_code_does_is_added() -> None:
    called, text = effects.Effects(), effects.Effects()
    called.may_begin = effects.NAMED_LOCK
    called.lock_names = frozenset({b"'a'"})
    called.user_variables = frozenset({b"x"})
    text.lock_names = frozenset({b"'b'"})
    text.outcome_calls.append((1, 2, True, b"row_count"))
    found = text.copy()
    found.add(called)
    assert found.may_begin == effects.NAMED_LOCK
    assert found.lock_names == frozenset({b"'a'", b"'b'"})
    assert found.user_variables == frozenset({b"x"})
    assert found.outcome_calls == text.outcome_calls
    assert text.may_begin == 0
    called.lock_names = None
    found.add(called)
    assert found.lock_names is None


def test_a_copy_has_everything() -> None:
    made = effects.Effects()
    names = [name for name in dir(made) if name[0] != "_" and not callable(getattr(made, name))]
    assert "redefines" in names
    for name in names:
        before = getattr(made, name)
        if isinstance(before, (bool, int)):
            setattr(made, name, type(before)(7))
        elif isinstance(before, frozenset):
            setattr(made, name, frozenset({b"z"}))
        elif isinstance(before, list):
            setattr(made, name, [(0, 1, True)] if name == "connection_ids" else [(0, 1, True, b"")])
        elif isinstance(before, str):
            setattr(made, name, "x")
    copy = made.copy()
    for name in names:
        assert getattr(copy, name) == getattr(made, name), name
