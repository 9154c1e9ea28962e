"""What a text asks of the session, rather than of what it does itself."""

from __future__ import annotations

import pytest

from proxy.mysql.inspection import inspect


def asks(sql: bytes) -> tuple[list[bytes], bool]:
    """Outcomes that literals are put in for, and whether the session's own server must answer."""
    found = inspect(sql)
    if found is None:
        return [], False
    return [name for _, _, _, name in found.outcome_calls], found.reads_diagnostics


@pytest.mark.parametrize(
    ("sql", "literals", "diagnostics"),
    [
        (b"SELECT ROW_COUNT()", [b"row_count"], False),
        (b"UPDATE t SET a = 1; SELECT ROW_COUNT()", [], False),
        (b"SET @a = 1; SELECT ROW_COUNT()", [], False),
        (b"GET DIAGNOSTICS @n = NUMBER; SELECT ROW_COUNT()", [], True),
        (b"SELECT ROW_COUNT(); DELETE FROM t; SELECT ROW_COUNT()", [b"row_count"], False),
        (b"SELECT a FROM t LIMIT 1; SELECT FOUND_ROWS()", [], False),
        (b"WITH c AS (SELECT 1) SELECT a FROM c; SELECT FOUND_ROWS()", [], False),
        (b"UPDATE t SET a = 1; SELECT FOUND_ROWS()", [], True),
        (b"SELECT 1; SELECT FOUND_ROWS()", [], True),
        (b"SELECT a FROM t; SHOW WARNINGS", [], False),
        (b"SELECT 1; SHOW WARNINGS", [], True),
        (b"SELECT 1 FROM dual; SHOW WARNINGS", [], True),
        (b"SELECT EXTRACT(DAY FROM NOW()); SELECT @@warning_count", [], True),
        (b"SET @a = 1; SELECT @@warning_count", [], True),
        (b"INSERT INTO t VALUES (1); GET DIAGNOSTICS @n = NUMBER", [], False),
        (b"/*!99999 UPDATE t SET a = 1; */ SELECT ROW_COUNT()", [], True),
        (b"SELECT row_count FROM t", [], False),
        (b"SELECT * FROM diagnostics", [], False),
    ],
)
def test_what_the_text_does_itself_is_not_the_sessions(
    sql: bytes, literals: list[bytes], diagnostics: bool
) -> None:
    assert asks(sql) == (literals, diagnostics)


@pytest.mark.parametrize(
    "sql",
    [
        b"CREATE PROCEDURE p() BEGIN UPDATE t SET a=1; SELECT ROW_COUNT(), CONNECTION_ID(); END",
        b"CREATE PROCEDURE p() BEGIN GET DIAGNOSTICS @n = NUMBER; END",
        b"CREATE PROCEDURE p() BEGIN IF 1 THEN SELECT ROW_COUNT(); END IF; SHOW WARNINGS; END",
        b"CREATE FUNCTION f() RETURNS INT RETURN ROW_COUNT()",
        b"CREATE DEFINER = a@b TRIGGER t BEFORE INSERT ON t FOR EACH ROW SET NEW.a=CONNECTION_ID()",
        b"CREATE OR REPLACE VIEW v AS SELECT CONNECTION_ID() AS c",
        b"ALTER EVENT e DO INSERT INTO t VALUES (CONNECTION_ID())",
        b"CREATE TABLE t (a BIGINT DEFAULT (CONNECTION_ID()))",
        b"ALTER TABLE t ADD b BIGINT DEFAULT (CONNECTION_ID())",
    ],
)
def test_what_is_stored_goes_into_the_store_as_it_is(sql: bytes) -> None:
    found = inspect(sql)
    assert asks(sql) == ([], False)
    assert found is None or found.connection_ids == []


def test_a_table_made_from_a_query_gets_the_sessions_number() -> None:
    found = inspect(b"CREATE TABLE t AS SELECT CONNECTION_ID()")
    assert found is not None
    assert len(found.connection_ids) == 1
