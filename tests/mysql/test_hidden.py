"""What stored programs, triggers and views do to a session, as real servers' catalogues tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.mysql import effects as fx
from proxy.mysql.hidden import Catalogue, HiddenEffects
from proxy.mysql.inspection import inspect
from tests.support.mysql_wire import MysqlClient, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.mysql.effects import Effects
    from tests.support.mysql_servers import MysqlServer

MINE = (
    "CREATE FUNCTION locks(n TEXT) RETURNS INT NO SQL RETURN GET_LOCK(n, 1)",
    "CREATE FUNCTION locks_one() RETURNS INT NO SQL RETURN GET_LOCK('one', 1)",
    "CREATE FUNCTION Calls() RETURNS INT NO SQL BEGIN RETURN LOCKS_ONE(); END",
    "CREATE PROCEDURE calls_calls() BEGIN DECLARE a INT; SET a = `calls` (); END",
    "CREATE FUNCTION innocent() RETURNS INT NO SQL RETURN 1",
    "CREATE FUNCTION `odd``name-1`() RETURNS INT NO SQL RETURN GET_LOCK('odd', 1)",
    "CREATE FUNCTION `größe`() RETURNS INT NO SQL RETURN GET_LOCK('g', 1)",
    "CREATE PROCEDURE counts() BEGIN SELECT COUNT(*) INTO @counted FROM watched; END",
    "CREATE PROCEDURE escapes() BEGIN SELECT 'a\\'b', '' INTO @e, @f; DO GET_LOCK('e', 0); END",
    "CREATE TABLE watched (a INT)",
    "CREATE TABLE plain (a INT)",
    "CREATE TRIGGER watches BEFORE INSERT ON watched FOR EACH ROW SET NEW.a = locks_one()",
    "CREATE VIEW seen AS SELECT locks_one() AS a, RELEASE_LOCK('two') AS b",
    "CREATE VIEW seen_from_afar AS SELECT a FROM seen",
    "CREATE VIEW writable AS SELECT a FROM watched",
    "CREATE VIEW harmless AS SELECT a FROM plain",
)
THEIRS = (
    "CREATE FUNCTION secret() RETURNS INT NO SQL RETURN 1",
    "CREATE PROCEDURE secret_work() SELECT 1",
)


@pytest.fixture(scope="module")
def client(mysql_server: MysqlServer) -> Iterator[MysqlClient]:
    """A connection of the definer of nearly everything."""
    mysql_server.admin(
        "DROP DATABASE IF EXISTS hid",
        "CREATE DATABASE hid",
        "GRANT ALL ON hid.* TO 'app'@'%'",
        "GRANT SELECT, EXECUTE ON hid.* TO 'other'@'%'",
        "USE hid",
        *THEIRS,
    )
    with connect(mysql_server.host, mysql_server.port, "app", "app-secret", "hid") as client:
        for statement in MINE:
            reply = client.query(statement)
            assert not reply[-1].error, reply
        yield client
    mysql_server.admin(
        "DROP DATABASE hid",
        "REVOKE ALL ON hid.* FROM 'app'@'%'",
        "REVOKE SELECT, EXECUTE ON hid.* FROM 'other'@'%'",
    )


def read(client: MysqlClient) -> HiddenEffects:
    catalogue = Catalogue()
    while question := catalogue.question():
        rows = client.rows(question.decode())
        as_bytes = [[None if v is None else v.encode() for v in row] for row in rows]
        catalogue.take(as_bytes)
    found = catalogue.effects()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def hidden(client: MysqlClient) -> HiddenEffects:
    return read(client)


def seen(hidden: HiddenEffects, sql: str) -> Effects | None:
    return hidden.added_to(sql.encode(), inspect(sql.encode()))


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT locks('x')", None),
        ("SELECT hid . `locks`('x')", None),
        ("SELECT locks/**/('x')", None),
        ("SELECT Locks_One()", {b"'one'"}),
        ("SELECT calls()", {b"'one'"}),
        ("CALL calls_calls", {b"'one'"}),
        ("INSERT INTO watched(a) VALUES (1)", {b"'one'"}),
        ("INSERT INTO `WATCHED` VALUES (1)", {b"'one'"}),
        ("SELECT * FROM seen", {b"'one'"}),
        ("SELECT * FROM seen_from_afar", {b"'one'"}),
        ("UPDATE writable SET a = 1", {b"'one'"}),
        ("SELECT `odd``name-1`()", {b"'odd'"}),
        ("SELECT `größe`()", {b"'g'"}),
        ("CALL escapes()", {b"'e'"}),
        ("SELECT locks_one(), GET_LOCK('two', 0)", {b"'one'", b"'two'"}),
    ],
)
def test_named_locks(hidden: HiddenEffects, sql: str, names: set[bytes] | None) -> None:
    found = seen(hidden, sql)
    assert found is not None
    assert found.may_begin & fx.NAMED_LOCK
    assert not found.may_begin & fx.UNREADABLE_CODE
    assert found.lock_names == names


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT innocent()",
        "SELECT locks FROM plain",
        "SELECT a FROM plain, unwatched, watched2, my_watched",
        "SELECT * FROM harmless",
    ],
)
def test_nothing_is_hidden(hidden: HiddenEffects, sql: str) -> None:
    assert seen(hidden, sql) is None


def test_user_variables_and_locks_released(hidden: HiddenEffects) -> None:
    found = seen(hidden, "CALL counts()")
    assert found is not None
    assert found.writes_user_variables
    assert found.user_variables == {b"counted"}
    released = seen(hidden, "SELECT * FROM seen")
    assert released is not None
    assert released.may_end & fx.NAMED_LOCK


@pytest.mark.parametrize("sql", ["SELECT secret()", "CALL hid.secret_work()"])
def test_what_the_user_may_not_read(hidden: HiddenEffects, sql: str) -> None:
    found = seen(hidden, sql)
    assert found is not None
    assert found.may_begin & fx.UNREADABLE_CODE


def test_a_user_with_few_privileges(
    client: MysqlClient, mysql_server: MysqlServer, hidden: HiddenEffects
) -> None:
    with connect(mysql_server.host, mysql_server.port, "other", "other-secret") as other:
        unread = read(other)
    for sql in ("SELECT locks_one()", "CALL counts()", "SELECT * FROM harmless"):
        found = seen(unread, sql)
        assert found is not None
        assert found.may_begin & fx.UNREADABLE_CODE, sql
    assert seen(unread, "SELECT a FROM plain") is None


def test_what_the_text_says_by_itself_is_kept(hidden: HiddenEffects) -> None:
    text = "SELECT ROW_COUNT(), CONNECTION_ID(), calls()"
    alone, found = inspect(text.encode()), seen(hidden, text)
    assert alone is not None
    assert found is not None
    assert found.outcome_calls == alone.outcome_calls
    assert found.connection_ids == alone.connection_ids
    assert not alone.may_begin, "what is shared was changed"


def test_an_empty_catalogue() -> None:
    catalogue = Catalogue()
    assert catalogue.question()
    catalogue.take([])
    assert catalogue.question() == b""
    assert catalogue.effects() is None
