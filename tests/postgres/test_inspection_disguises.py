"""Comments, white space, quotes and company do not hide a statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.postgres import effects as fx
from proxy.postgres.inspection import inspect

if TYPE_CHECKING:
    from proxy.postgres.effects import Effects

SUSPICIOUS = (
    "SET work_mem = 1",
    "set session app.tenant TO 'x'",
    'SET "App"."Tenant" = 1',
    "SET TIME ZONE 'UTC'",
    "SET ROLE other",
    "SET SESSION AUTHORIZATION other",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "RESET work_mem",
    "RESET ALL",
    "CREATE TEMP TABLE t (a int)",
    "CREATE TABLE pg_temp . t (a int)",
    "SELECT 1 AS x INTO TEMP t",
    "SELECT set_config ('work_mem', '9MB', false)",
    'SELECT pg_catalog . "set_config" ($1, $2, false)',
    "UPDATE pg_settings SET setting = '1'",
    "UPDATE ONLY pg_catalog . pg_settings SET setting = '1'",
    'update "pg_catalog" . "pg_settings" set setting = 1',
    "WITH u AS (UPDATE pg_settings SET setting = '1' RETURNING 1) SELECT 1",
    "SELECT pg_advisory_lock (1)",
    "SELECT pg_advisory_unlock_all ()",
    "SELECT currval ('s')",
    "SELECT setseed (0.5)",
    "LOAD 'auto_explain'",
    "LISTEN news",
    "UNLISTEN *",
    "PREPARE p AS SELECT 1",
    "EXECUTE p (1)",
    "EXPLAIN ANALYZE EXECUTE p (1)",
    "EXPLAIN ANALYZE CREATE TABLE t AS EXECUTE p",
    "CREATE TABLE t AS EXECUTE p",
    "DEALLOCATE ALL",
    "DEALLOCATE PREPARE p",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CLOSE c",
    "DISCARD ALL",
    "DO $$ BEGIN SET work_mem = 1; END $$",
    "DROP FUNCTION f",
    "CREATE OR REPLACE FUNCTION f () RETURNS int LANGUAGE sql AS 'SELECT 1'",
)
COMPANY = (
    "SELECT 1",
    "SELECT ';SET x.y = 1'",
    "SELECT E'\\';' AS \";\"",
    "SELECT $$ ; ' $$",
    "BEGIN",
    "SET LOCAL x.y = 1",
    "CREATE TABLE u (a int)",
    "/* ; */ SELECT 1 -- ;\n",
    "",
)
GAPS = st.lists(
    st.sampled_from(
        [" ", "\n", "\t", "\r\n", "\f", "/**/", "/* ' \" $$ ; */", "-- ' ; $$\n", "/*/**/*/"]
    ),
    min_size=1,
    max_size=4,
).map("".join)
NAMES = st.from_regex(r"[a-z_][a-z0-9_$]{0,20}(\.[a-z_][a-z0-9_]{0,10}){0,2}", fullmatch=True)
FLAGS = ("reset_all", "executes", "reads_sequences", "redefines")


def seen(sql: str) -> Effects:
    effects = inspect(sql.encode())
    assert effects is not None, f"taken to be harmless: {sql}"
    return effects


def covers(found: Effects, expected: Effects) -> None:
    assert found.settings >= expected.settings
    assert found.may_begin & expected.may_begin == expected.may_begin
    assert found.may_end & expected.may_end == expected.may_end
    assert found.permanent == expected.permanent
    assert found.deallocated == expected.deallocated
    assert len(found.statement_names) == len(expected.statement_names)
    for flag in FLAGS:
        assert getattr(found, flag) == getattr(expected, flag), flag


@pytest.mark.parametrize("sql", SUSPICIOUS)
def test_suspicious(sql: str) -> None:
    assert seen(sql)
    covers(seen(sql.lower()), seen(sql))


@given(GAPS, NAMES, st.sampled_from(["=", " TO ", "\n=\n"]), GAPS)
def test_a_set_is_never_harmless(before: str, name: str, sign: str, after: str) -> None:
    assume(name not in ("local", "session", "transaction", "constraints"))
    effects = seen(f"{before}SET {name}{sign}'1'{after}")
    assert effects.settings or effects.permanent


@given(st.sampled_from(SUSPICIOUS), GAPS, GAPS)
def test_what_stands_around_hides_nothing(sql: str, before: str, after: str) -> None:
    covers(seen(before + sql + after), seen(sql))


@given(st.sampled_from(SUSPICIOUS), GAPS)
def test_what_stands_between_words_hides_nothing(sql: str, gap: str) -> None:
    assume("$$" not in sql)
    covers(seen(sql.replace(" ", gap)), seen(sql))


@given(st.sampled_from(SUSPICIOUS), st.sampled_from(COMPANY), st.sampled_from(COMPANY), GAPS)
def test_company_hides_nothing(sql: str, before: str, after: str, gap: str) -> None:
    covers(seen(f"{before};{gap}{sql}{gap};{after}"), seen(sql))


@given(st.sampled_from(SUSPICIOUS), GAPS)
def test_names_of_statements_are_where_they_are_said_to_be(sql: str, gap: str) -> None:
    assume("$$" not in sql)
    text = sql.replace(" ", gap)
    for start, end in seen(text).statement_names:
        assert text.encode()[start:end] == b"p"


def test_a_trigger_does_not_execute_a_statement() -> None:
    effects = seen("CREATE TRIGGER t AFTER INSERT ON u FOR EACH ROW EXECUTE FUNCTION f()")
    assert not effects.executes
    assert effects.statement_names == []
    assert effects.redefines


def test_words_in_comments_are_not_suspicious() -> None:
    assert inspect(b"/* pg_advisory_lock(1); currval */ SELECT 1 -- SET x.y = 1") is None


def test_a_lock_of_the_transaction_begins_nothing() -> None:
    assert seen("SELECT pg_advisory_xact_lock(1)").may_begin & fx.ADVISORY_LOCK == 0
