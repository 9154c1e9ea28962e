"""What the sessions and connections of one pool share."""

from __future__ import annotations

from proxy.postgres.pool_state import CATALOGUE_S, PoolState


def shared() -> PoolState:
    return PoolState(max_prepared_statements=7)


def test_the_same_statuses_are_one_object() -> None:
    state = shared()
    one = state.intern_reported({"a": "1", "b": "2"})
    assert state.intern_reported({"b": "2", "a": "1"}) is one
    assert state.intern_reported({"a": "1", "b": "3"}) is not one


def test_memory_for_statuses_and_greetings_is_bounded() -> None:
    state = shared()
    first = state.intern_reported({"n": "first"})
    kept = [state.settings.intern({"n": str(number)}) for number in range(3000)]
    for settings in kept:
        state.intern_reported(settings.values)
        state.learn_greeting(settings, {})
    assert state.intern_reported({"n": "first"}) is not first
    assert state.greeting(kept[0]) is None
    assert state.greeting(kept[-1]) == {}


def test_greetings_are_known_per_settings_until_forgotten() -> None:
    state = shared()
    plain, special = state.settings.none, state.settings.intern({"a": "1"})
    assert state.greeting(plain) is None
    state.learn_greeting(plain, {"TimeZone": "UTC"})
    assert state.greeting(plain) == {"TimeZone": "UTC"}
    assert state.greeting(special) is None
    state.forget_greetings()
    assert state.greeting(plain) is None


def test_the_catalogue_is_read_by_one_connection_a_minute() -> None:
    state = shared()
    assert state.catalogue_is_due(100.0)
    assert not state.catalogue_is_due(100.0)
    assert not state.catalogue_is_due(100.0 + CATALOGUE_S - 0.1)
    assert state.catalogue_is_due(100.0 + CATALOGUE_S)
    assert not state.catalogue_is_due(100.1 + CATALOGUE_S)


def test_a_baseline_is_gone_after_discard_all() -> None:
    state = shared()
    assert state.discarded is state.settings.none
    state.learn_baseline({"work_mem": "5MB"})
    assert state.discarded.values == {"work_mem": ""}
    before = state.discarded
    state.learn_baseline({"work_mem": "5MB"})
    assert state.discarded is before
    state.learn_baseline({})
    assert state.discarded is state.settings.none
