"""What the bodies of stored programs say."""

from __future__ import annotations

import re

import pytest

from proxy.mysql import effects as fx
from proxy.mysql.bodies import SUSPECTS, body_effects

POSIX_SPACE = b"[[:space:]]"


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        (b"RETURN GET_LOCK(name, 1)", fx.NAMED_LOCK),
        (b"BEGIN EXECUTE\n IMMEDIATE text; END", fx.UNREADABLE_CODE),
        (b"RETURN NEXTVAL(s)", fx.SEQUENCE),
        (b"RETURN NEXT VALUE FOR s", fx.SEQUENCE),
        (b"FLUSH TABLES WITH READ LOCK", fx.GLOBAL_READ_LOCK),
        (b"LOCK INSTANCE FOR BACKUP", fx.BACKUP_LOCK),
        (b"XA START 'x'", fx.XA_TRANSACTION),
        (b"SET ROLE NONE", fx.ROLE),
        (b"SET RESOURCE GROUP batch", fx.RESOURCE_GROUP),
        (b"SELECT 1", 0),
        (b"SELECT a FROM t FOR UPDATE SKIP LOCKED", 0),
        (None, fx.UNREADABLE_CODE),
    ],
)
def test_kinds_of_state(body: bytes | None, kinds: int) -> None:
    assert body_effects(body).may_begin == kinds | fx.STORED_PROGRAM


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"DO GET_LOCK('a', 1)", {b"'a'"}),
        (b"DO get_lock ( 'Job:1.b' , 1); DO GET_LOCK('b', n)", {b"'Job:1.b'", b"'b'"}),
        (b"DO GET_LOCK(name, 1)", None),
        (b"DO GET_LOCK('a', 1); DO GET_LOCK(CONCAT('b', n), 1)", None),
        (b"DO GET_LOCK('it''s', 1)", None),
        (b"DO GET_LOCK('it\\'s', 1)", None),
        (b"-- GET_LOCK", None),
    ],
)
def test_lock_names(body: bytes, names: set[bytes] | None) -> None:
    assert body_effects(body).lock_names == names


@pytest.mark.parametrize("call", [b"RELEASE_LOCK('a')", b"release_all_locks()"])
def test_locks_that_are_released(call: bytes) -> None:
    assert body_effects(b"BEGIN DO GET_LOCK('a', 1); DO " + call).may_end == fx.NAMED_LOCK


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"SELECT COUNT(*) INTO @n FROM t", {b"n"}),
        (b"SET @a = 1, @`b c` := 2", {b"a", b"b c"}),
        (b"CALL other(@Out)", {b"out"}),
        (b"RETURN @a + @b", set()),
        (b"RETURN CONCAT('me@example.com', @@session.sql_mode)", set()),
    ],
)
def test_user_variables_that_are_written(body: bytes, names: set[bytes]) -> None:
    found = body_effects(body)
    assert found.user_variables == names
    assert found.writes_user_variables == bool(names)


def test_a_variable_whose_name_has_other_letters() -> None:
    found = body_effects("SELECT 1 INTO @größe".encode())
    assert found.may_begin & fx.UNREADABLE_CODE


def test_other_things_to_know_of() -> None:
    assert body_effects(b"RETURN LAST_INSERT_ID(7)").reads_last_insert_id
    assert body_effects(b"SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 1").calc_found_rows
    assert body_effects(b"BINLOG 'x'").permanent == "binlog"
    assert not body_effects(b"UPDATE t SET a = 1").reads_last_insert_id


@pytest.mark.parametrize(
    "body",
    [
        b"get_lock('a', 1)",
        b"do release_lock('a')",
        b"create temporary table t (a int)",
        b"prepare s from 'select 1'",
        b"execute immediate x",
        b"select next\n value for s",
        b"select 1 into @a",
        b"flush tables with read lock",
        b"lock instance for backup",
        b"xa\tbegin 'x'",
        b"set  role none",
        b"set resource group x",
        b"return last_insert_id()",
    ],
)
def test_servers_are_asked_for_whatever_counts(body: bytes) -> None:
    assert re.search(SUSPECTS.replace(POSIX_SPACE, rb"\s"), body)
