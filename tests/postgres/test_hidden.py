"""What functions, triggers and views do to a session, as a real server's catalogue tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres import effects as fx
from proxy.postgres.hidden import (
    CATALOGUE_QUERY,
    HiddenEffects,
    read_catalogue,
    read_catalogue_payloads,
)
from proxy.postgres.inspection import inspect
from tests.support import messages as wire
from tests.support.wire import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.postgres.effects import Effects
    from tests.support.servers import PostgresServer

DATABASE = "hidden"
DEFINITIONS = """
CREATE FUNCTION sets() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('app.tenant', '1', false); END $$;
CREATE FUNCTION sets_by_name(name text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config($1, 'x', false) $$;
CREATE FUNCTION calls() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM SETS(); RETURN 1; END $$;
CREATE FUNCTION calls_calls() RETURNS int LANGUAGE sql AS 'SELECT calls()';
CREATE FUNCTION standard() RETURNS text LANGUAGE sql
  RETURN set_config('app.standard', 'x', false);
CREATE FUNCTION atomic() RETURNS text LANGUAGE sql
  BEGIN ATOMIC SELECT set_config('app.atomic', 'x', false); END;
CREATE FUNCTION "Mixed Case"() RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.mixed', 'x', false) $$;
CREATE FUNCTION "we""ird"() RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.weird', 'x', false) $$;
CREATE FUNCTION "naïve"() RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.naive', 'x', false) $$;
CREATE FUNCTION sets_role() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE NONE; END $$;
CREATE FUNCTION resets() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RESET work_mem; END $$;
CREATE FUNCTION locks() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(1)';
CREATE FUNCTION locks_for_a_transaction() RETURNS void LANGUAGE sql AS
  'SELECT pg_advisory_xact_lock(1)';
CREATE FUNCTION makes_a_table() RETURNS void LANGUAGE plpgsql AS
  $$ BEGIN CREATE TEMP TABLE made (); END $$;
CREATE FUNCTION listens() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LISTEN news; END $$;
CREATE PROCEDURE proceeds() LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '9MB'; END $$;
CREATE FUNCTION innocent() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION innocent_local() RETURNS int SET work_mem = '9MB' LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION overloaded(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION overloaded(text) RETURNS text LANGUAGE sql AS
  $$ SELECT set_config('app.over', $1, false) $$;
CREATE TABLE plain (a int);
CREATE TABLE watched (a int);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('app.watched', '1', false); RETURN NEW; END $$;
CREATE TRIGGER watches BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TABLE "Watched Too" (a int);
CREATE TRIGGER watches BEFORE INSERT ON "Watched Too" FOR EACH ROW EXECUTE FUNCTION watch();
CREATE VIEW seen AS SELECT set_config('app.unseen', '1', false), calls();
CREATE VIEW seen_from_afar AS SELECT * FROM seen;
CREATE VIEW writable AS SELECT a FROM watched;
CREATE FUNCTION writes() RETURNS void LANGUAGE sql AS 'INSERT INTO watched VALUES (1)';
CREATE FUNCTION default_of() RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('app.default', '1', false); RETURN 1; END $$;
CREATE TABLE with_default (a int DEFAULT default_of());
CREATE TABLE with_check (a int CHECK (default_of() > 0));
CREATE VIEW innocent_view AS SELECT 1 AS one;
"""


@pytest.fixture(scope="module")
def rows(server: PostgresServer) -> Iterator[list[list[bytes | None]]]:
    server.admin(f"CREATE DATABASE {DATABASE} OWNER app")
    try:
        with connect(server.host, server.port, "app", DATABASE) as client:
            assert wire.states(client.query(DEFINITIONS)) == []
            got = client.exchange(wire.query(CATALOGUE_QUERY))
            assert wire.states(got) == []
            yield wire.rows(got)
    finally:
        server.admin(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture(scope="module")
def hidden(rows: list[list[bytes | None]]) -> HiddenEffects:
    found = read_catalogue(rows)
    assert found is not None
    return found


def seen(hidden: HiddenEffects, sql: str) -> Effects | None:
    return hidden.added_to(sql.encode(), inspect(sql.encode()))


@pytest.mark.parametrize(
    ("sql", "setting"),
    [
        ("SELECT sets()", "app.tenant"),
        ('SELECT public."sets"()', "app.tenant"),
        ("SELECT SETS ( )", "app.tenant"),
        ("SELECT * FROM sets()", "app.tenant"),
        ("SELECT calls()", "app.tenant"),
        ("SELECT 1 WHERE calls_calls() = 1", "app.tenant"),
        ("SELECT standard()", "app.standard"),
        ("SELECT atomic()", "app.atomic"),
        ('SELECT "Mixed Case"()', "app.mixed"),
        ('SELECT "we""ird"()', "app.weird"),
        ('SELECT "naïve"()', "app.naive"),
        ("SELECT naïve()", "app.naive"),
        ("SELECT sets_role()", "role"),
        ("SELECT resets()", "work_mem"),
        ("CALL proceeds()", "work_mem"),
        ("DO $$ BEGIN PERFORM sets(); END $$", "app.tenant"),
        ("PREPARE p AS SELECT sets()", "app.tenant"),
        ("SELECT overloaded('x')", "app.over"),
        ("INSERT INTO watched VALUES (1)", "app.watched"),
        ("insert into public . WATCHED values (1)", "app.watched"),
        ('INSERT INTO "Watched Too" VALUES (1)', "app.watched"),
        ("COPY watched FROM STDIN", "app.watched"),
        ("SELECT * FROM seen", "app.tenant"),
        ("SELECT * FROM seen_from_afar", "app.tenant"),
        ("INSERT INTO writable VALUES (1)", "app.watched"),
        ("SELECT writes()", "app.watched"),
        ("INSERT INTO with_default DEFAULT VALUES", "app.default"),
        ("INSERT INTO with_check VALUES (1)", "app.default"),
    ],
)
def test_settings(hidden: HiddenEffects, sql: str, setting: str) -> None:
    found = seen(hidden, sql)
    assert found is not None
    assert setting in found.settings


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("SELECT locks()", fx.ADVISORY_LOCK),
        ("SELECT makes_a_table()", fx.TEMPORARY_TABLE),
        ("SELECT listens()", fx.LISTEN),
    ],
)
def test_state(hidden: HiddenEffects, sql: str, state: int) -> None:
    found = seen(hidden, sql)
    assert found is not None
    assert found.may_begin & state


def test_what_cannot_be_asked_about(hidden: HiddenEffects) -> None:
    found = seen(hidden, "SELECT sets_by_name('work_mem')")
    assert found is not None
    assert found.permanent == "set_config"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT innocent()",
        "SELECT innocent_local()",
        "SELECT locks_for_a_transaction()",
        "INSERT INTO plain VALUES (1)",
        "SELECT * FROM innocent_view",
        "SELECT subsets()",
        "SELECT sets_not()",
        "SELECT sets$()",
        "SELECT offsets, settled FROM resets_of",
    ],
)
def test_innocent(hidden: HiddenEffects, sql: str) -> None:
    assert seen(hidden, sql) is None


def test_what_the_text_says_itself_is_kept(hidden: HiddenEffects) -> None:
    found = seen(hidden, "SET work_mem = 1; SELECT sets(); DEALLOCATE p; EXECUTE q")
    assert found is not None
    assert found.settings >= {"work_mem", "app.tenant"}
    assert found.deallocated == [b"p"]
    assert len(found.statement_names) == 2
    assert found.executes


def test_remembered_effects_are_not_changed(hidden: HiddenEffects) -> None:
    alone = inspect(b"SET work_mem = 1")
    assert alone is not None
    hidden.added_to(b"SET work_mem = 1; SELECT sets()", alone)
    hidden.added_to(b"SELECT sets()", alone)
    assert alone.settings == {"work_mem"}
    found = seen(hidden, "SELECT sets()")
    assert found is not None
    found.settings.add("other")
    again = seen(hidden, "SELECT sets()")
    assert again is not None
    assert "other" not in again.settings


def test_a_template_database_hides_nothing(server: PostgresServer) -> None:
    with connect(server.host, server.port, "other", "other") as client:
        got = client.exchange(wire.query(CATALOGUE_QUERY))
    assert read_catalogue(wire.rows(got)) is None


def test_search_path_and_quoting_settings_do_not_matter(
    server: PostgresServer, rows: list[list[bytes | None]]
) -> None:
    """A client may have put operators and functions of its own ahead of the catalogue's."""
    with connect(server.host, server.port, "app", DATABASE) as client:
        client.query(
            "CREATE SCHEMA trap;"
            "CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';"
            "CREATE FUNCTION trap.strpos(text, text) RETURNS int LANGUAGE sql AS 'SELECT 0';"
            "SET search_path = trap, public, pg_catalog; SET quote_all_identifiers = on"
        )
        got = client.exchange(wire.query(CATALOGUE_QUERY))
        names = {row[0] for row in wire.rows(got)}
        client.query("DROP SCHEMA trap CASCADE")
    assert {row[0] for row in rows} <= names


def test_payloads_are_read_like_rows() -> None:
    row = b"\0\2" + b"\0\0\0\1f" + (26).to_bytes(4, "big") + b"SELECT pg_advisory_lock(1)"
    found = read_catalogue_payloads([row])
    assert found is not None
    effects = found.added_to(b"SELECT F()", None)
    assert effects is not None
    assert effects.may_begin == fx.ADVISORY_LOCK


@pytest.mark.parametrize("useless", [[], [[]], [[None, b"x"]], [[b"x", None]], [[b"", b"x"]]])
def test_rows_that_say_nothing(useless: list[list[bytes | None]]) -> None:
    assert read_catalogue(useless) is None


def test_functions_that_call_each_other_end() -> None:
    hidden = HiddenEffects(
        {b"ping": [b"SELECT pong()"], b"pong": [b"SELECT ping(), set_config('a.b','',false)"]}
    )
    found = hidden.added_to(b"SELECT ping()", None)
    assert found is not None
    assert found.settings == {"a.b"}


@given(st.dictionaries(st.binary(min_size=1, max_size=8), st.lists(st.binary(max_size=20))))
def test_any_name_is_taken_as_it_is(sources: dict[bytes, list[bytes]]) -> None:
    """No character of a name means anything to a regular expression."""
    lowered = {name.lower(): bodies for name, bodies in sources.items()}
    if not lowered:
        return
    hidden = HiddenEffects(lowered)
    for name in lowered:
        assert hidden.added_to(b" " + name + b" ", None) is not None
