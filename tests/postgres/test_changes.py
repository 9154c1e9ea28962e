"""What is asked at the end of a transaction, and what the answers mean, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres import effects as fx
from proxy.postgres.changes import Changes, decode_row, session_settings, survives_discard
from proxy.postgres.inspection import inspect
from proxy.postgres.settings import SettingsTable
from tests.support import messages as wire
from tests.support.wire import WireClient, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.postgres.effects import Effects
    from tests.support.servers import PostgresServer


@pytest.fixture
def client(server: PostgresServer) -> Iterator[WireClient]:
    with connect(server.host, server.port) as connected:
        yield connected


def effects(sql: str) -> Effects:
    found = inspect(sql.encode())
    assert found is not None
    return found


def noted(*statements: str, pins: int = 0, **known: str) -> Changes:
    changes = Changes()
    for sql in statements:
        changes.note(effects(sql), pins, SettingsTable().intern(known))
    return changes


def answer(client: WireClient, changes: Changes) -> list[bytes]:
    got = client.exchange(wire.query(changes.query()))
    assert wire.states(got) == []
    return [message.payload for message in got if message.code == "D"]


# What is asked.


def test_nothing_to_ask() -> None:
    assert Changes().query() == b""
    assert noted("DROP TABLE t").query() == b""
    assert noted("DISCARD ALL").query() == b""


def test_an_end_is_asked_about_only_by_who_holds_it() -> None:
    assert noted("UNLISTEN *", pins=fx.ADVISORY_LOCK).query() == b""
    assert b"'listen'" in noted("UNLISTEN *", pins=fx.LISTEN | fx.ADVISORY_LOCK).query()
    assert noted("DISCARD ALL", pins=fx.ALL_STATE).suspects == fx.ALL_STATE


def test_a_query_asks_each_thing_once() -> None:
    changes = noted(*["SET work_mem = 1; LISTEN a; SET b.c = 1"] * 3)
    assert changes.query().count(b"SELECT 'setting'") == 2
    assert changes.query().count(b"SELECT 'listen'") == 1


def test_reset_all_asks_about_what_the_session_has() -> None:
    changes = noted("RESET ALL", work_mem="9MB", role="x")
    assert changes.settings == changes.reset == {"work_mem", "role"}


def test_a_rollback_undoes_resets_but_not_suspicions() -> None:
    changes = noted("RESET work_mem; SET a.b = 1")
    assert changes.reset == {"work_mem"}
    changes.rolled_back()
    assert changes.reset == set()
    assert changes.settings == {"work_mem", "a.b"}


def test_reasons_to_pin_for_good_and_definitions_are_kept() -> None:
    changes = noted("LOAD 'x'", "DROP FUNCTION f", "SET a.b = 1")
    assert changes.permanent == "load"
    assert changes.redefined


# What the server answers.


@pytest.mark.parametrize(
    ("make", "undo", "state"),
    [
        ("CREATE TEMP TABLE t (a int)", "DROP TABLE t", fx.TEMPORARY_TABLE),
        ("CREATE TEMP VIEW v AS SELECT 1", "DROP VIEW v", fx.TEMPORARY_TABLE),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION pg_temp.f()",
            fx.TEMPORARY_TABLE,
        ),
        ("CREATE TYPE pg_temp.e AS ENUM ('a')", "DROP TYPE pg_temp.e", fx.TEMPORARY_TABLE),
        ("SELECT pg_advisory_lock(77)", "SELECT pg_advisory_unlock(77)", fx.ADVISORY_LOCK),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c", fx.CURSOR_WITH_HOLD),
        ("PREPARE p AS SELECT 1", "DEALLOCATE p", fx.PREPARED_STATEMENT),
        ("LISTEN news", "UNLISTEN news", fx.LISTEN),
    ],
)
def test_states(client: WireClient, make: str, undo: str, state: int) -> None:
    before, after = noted(make), noted(undo, pins=state)
    assert before.found_states(answer(client, before)) == 0
    assert wire.states(client.query(make)) == []
    assert before.found_states(answer(client, before)) == state
    assert wire.states(client.query(undo)) == []
    assert after.found_states(answer(client, after)) == 0


def test_everything_at_once(client: WireClient) -> None:
    text = "LISTEN a; PREPARE p AS SELECT 1; SELECT pg_advisory_lock(78); SET app.x = 'it''s é'"
    changes = noted(text, "SET work_mem = '9MB'", "SET no.such = 1")
    client.query(text)
    rows = answer(client, changes)
    assert changes.found_states(rows) == fx.LISTEN | fx.PREPARED_STATEMENT | fx.ADVISORY_LOCK
    assert changes.found_settings(rows) == {"app.x": "it's é", "work_mem": "4MB", "no.such": None}


@pytest.mark.parametrize("name", ["", "a b.c", "x'; SELECT 1; --", 'q"q', "b\\s", "app.naïve"])
def test_any_name_can_be_asked_about(client: WireClient, name: str) -> None:
    changes = Changes()
    changes.settings.add(name)
    assert changes.found_settings(answer(client, changes)) == {name: None}


# What it means for the session.


def test_session_settings() -> None:
    table = SettingsTable()
    startup = table.intern({"work_mem": "5MB", "application_name": "psql"})
    session = table.intern({"work_mem": "9MB", "application_name": "psql", "a.b": "1"})
    found: dict[str, str | None] = {"work_mem": "4MB", "a.b": None, "c.d": "2"}
    assert session_settings(table, found, set(), session, startup).values == {
        "work_mem": "4MB",
        "application_name": "psql",
        "c.d": "2",
    }
    # RESET goes to what the session started with, whatever this connection's default is.
    reset = session_settings(table, found, {"work_mem", "c.d"}, session, startup)
    assert reset is startup


def test_what_survives_discard_all() -> None:
    assert survives_discard("load")
    assert survives_discard("random_seed")
    assert not survives_discard("set_config")
    assert not survives_discard("")


@given(st.lists(st.none() | st.binary(max_size=300), max_size=5))
def test_rows_are_decoded(values: list[bytes | None]) -> None:
    payload = len(values).to_bytes(2, "big")
    for value in values:
        size = -1 if value is None else len(value)
        payload += size.to_bytes(4, "big", signed=True) + (value or b"")
    assert decode_row(payload) == values
