"""What is read from SQL: each kind of state, each question, and no more than that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql import effects, inspection
from proxy.mysql.inspection import inspect

BEGINS = [
    (b"SET @x=1", effects.USER_VARIABLE),
    (b"SELECT @y:=2", effects.USER_VARIABLE),
    (b"SELECT 3 INTO @z", effects.USER_VARIABLE),
    (b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t (@a) SET b=@a", effects.USER_VARIABLE),
    (b"CREATE TEMPORARY TABLE tm (a int)", effects.TEMPORARY_TABLE),
    (b"CREATE OR REPLACE TEMPORARY TABLE tm (a int)", effects.TEMPORARY_TABLE),
    (b"DO GET_LOCK('l',1)", effects.NAMED_LOCK),
    (b"SELECT `get_lock`('l',1)", effects.NAMED_LOCK),
    (b"LOCK TABLES t WRITE", effects.LOCK_TABLES),
    (b"LOCK INSTANCE FOR BACKUP", effects.BACKUP_LOCK),
    (b"BACKUP LOCK t", effects.BACKUP_LOCK),
    (b"PREPARE s FROM 'select 1'", effects.SQL_PREPARED_STATEMENT),
    (b"HANDLER t OPEN", effects.HANDLER),
    (b"XA START 'a'", effects.XA_TRANSACTION),
    (b"FLUSH TABLES WITH READ LOCK", effects.GLOBAL_READ_LOCK),
    (b"FLUSH TABLES t FOR EXPORT", effects.GLOBAL_READ_LOCK),
    (b"SET TRANSACTION READ ONLY", effects.TRANSACTION_CHARACTERISTICS),
    (b"CALL p()", effects.STORED_PROGRAM),
    (b"EXECUTE s", effects.STORED_PROGRAM),
    (b"SET STATEMENT max_statement_time=1 FOR SELECT 1", effects.SET_STATEMENT),
    (b"SET ROLE r", effects.ROLE),
    (b"SET RESOURCE GROUP g", effects.RESOURCE_GROUP),
    (b"SELECT NEXT VALUE FOR s", effects.SEQUENCE),
    (b"SELECT NEXTVAL(s)", effects.SEQUENCE),
    (b"SELECT \"get_lock\"('a',0)", effects.NAMED_LOCK),
    (b"SELECT/*!1,GET_LOCK('b',0)*/", effects.NAMED_LOCK),
    (b"lock\x0btables t read", effects.LOCK_TABLES),
    (b"lock/*a*/tables t read", effects.LOCK_TABLES),
    (b"(SELECT 1 INTO/**/@z)", effects.USER_VARIABLE),
    (b"TABLE t INTO @a,@b", effects.USER_VARIABLE),
    (b"SET@x=1", effects.USER_VARIABLE),
    (b"EXECUTE IMMEDIATE 'SET @g=1'", effects.STORED_PROGRAM | effects.UNREADABLE_CODE),
    (b"BEGIN NOT ATOMIC EXECUTE IMMEDIATE x; END", effects.UNREADABLE_CODE),
    (b"CALL sys.ps_setup_save(1)", effects.UNREADABLE_CODE),
    (b"CALL `mysql`.rds_kill(1)", effects.UNREADABLE_CODE),
    (b"BEGIN NOT ATOMIC SET @h=1; END", effects.USER_VARIABLE),
]
ENDS = [
    (b"DROP TABLE tm", effects.TEMPORARY_TABLE),
    (b"DO RELEASE_LOCK('l')", effects.NAMED_LOCK),
    (b"DO RELEASE_ALL_LOCKS()", effects.NAMED_LOCK),
    (b"UNLOCK TABLES", effects.LOCK_TABLES | effects.GLOBAL_READ_LOCK | effects.BACKUP_LOCK),
    (b"DEALLOCATE PREPARE s", effects.SQL_PREPARED_STATEMENT),
    (b"DROP PREPARE s", effects.SQL_PREPARED_STATEMENT),
    (b"HANDLER t CLOSE", effects.HANDLER),
    (b"XA COMMIT 'a'", effects.XA_TRANSACTION),
]
ORDINARY = [
    b"SELECT * FROM t WHERE id=1",
    b"INSERT INTO t VALUES ('a@b.c', 'it\\'s @x:=1')",
    b"SELECT 'GET_LOCK(1)', 'SET @x=1; CALL p()'",
    b"UPDATE t SET role='x', lock_version=lock_version+1",
    b"SELECT * FROM transactions",
    b"START TRANSACTION READ ONLY",
    b"GRANT SELECT ON *.* TO u@localhost",
    b"CREATE USER 'u'@'%' IDENTIFIED BY 'x'",
    b"SELECT @@sql_mode, @@session.time_zone",
    b"SET SESSION TRANSACTION READ ONLY",
    b"SET @@session.sql_mode=''",
    b"FLUSH TABLES",
    b"SELECT 1 -- GET_LOCK",
]


@pytest.mark.parametrize(("sql", "kinds"), BEGINS)
def test_state_that_begins(sql: bytes, kinds: int) -> None:
    found = inspect(sql)
    assert found is not None
    assert found.may_begin & kinds == kinds


@pytest.mark.parametrize(("sql", "kinds"), ENDS)
def test_state_that_ends(sql: bytes, kinds: int) -> None:
    found = inspect(sql)
    assert found is not None
    assert (found.may_begin, found.may_end) == (0, kinds)


@pytest.mark.parametrize("sql", ORDINARY)
def test_ordinary_statements(sql: bytes) -> None:
    assert inspect(sql) is None


GAPS = st.sampled_from([b" ", b"\n", b"\t ", b"/**/", b"/* x; */", b"-- '\n", b"#`\n", b"\r\n"])


@given(st.sampled_from(BEGINS), st.data())
def test_disguises_hide_nothing(case: tuple[bytes, int], data: st.DataObject) -> None:
    sql, kinds = case
    parts = []
    for word in sql.split(b" "):
        shown = bytes(c ^ 32 if chr(c).isalpha() and data.draw(st.booleans()) else c for c in word)
        parts.append(data.draw(st.sampled_from([b"%s", b"/*!%s*/", b"/*!50000 %s*/"])) % shown)
        parts.append(data.draw(GAPS))
    disguised = data.draw(st.sampled_from([b"", b"SELECT 1;", b"SELECT '\\';',\";\";", b" ;"]))
    found = inspect(disguised + b"".join(parts))
    assert found is not None
    assert found.may_begin & kinds == kinds


@pytest.mark.parametrize(
    ("sql", "no_backslash_escapes", "multibyte", "kinds"),
    [
        (b"SELECT '\\'; SET @x=1; -- '", True, False, effects.USER_VARIABLE),
        (b"SELECT '\\'; SET @x=1; -- '", False, False, 0),
        (b"SELECT '\x95\\' := @x, '", False, True, effects.USER_VARIABLE),
        (b"SET sql_mode='NO_BACKSLASH_ESCAPES'; SELECT '\\', @x:=1, '", 0, 0, 1),
        (b"IF 1 THEN SELECT 1 INTO @x; END IF", False, False, effects.USER_VARIABLE),
        (b"IF 1 THEN PREPARE s FROM 'x'; END IF", 0, 0, effects.SQL_PREPARED_STATEMENT),
        (b"SELECT 1" + b" " * 70000 + b", GET_LOCK('a',1)", 0, 0, effects.NAMED_LOCK),
        (b"SELECT 'a@b.c get_lock'" + b" " * 70000, False, False, 0),
    ],
)
def test_what_cannot_be_lexed_is_suspected(
    sql: bytes, no_backslash_escapes: bool, multibyte: bool, kinds: int
) -> None:
    found = inspect(sql, bool(no_backslash_escapes), bool(multibyte))
    assert (0 if found is None else found.may_begin & kinds) == kinds
    if not kinds:
        assert found is None


@pytest.mark.parametrize(
    ("sql", "shows", "limit"),
    [
        (b"SHOW WARNINGS", effects.SHOWS_WARNINGS, None),
        (b"show errors ;", effects.SHOWS_ERRORS, None),
        (b"SHOW COUNT(*) WARNINGS", effects.SHOWS_WARNING_COUNT, None),
        (b"SHOW COUNT(*) ERRORS", effects.SHOWS_ERROR_COUNT, None),
        (b"SHOW WARNINGS LIMIT 5", effects.SHOWS_WARNINGS, (0, 5)),
        (b"SHOW WARNINGS LIMIT 2,5", effects.SHOWS_WARNINGS, (2, 5)),
        (b"SHOW WARNINGS LIMIT 5 OFFSET 2", effects.SHOWS_WARNINGS, (2, 5)),
        (b"SHOW WARNINGS LIMIT x", effects.SHOWS_NOTHING, None),
        (b"SELECT 1; SHOW WARNINGS", effects.SHOWS_NOTHING, None),
        (b"/*!99999 SHOW WARNINGS */", effects.SHOWS_NOTHING, None),
    ],
)
def test_shows(sql: bytes, shows: int, limit: tuple[int, int] | None) -> None:
    found = inspect(sql)
    assert found is not None
    assert (found.shows, found.show_limit) == (shows, limit)
    assert found.reads_diagnostics or found.outcome_calls


@pytest.mark.parametrize(
    ("sql", "query_only", "number"),
    [
        (b"KILL 5", False, 5),
        (b"kill query 7;", True, 7),
        (b"KILL CONNECTION 8", False, 8),
        (b"KILL HARD QUERY 8", True, 8),
        (b"KILL 1+1", False, None),
        (b"KILL QUERY ID 5", True, None),
        (b"SELECT 1; KILL 5", False, None),
    ],
)
def test_kill(sql: bytes, query_only: bool, number: int | None) -> None:
    found = inspect(sql)
    assert found is not None
    assert found.kill is not None
    assert (found.kill.query_only, found.kill.number) == (query_only, number)


@pytest.mark.parametrize(
    ("sql", "spans"),
    [
        (b"SELECT CONNECTION_ID()", [(7, 22, True)]),
        (b"SELECT connection_id ( ) AS c", [(7, 24, False)]),
        (b"SELECT IS_USED_LOCK('a') = CONNECTION_ID()", []),
        (b"SELECT 1+CONNECTION_ID(), 2", [(9, 24, False)]),
        (b"SELECT 'CONNECTION_ID()'", []),
    ],
)
def test_connection_ids(sql: bytes, spans: list[tuple[int, int, bool]]) -> None:
    found = inspect(sql)
    assert (found.connection_ids if found else []) == spans


@pytest.mark.parametrize(
    "sql",
    [
        b"SELECT LAST_INSERT_ID()",
        b"SELECT @@identity",
        b"SELECT @@session . last_insert_id",
        b"SELECT @@/**/last_insert_id",
        b"CALL p()",
    ],
)
def test_last_insert_id(sql: bytes) -> None:
    found = inspect(sql)
    assert found is not None
    assert found.reads_last_insert_id


@pytest.mark.parametrize(
    "sql",
    [
        b"SELECT ROW_COUNT()",
        b"SELECT FOUND_ROWS()",
        b"GET DIAGNOSTICS @n = NUMBER",
        b"GET CURRENT DIAGNOSTICS @n = NUMBER",
        b"SELECT @@warning_count",
        b"SELECT @@session.error_count",
    ],
)
def test_diagnostics(sql: bytes) -> None:
    found = inspect(sql)
    assert found is not None
    assert found.reads_diagnostics or found.outcome_calls


def test_names_of_locks_variables_and_tables() -> None:
    found = inspect(b"SELECT GET_LOCK('a',1), GET_LOCK(\x60b\x60,2)")
    assert found is not None
    assert found.lock_names is None
    found = inspect(b"SELECT GET_LOCK('a',1), GET_LOCK('b',2)")
    assert found is not None
    assert found.lock_names == frozenset({b"'a'", b"'b'"})
    found = inspect(b"SELECT @A, @`b c` FROM t")
    assert found is not None
    assert found.user_variables == frozenset({b"a", b"b c"})
    assert not found.writes_user_variables
    found = inspect(b"CREATE TEMPORARY TABLE IF NOT EXISTS `Tm` (x int)")
    assert found is not None
    assert b"tm" in found.temporary_tables


def test_calc_found_rows_and_binlog() -> None:
    found = inspect(b"SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1")
    assert found is not None
    assert found.calc_found_rows
    found = inspect(b"BINLOG 'abc'")
    assert found is not None
    assert found.permanent == "binlog"


@given(st.binary(max_size=80), st.booleans(), st.booleans())
def test_no_bytes_raise(sql: bytes, no_escapes: bool, multibyte: bool) -> None:
    inspect(b"@" + sql, no_escapes, multibyte)


def test_the_cache_of_verdicts_is_bounded() -> None:
    for number in range(5000):
        inspect(b"SELECT @x%d" % number)
    assert len(inspection._verdicts) <= 2048


@pytest.mark.parametrize(
    ("sql", "redefines"),
    [
        (b"CREATE FUNCTION f() RETURNS INT RETURN 1", True),
        (b"CREATE/**/PROCEDURE p() SELECT 1", True),
        (b"CREATE DEFINER=`a`@`%` TRIGGER t BEFORE INSERT ON u FOR EACH ROW SET NEW.a=1", True),
        (
            b"CREATE OR REPLACE ALGORITHM=MERGE DEFINER='a'@'b' SQL SECURITY INVOKER VIEW v AS"
            b" SELECT 1",
            True,
        ),
        (b"ALTER VIEW v AS SELECT 1", True),
        (b"DROP PROCEDURE IF EXISTS p", True),
        (b"SELECT 1; DROP TRIGGER t", True),
        (b"RENAME TABLE t TO u", True),
        (b"ALTER TABLE t RENAME u", True),
        (b"CREATE FUNCTION f() RETURNS INT RETURN 1" + b" " * (1 << 16), True),
        (b"CREATE TABLE t (a INT)", False),
        (b"CREATE TEMPORARY TABLE t (view INT)", False),
        (b"DROP TABLE t", False),
        (b"SELECT 'CREATE VIEW v AS SELECT 1'", False),
        (b"SHOW CREATE VIEW v", False),
    ],
)
def test_definitions_that_others_may_use(sql: bytes, redefines: bool) -> None:
    found = inspect(sql)
    assert (found is not None and found.redefines) == redefines
