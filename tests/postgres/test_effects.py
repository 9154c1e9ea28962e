"""Effects of texts, added up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres import effects as fx
from proxy.postgres.effects import Effects, function_effects

FIELDS = (
    "settings", "resets", "reset_all", "may_begin", "may_end", "permanent", "executes",
    "reads_sequences", "redefines",
)  # fmt: skip


@st.composite
def some_effects(draw: st.DrawFn) -> Effects:
    made = Effects()
    made.settings = draw(st.sets(st.sampled_from("abc")))
    made.resets = draw(st.sets(st.sampled_from("abc")))
    made.may_begin = draw(st.integers(0, fx.ALL_STATE))
    made.may_end = draw(st.integers(0, fx.ALL_STATE))
    made.permanent = draw(st.sampled_from(["", "load", "random_seed"]))
    for name in ("reset_all", "executes", "reads_sequences", "redefines"):
        setattr(made, name, draw(st.booleans()))
    return made


def values(effects: Effects) -> dict[str, object]:
    return {name: getattr(effects, name) for name in FIELDS}


def test_nothing_is_false() -> None:
    assert not Effects()


def test_every_kind_of_state_has_its_reason() -> None:
    assert sum(fx.REASONS) == fx.ALL_STATE
    assert len(set(fx.REASONS.values())) == len(fx.REASONS)


@given(some_effects())
def test_true_as_soon_as_anything_is_known(effects: Effects) -> None:
    assert bool(effects) == any(values(effects).values())


def test_places_of_names_count_too() -> None:
    effects = Effects()
    effects.statement_names.append((0, 1))
    assert effects


@given(some_effects(), some_effects())
def test_adding_loses_nothing(one: Effects, two: Effects) -> None:
    before = values(one)
    one.add(two)
    after, other = values(one), values(two)
    for name in FIELDS:
        if name == "permanent":
            assert after[name] == (before[name] or other[name])
        else:
            left, right = before[name], other[name]
            assert isinstance(left, int | set)
            assert after[name] == left | right  # type: ignore[operator]


@given(some_effects(), some_effects())
def test_what_was_added_is_not_shared(one: Effects, two: Effects) -> None:
    one.add(two)
    one.settings.add("new")
    assert "new" not in two.settings


def test_large_object_functions_leave_nothing() -> None:
    assert all(function_effects(number) is None for number in fx.LARGE_OBJECT_FUNCTIONS)


def test_any_other_function_is_asked_about() -> None:
    for number in (177, 2880, 20_000):  # int4pl, pg_advisory_lock, a user's
        found = function_effects(number)
        assert found is not None
        assert (found.may_begin, found.permanent) == (fx.ALL_STATE, "")


def test_functions_that_cannot_be_asked_about_pin() -> None:
    reasons = [getattr(function_effects(number), "permanent", None) for number in (2078, 1599)]
    assert reasons == ["set_config", "random_seed"]


def test_functions_that_read_sequences_are_known() -> None:
    for number in (1575, 2559):
        found = function_effects(number)
        assert found is not None
        assert found.reads_sequences
