"""Settings of sessions: interned, read from reports, replayed in one SET."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.settings import (
    SettingsTable,
    answers,
    mixes_up,
    question,
    quote_literal,
    read_changes,
    replay_sql,
)

BASELINE = {
    "autocommit": "ON",
    "character_set_connection": "utf8mb4",
    "character_set_results": "utf8mb4",
    "collation_connection": "utf8mb4_0900_ai_ci",
    "max_join_size": "18446744073709551615",
    "sql_big_selects": "ON",
    "sql_mode": "STRICT_TRANS_TABLES",
    "time_zone": "SYSTEM",
    "tx_isolation": "REPEATABLE-READ",
}
VALUES = st.dictionaries(st.sampled_from(["time_zone", "sql_mode", "x.y"]), st.text(max_size=5))


@given(VALUES, VALUES)
def test_equal_settings_are_one_object(left: dict[str, str], right: dict[str, str]) -> None:
    table = SettingsTable()
    assert (table.intern(left) is table.intern(right)) == (left == right)
    changes: dict[str, str | None] = {name: None for name in left}
    changes.update(right)
    assert table.updated(table.intern(left), changes) is table.intern(right)


def test_unused_settings_are_forgotten() -> None:
    table = SettingsTable()
    table.intern({"time_zone": "+01:00"})
    assert len(table) == 1


def test_a_report_of_the_baseline_takes_the_value_out() -> None:
    changes = read_changes([("time_zone", "SYSTEM"), ("sql_mode", "")], BASELINE)
    assert changes.values == {"time_zone": None, "sql_mode": ""}
    assert not changes.pins
    assert not changes.unknown


def test_what_changes_unreported_must_be_asked_for() -> None:
    changes = read_changes([("character_set_connection", "latin1")], BASELINE)
    assert changes.unknown == {"character_set_connection", "collation_connection"}
    assert question(changes.unknown) == (
        b"SELECT @@session.character_set_connection,@@session.collation_connection"
    )
    assert answers(changes.unknown, ["latin1", "latin1_bin"], BASELINE).values == {
        "character_set_connection": "latin1",
        "collation_connection": "latin1_bin",
    }
    assert answers({"sql_big_selects"}, ["1"], BASELINE).values == {"sql_big_selects": None}
    assert answers({"sql_big_selects"}, ["0"], BASELINE).values == {"sql_big_selects": "OFF"}


def test_noise_is_dropped_and_one_shot_values_pin() -> None:
    reported = [("statement_id", "9"), ("session_track_schema", "ON"), ("insert_id", "5")]
    changes = read_changes([*reported, ("timestamp", "1.000000"), ("identity", "7")], BASELINE)
    assert changes.values == {}
    assert changes.pins == ["insert_id", "timestamp"]
    assert changes.insert_id


MIXING = {
    **BASELINE,
    "foreign_key_checks": "ON",
    "profiling": "OFF",
    "version": "11.8.9-MariaDB-4",
}


@pytest.mark.parametrize("reported", ["autocommit", "foreign_key_checks", "profiling"])
def test_what_is_reported_under_anothers_name_is_asked_for(reported: str) -> None:
    changes = read_changes([(reported, "ON"), ("time_zone", "+01:00")], MIXING)
    assert changes.values == {"time_zone": "+01:00"}
    assert not changes.pins
    mixed_up = {"autocommit", "foreign_key_checks", "profiling", "sql_big_selects"}
    assert changes.unknown == mixed_up
    found = answers(mixed_up, ["0", "0", "0", "1"], MIXING)
    assert not found.pins
    assert found.values == {
        "autocommit": "OFF",
        "foreign_key_checks": "OFF",
        "sql_big_selects": None,
    }
    assert answers(mixed_up, ["1", "1", "1", "1"], MIXING).pins == ["profiling"]


@pytest.mark.parametrize("reported", ["identity", "insert_id", "last_insert_id", "timestamp"])
def test_what_runs_on_and_may_be_another_pins_and_is_asked_for(reported: str) -> None:
    changes = read_changes([(reported, "5")], MIXING)
    assert changes.pins == ["insert_id" if reported == "insert_id" else "timestamp"]
    assert changes.insert_id


@pytest.mark.parametrize(
    ("version", "mixing"),
    [
        ("11.8.9-MariaDB-4", True),
        ("11.1.2-MariaDB", True),
        ("12.0.1-MariaDB", True),
        ("11.0.6-MariaDB", False),
        ("10.11.19-MariaDB-0+deb12u1", False),
        ("9.7.4", False),
        ("12.0.0", False),
        ("", False),
    ],
)
def test_which_servers_mix_variables_up(version: str, mixing: bool) -> None:
    assert mixes_up(version) == mixing


def test_an_alias_is_kept_where_the_server_knows_no_other_name() -> None:
    reported = [("tx_isolation", "SERIALIZABLE")]
    assert read_changes(reported, BASELINE).values == {"tx_isolation": "SERIALIZABLE"}
    newer = {**BASELINE, "transaction_isolation": "REPEATABLE-READ"}
    assert read_changes(reported, newer).values == {"transaction_isolation": "SERIALIZABLE"}


@pytest.mark.parametrize(
    ("held", "wanted", "sql"),
    [
        ({}, {}, b""),
        ({}, {"time_zone": "+01:00"}, b"SET @@session.time_zone='+01:00'"),
        ({"time_zone": "+01:00"}, {}, b"SET @@session.time_zone='SYSTEM'"),
        ({"gone": "1"}, {}, b"SET @@session.gone=DEFAULT"),
        ({}, {"long_query_time": "10.500000"}, b"SET @@session.long_query_time=10.500000"),
        ({}, {"sql_mode": ""}, b"SET @@session.sql_mode=''"),
        ({}, {"character_set_results": ""}, b"SET @@session.character_set_results=NULL"),
        (
            {},
            {"character_set_connection": "latin1", "collation_connection": "latin1_bin"},
            b"SET @@session.collation_connection='latin1_bin'",
        ),
        (
            {},
            {"character_set_server": "latin1", "collation_server": "latin1_bin"},
            b"SET @@session.collation_server='latin1_bin'",
        ),
        (
            {"max_join_size": "5", "sql_big_selects": "OFF"},
            {"max_join_size": "6", "sql_big_selects": "OFF"},
            b"SET @@session.max_join_size=6,@@session.sql_big_selects='OFF'",
        ),
    ],
)
def test_the_difference_is_one_set(
    held: dict[str, str], wanted: dict[str, str], sql: bytes
) -> None:
    table = SettingsTable()
    assert replay_sql(table.intern(held), table.intern(wanted), BASELINE) == sql


@given(st.text())
def test_a_literal_cannot_be_escaped(text: str) -> None:
    literal = quote_literal(text)
    assert literal.isascii()
    assert b"\\" not in literal
    if literal.startswith(b"'"):
        assert literal[1:-1].replace(b"''", b"") == text.replace("'", "").encode()
    else:
        assert bytes.fromhex(literal.split(b"0x")[1].decode()) == text.encode()
