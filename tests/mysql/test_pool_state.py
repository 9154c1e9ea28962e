"""What the sessions of a pool share."""

from __future__ import annotations

from proxy.mysql import pipeline as pl
from proxy.mysql.lenenc import lenenc
from proxy.mysql.pool_state import CATALOGUE_S, PoolState
from proxy.mysql.tracking import read_track

BASELINE = {
    "version": "9.7.4",
    "sql_mode": "ANSI",
    "character_set_client": "utf8mb4",
    "session_track_system_variables": "time_zone, autocommit",
    "session_track_schema": "ON",
    "session_track_state_change": "OFF",
}


def state() -> PoolState:
    """Make one that knows a baseline."""
    shared = PoolState(max_prepared_statements=10)
    shared.learn_baseline(BASELINE)
    return shared


def test_what_clients_are_told_is_what_the_server_would_tell() -> None:
    tracking = state().tracking
    assert sorted(tracking.variables or ()) == ["autocommit", "time_zone"]
    assert (tracking.schema, tracking.state_change, tracking.gtids) == (True, False, False)


def test_nothing_is_learned_from_a_connection_that_was_not_asked() -> None:
    shared = state()
    shared.learn_baseline({})
    assert shared.baseline == BASELINE


def test_what_the_ok_of_a_login_tells_of_variables() -> None:
    shared = state()
    assert shared.login_track() == b""
    shared.told_at_login = "character_set_client,sql_mode"
    variables = read_track(shared.login_track()).variables
    assert variables == [("character_set_client", "utf8mb4"), ("sql_mode", "ANSI")]


def test_what_a_reset_leads_to() -> None:
    shared = state()
    question = pl.Question(pl.AFTER_RESET)
    rows = {"sql_mode": "", "version": "9.7.4", "timestamp": "1", "unheard_of": "1"}
    question.payloads = [b"\x02", b"name", b"value"]
    question.payloads += [lenenc(n.encode()) + lenenc(v.encode()) for n, v in rows.items()]
    question.payloads.append(b"\xfe")
    assert shared.learn_after_reset(question).values == {"sql_mode": ""}


def test_multibyte_character_sets() -> None:
    shared = state()
    assert not shared.is_multibyte(shared.settings.none)
    assert shared.is_multibyte(shared.settings.intern({"character_set_client": "gbk"}))


def test_functions_that_complain_are_those_of_the_server() -> None:
    assert state().unknown_statement_by(0x1C) == "mysql_stmt_precheck"
    shared = PoolState(max_prepared_statements=1)
    shared.learn_baseline({**BASELINE, "version": "10.11.19-MariaDB"})
    assert shared.unknown_statement_by(0x1C) == "mysqld_stmt_fetch"


def test_the_catalogue_is_read_by_one_connection_a_minute() -> None:
    state = PoolState(max_prepared_statements=3)
    assert state.catalogue_is_due(100.0)
    assert not state.catalogue_is_due(100.0)
    assert not state.catalogue_is_due(100.0 + CATALOGUE_S - 0.1)
    assert state.catalogue_is_due(100.0 + CATALOGUE_S)
    assert not state.catalogue_is_due(100.1 + CATALOGUE_S)
