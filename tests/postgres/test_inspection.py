"""Statements and what they may leave behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.postgres import effects as fx
from proxy.postgres.inspection import body_effects, inspect

if TYPE_CHECKING:
    from proxy.postgres.effects import Effects

HARMLESS = [
    "",
    ";",
    "SELECT 1",
    "select 1;",
    "SELECT 1 ; ",
    "SELECT temperature, template FROM attempts",
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "update t set settings = '{}'",
    "DELETE FROM t",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "VALUES (1)",
    "TABLE t",
    "BEGIN",
    "begin isolation level serializable read only",
    "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ROLLBACK TO SAVEPOINT a",
    "SAVEPOINT a",
    "RELEASE a",
    "SHOW search_path",
    "COPY t FROM STDIN",
    "COPY t TO PROGRAM 'gzip'",
    "FETCH 10 FROM c",
    "MOVE 10 IN c",
    "LOCK TABLE t",
    "TRUNCATE t",
    "VACUUM",
    "ANALYZE t",
    "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
    "SET LOCAL work_mem = '1MB'",
    "set local role bob",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET CONSTRAINTS ALL DEFERRED",
    "BEGIN; SET LOCAL x.y = 1; COMMIT",
    "SELECT 1; SELECT 2",
    "SELECT 'a; SET x = 1'",
    "SELECT 1 -- ; SET x = 1",
    "SELECT 1 /* ; SET x = 1 /* nested */ ; SET y = 2 */",
    "SELECT $$; SET x = 1$$",
    "SELECT $a$; SET x = 1 $b$ $a$",
    "SELECT E'\\'; SET x = 1; --'",
    "NOTIFY c, 'x'",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    "REINDEX TABLE t",
    "GRANT SELECT ON t TO bob",
    "CREATE TABLE t (a int)",
    "DECLARE c CURSOR FOR SELECT 1",
    "SELECT lo_creat(-1)",
    "EXPLAIN SELECT 1",
]

SETTINGS = {
    "SET work_mem = '1MB'": {"work_mem"},
    "set work_mem to '1MB'": {"work_mem"},
    "SeT\twork_mem\n=\n'1MB'": {"work_mem"},
    "SET SESSION work_mem = DEFAULT": {"work_mem"},
    'SET "Work_Mem" = 1': {"work_mem"},
    "SET my.tenant = 'x'": {"my.tenant"},
    'SET "my" . "tenant" TO x': {"my.tenant"},
    "/* hello */ SET work_mem = 1": {"work_mem"},
    "-- hello\nSET work_mem = 1": {"work_mem"},
    "  \n SET work_mem = 1": {"work_mem"},
    "SELECT 1; SET work_mem = 1": {"work_mem"},
    "SELECT 1;;SET work_mem = 1": {"work_mem"},
    "SELECT 1;/* a */SET work_mem = 1": {"work_mem"},
    "SELECT 1;--\nSET work_mem = 1": {"work_mem"},
    "BEGIN;SET work_mem = 1;COMMIT": {"work_mem"},
    "commit;\tset a.b = 1; set c.d = 2": {"a.b", "c.d"},
    "SELECT ';'; SET work_mem = 1": {"work_mem"},
    "SELECT $$ ' $$; SET work_mem = 1": {"work_mem"},
    "SELECT E'\\\\'; SET work_mem = 1": {"work_mem"},
    "SELECT '\\'; SET work_mem = 1": {"work_mem"},
    'SELECT ";"; SET work_mem = 1': {"work_mem"},
    "SET TIME ZONE 'UTC'": {"timezone"},
    "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE": {"timezone"},
    "SET TimeZone = 'UTC'": {"timezone"},
    "SET NAMES 'latin1'": {"client_encoding"},
    "SET SCHEMA 'x'": {"search_path"},
    "SET search_path TO a, b": {"search_path"},
    "SET ROLE bob": {"role"},
    "SET ROLE NONE": {"role"},
    "SET SESSION ROLE bob": {"role"},
    "SET XML OPTION DOCUMENT": {"xmloption"},
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": {
        "default_transaction_isolation",
        "default_transaction_read_only",
        "default_transaction_deferrable",
    },
    "RESET work_mem": {"work_mem"},
    "RESET my.tenant": {"my.tenant"},
    "RESET ROLE": {"role"},
    "RESET TIME ZONE": {"timezone"},
    "SELECT set_config('my.tenant', $1, false)": {"my.tenant"},
    "SELECT pg_catalog.set_config ( 'My.Tenant'::text, 'x', false)": {"my.tenant"},
    "SELECT pg_catalog.\"set_config\"('my.tenant', 'x', false)": {"my.tenant"},
    "WITH x AS (SELECT set_config('a.b', '1', false)) SELECT * FROM x": {"a.b"},
    "SELECT set_config('a.b','1',false), set_config('c.d','2',false)": {"a.b", "c.d"},
    "VALUES (set_config('a.b', '1', false))": {"a.b"},
    "EXPLAIN ANALYZE SELECT set_config('a.b', '1', false)": {"a.b"},
    "PREPARE p AS SELECT set_config('a.b', $1, false)": {"a.b"},
    "SELECT set_limit(0.5)": {"pg_trgm.similarity_threshold"},
    "DO $$ BEGIN SET work_mem = '1MB'; END $$": {"work_mem"},
    "DO 'BEGIN EXECUTE ''SET a.b TO 1''; END'": {"a.b"},
    "DO $$ BEGIN PERFORM set_config('a.b', '1', false); END $$": {"a.b"},
    "DO $$ BEGIN SET ROLE bob; END $$": {"role"},
    "DO $$ BEGIN SET TIME ZONE 'UTC'; END $$": {"timezone"},
    "DO $$ BEGIN RESET a.b; END $$": {"a.b"},
}

STATES = {
    "CREATE TEMP TABLE x (a int)": fx.TEMPORARY_TABLE,
    "create local temporary table x (a int)": fx.TEMPORARY_TABLE,
    "CREATE TEMPORARY VIEW v AS SELECT 1": fx.TEMPORARY_TABLE,
    "CREATE OR REPLACE TEMP VIEW v AS SELECT 1": fx.TEMPORARY_TABLE,
    "CREATE TEMP SEQUENCE s": fx.TEMPORARY_TABLE,
    "CREATE TABLE pg_temp.x (a int)": fx.TEMPORARY_TABLE,
    'CREATE TABLE "pg_temp"."x" (a int)': fx.TEMPORARY_TABLE,
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'": fx.TEMPORARY_TABLE,
    "SELECT 1 INTO TEMP x": fx.TEMPORARY_TABLE,
    "SELECT * INTO TEMPORARY TABLE x FROM t": fx.TEMPORARY_TABLE,
    "SELECT * INTO pg_temp.x FROM t": fx.TEMPORARY_TABLE,
    "WITH a AS (SELECT 1) SELECT * INTO TEMP x FROM a": fx.TEMPORARY_TABLE,
    "EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1": fx.TEMPORARY_TABLE,
    "ALTER TABLE t SET SCHEMA pg_temp": fx.TEMPORARY_TABLE,
    "SET LOCAL search_path = pg_temp": fx.TEMPORARY_TABLE,
    "SET LOCAL search_path TO 'pg_temp', public": fx.TEMPORARY_TABLE,
    "DO $$ BEGIN CREATE TEMP TABLE x (a int); END $$": fx.TEMPORARY_TABLE,
    "SELECT 1; CREATE TEMP TABLE x (a int)": fx.TEMPORARY_TABLE,
    "SELECT pg_advisory_lock(1)": fx.ADVISORY_LOCK,
    "select PG_TRY_ADVISORY_LOCK_SHARED(1)": fx.ADVISORY_LOCK,
    'SELECT pg_catalog."pg_advisory_lock"(1)': fx.ADVISORY_LOCK,
    "WITH x AS (SELECT pg_advisory_lock(1)) SELECT * FROM x": fx.ADVISORY_LOCK,
    "COPY (SELECT pg_advisory_lock(1)) TO STDOUT": fx.ADVISORY_LOCK,
    "UPDATE t SET a = 1 WHERE pg_try_advisory_lock(id)": fx.ADVISORY_LOCK,
    "SELECT pg_advisory_unlock(1)": fx.ADVISORY_LOCK,
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1": fx.CURSOR_WITH_HOLD,
    "DECLARE c INSENSITIVE SCROLL CURSOR WITH\nHOLD FOR SELECT 1": fx.CURSOR_WITH_HOLD,
    "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT": fx.CURSOR_WITH_HOLD,
    "PREPARE p AS SELECT 1": fx.PREPARED_STATEMENT,
    "prepare p (int) as select $1": fx.PREPARED_STATEMENT,
    "LISTEN c": fx.LISTEN,
    "select 1;listen c": fx.LISTEN,
    "DO $$ BEGIN LISTEN c; END $$": fx.LISTEN,
}

PERMANENT = {
    "SET SESSION AUTHORIZATION bob": "session_authorization",
    "set session session authorization bob": "session_authorization",
    "RESET SESSION AUTHORIZATION": "session_authorization",
    "SET standard_conforming_strings = off": "standard_conforming_strings",
    "SET search_path = pg_temp, public": "temporary_schema",
    "SET search_path = 'pg_temp'": "temporary_schema",
    "SET SCHEMA 'pg_temp'": "temporary_schema",
    "SELECT set_config('search_path', 'pg_temp', false)": "temporary_schema",
    "SELECT set_config($1, $2, false)": "set_config",
    "SELECT set_config('a' || '.b', 'x', false)": "set_config",
    "UPDATE pg_settings SET setting = '1MB' WHERE name = 'work_mem'": "set_config",
    "update pg_catalog.pg_settings set setting = 'x'": "set_config",
    "WITH a AS (UPDATE pg_settings SET setting = 1 RETURNING 1) SELECT 1": "set_config",
    "LOAD 'auto_explain'": "load",
    "DO $$ BEGIN LOAD 'auto_explain'; END $$": "load",
    "SELECT setseed(0.5)": "random_seed",
    "SET SEED TO 0.5": "random_seed",
    "SELECT dblink_connect('x', 'dbname=y')": "dblink_connection",
    "SELECT pg_replication_origin_session_setup('x')": "replication_origin",
    "SELECT pg_create_logical_replication_slot('a', 'b', true)": "replication_slot",
    "SELECT pg_create_physical_replication_slot ('a', false, true)": "replication_slot",
    'SELECT * INTO U&"pg\\005ftemp".x FROM t': "unicode_name",
    'SELECT u&"pg_\\0061dvisory_lock"(1)': "unicode_name",
    'SET U&"work\\005fmem" = 1': "unicode_name",
    "DO $$ BEGIN SET SESSION AUTHORIZATION bob; END $$": "dynamic_setting",
    "DO $$ BEGIN EXECUTE format('SET %I = 1', x); END $$": "dynamic_setting",
    "DO $$ BEGIN RESET ALL; END $$": "dynamic_setting",
}


def effects_of(sql: str) -> Effects:
    found = inspect(sql.encode())
    assert found is not None, "judged harmless"
    return found


@pytest.mark.parametrize("sql", HARMLESS)
def test_harmless(sql: str) -> None:
    found = inspect(sql.encode())
    assert found is None or not (found.may_begin or found.settings or found.permanent)


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "INSERT INTO t VALUES (1)", "BEGIN", "SET LOCAL a.b=1"]
)
def test_harmless_is_nothing_at_all(sql: str) -> None:
    assert inspect(sql.encode()) is None


@pytest.mark.parametrize(("sql", "names"), SETTINGS.items())
def test_settings(sql: str, names: set[str]) -> None:
    found = effects_of(sql)
    assert found.settings == names
    assert not found.permanent


@pytest.mark.parametrize(("sql", "state"), STATES.items())
def test_states(sql: str, state: int) -> None:
    found = effects_of(sql)
    assert found.may_begin & state
    assert not found.permanent


@pytest.mark.parametrize(("sql", "reason"), PERMANENT.items())
def test_permanent(sql: str, reason: str) -> None:
    assert effects_of(sql).permanent == reason


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("DROP TABLE x", fx.TEMPORARY_TABLE),
        ("DISCARD TEMP", fx.TEMPORARY_TABLE),
        ("DISCARD TEMPORARY", fx.TEMPORARY_TABLE),
        ("DISCARD ALL", fx.ALL_STATE),
        ("SELECT pg_advisory_unlock_all()", fx.ADVISORY_LOCK),
        ("CLOSE ALL", fx.CURSOR_WITH_HOLD),
        ("DEALLOCATE p", fx.PREPARED_STATEMENT),
        ("DEALLOCATE ALL", fx.PREPARED_STATEMENT),
        ("UNLISTEN *", fx.LISTEN),
        ("DO $$ BEGIN END $$", fx.ALL_STATE),
    ],
)
def test_ends(sql: str, state: int) -> None:
    found = effects_of(sql)
    assert found.may_end & state == state


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("RESET work_mem", {"work_mem"}),
        ("SET work_mem TO DEFAULT", {"work_mem"}),
        ("SET work_mem = default", {"work_mem"}),
        ('SET search_path = "default"', set()),
        ("SET work_mem = '1MB'", set()),
    ],
)
def test_resets(sql: str, names: set[str]) -> None:
    found = effects_of(sql)
    assert found.resets == names
    assert found.settings >= names


@pytest.mark.parametrize("sql", ["RESET ALL", "DISCARD ALL", "select 1; reset all"])
def test_resets_all(sql: str) -> None:
    assert effects_of(sql).reset_all


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("EXECUTE p", [b"p"]),
        ('EXECUTE "P q"(1)', [b'"P q"']),
        ("DEALLOCATE p", [b"p"]),
        ("DEALLOCATE PREPARE p", [b"p"]),
        ("DEALLOCATE prepare", [b"prepare"]),
        ("DEALLOCATE ALL", []),
        ("PREPARE p AS SELECT 1", [b"p"]),
        ("SELECT 1; EXECUTE a; DEALLOCATE b", [b"a", b"b"]),
        ("/* x */ EXPLAIN EXECUTE p(1)", [b"p"]),
        ("CREATE TABLE t AS EXECUTE p", [b"p"]),
    ],
)
def test_names_of_statements(sql: str, names: list[bytes]) -> None:
    raw = sql.encode()
    assert [raw[start:end] for start, end in effects_of(sql).statement_names] == names


def test_execute_is_known_as_such() -> None:
    assert effects_of("EXECUTE p").executes
    assert effects_of("CREATE TABLE t AS EXECUTE p").executes
    assert not effects_of("PREPARE p AS SELECT 1").executes


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("DEALLOCATE p", [b"p"]),
        ("DEALLOCATE P", [b"p"]),
        ('DEALLOCATE PREPARE "P""q"', [b'P"q']),
        ("DEALLOCATE ALL", []),
        ("EXECUTE p", []),
    ],
)
def test_deallocated(sql: str, names: list[bytes]) -> None:
    assert effects_of(sql).deallocated == names


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("DROP DATABASE scratch", b"scratch"),
        ("drop /* x */ database if exists Scratch with (force)", b"scratch"),
        ('DROP DATABASE "Two ""words"', b'Two "words'),
        ("ALTER DATABASE a RENAME TO b", b"a"),
        ("ALTER DATABASE a SET TABLESPACE b", b"a"),
        ("CREATE DATABASE a", b"template1"),
        ("CREATE DATABASE a TEMPLATE b", b"b"),
        ("CREATE DATABASE a WITH OWNER = x TEMPLATE = 'b''c' ENCODING 'UTF8'", b"b'c"),
        ("CREATE DATABASE a TEMPLATE DEFAULT", b"template1"),
        ("CREATE DATABASE a TEMPLATE", b"template1"),
        ("CREATE DATABASE template TEMPLATE =", b"template1"),
    ],
)
def test_databases_that_are_wanted_empty(sql: str, name: bytes) -> None:
    assert effects_of(sql).databases == [name]


@pytest.mark.parametrize(
    "sql", ["DROP DATABASE", "ALTER DATABASE a SET work_mem = 1; DROP TABLE b", "DROP TABLE a"]
)
def test_databases_that_are_not(sql: str) -> None:
    assert effects_of(sql).databases == []


@pytest.mark.parametrize("sql", ["SELECT currval('s')", "SELECT pg_catalog.lastval()"])
def test_sequences(sql: str) -> None:
    assert effects_of(sql).reads_sequences


@pytest.mark.parametrize("sql", ["SELECT nextval('s')", "SELECT setval('s', 1)"])
def test_sequences_that_depend_on_nothing(sql: str) -> None:
    assert inspect(sql.encode()) is None


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()",
        "ALTER FUNCTION f() RENAME TO g",
        "DROP FUNCTION f",
        "CREATE EXTENSION pg_trgm",
    ],
)
def test_definitions(sql: str) -> None:
    assert effects_of(sql).redefines


def test_bodies_of_functions() -> None:
    found = body_effects(b"BEGIN PERFORM pg_advisory_lock(1); SET LOCAL a.b = 1; END")
    assert found.may_begin == fx.ADVISORY_LOCK
    assert found.settings == set()
    assert body_effects(b"BEGIN RETURN 1; END").may_begin == 0


def test_too_many_statements_may_do_anything() -> None:
    assert effects_of("SELECT 1;" * 10_000).permanent == "statement_size"


# Whatever the text.

_FRAGMENTS = st.sampled_from(
    [
        "SET",
        "RESET",
        "SELECT",
        "BEGIN",
        "x.y",
        "=",
        "'",
        "''",
        "$$",
        "$a$",
        '"',
        'U&"',
        "E'",
        "--",
        "/*",
        "*/",
        ";",
        "\n",
        "(",
        ")",
        ".",
        ",",
        "1",
        "1.5",
        "temp",
        "TO",
        "DEFAULT",
        "set_config(",
        "advisory_lock",
        "pg_temp",
        "PREPARE",
        "EXECUTE",
        "DEALLOCATE",
        "ALL",
        "LOCAL",
        "SESSION",
        "DO",
        "$1",
        "::",
        "\\",
        "é",
        "AUTHORIZATION",
        "TIME",
        "ZONE",
        "DECLARE",
        "WITH",
        "HOLD",
        "CREATE",
        "EXPLAIN",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(_FRAGMENTS).map(" ".join).map(str.encode)))
@example(b"SET")
@example(b"RESET")
@example(b"SET SESSION")
@example(b"SET x.")
@example(b"PREPARE")
@example(b"DEALLOCATE PREPARE")
@example(b"EXPLAIN EXECUTE")
@example(b'"')
@example(b"$a$")
@example(b"/*")
@example(b"\xff\x00")
def test_never_raises(sql: bytes) -> None:
    first = inspect(sql)
    second = inspect(sql)
    assert (first is None) == (second is None)
    for start, end in first.statement_names if first is not None else ():
        assert 0 <= start < end <= len(sql)


_SPACE = st.lists(
    st.sampled_from([" ", "\n", "\t", "\r\n", "-- x\n", "/* y */", "/* /* z */ ; */"]), max_size=3
).map("".join)
_BEFORE = st.sampled_from(
    ["", "SELECT 1;", "BEGIN;", "COMMIT ;", "select ';' ;", "SELECT $$;$$;", ";", "SELECT E'\\'';"]
)
_LETTERS = st.lists(st.booleans(), min_size=3, max_size=3)


@given(_BEFORE, _SPACE, _LETTERS, _SPACE, st.sampled_from([" ", "\t", "/**/"]))
def test_set_is_seen_wherever_a_statement_may_begin(
    before: str, space: str, upper: list[bool], more: str, gap: str
) -> None:
    word = "".join(
        letter.upper() if up else letter for letter, up in zip("set", upper, strict=True)
    )
    sql = f"{before}{space}{word}{gap}{more}work_mem = 1"
    assert effects_of(sql).settings == {"work_mem"}


@given(st.sampled_from(sorted(STATES)), _BEFORE, _SPACE)
def test_states_are_seen_wherever_a_statement_may_begin(sql: str, before: str, space: str) -> None:
    assert effects_of(before + space + sql).may_begin & STATES[sql]


@pytest.mark.parametrize(
    "sql",
    [
        b"/*" * 500_000,
        b"/*" + b"*" * 1_000_000,
        b"SELECT '" + b"''" * 500_000 + b"; x",
        b"SELECT $$" + b"$" * 1_000_000,
        b"x(" * 500_000 + b";",
        b"INSERT INTO t VALUES " + b"(1,'a;b')," * 100_000,
        b'"' * 1_000_000,
        b"set_config (" * 80_000,
        b"set " * 250_000,
        b"x;" * 500_000,
        b"set a.b=1;" * 100_000,
    ],
    ids=lambda sql: sql[:12].decode(),
)
def test_the_longest_text_takes_no_time_worth_mention(sql: bytes) -> None:
    began = time.process_time()
    inspect(sql)
    assert time.process_time() - began < 2.0
