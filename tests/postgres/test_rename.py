"""Names of statements in texts."""

from __future__ import annotations

import pytest

from proxy.postgres.inspection import inspect
from proxy.postgres.prepared import STALE_NAME
from proxy.postgres.rename import rename_in_error, rename_in_text
from tests.postgres.streams import IDLE, Pair, refused
from tests.support import messages as wire


def renamed(pair: Pair, sql: str) -> str:
    effects = inspect(sql.encode())
    assert effects is not None
    found = rename_in_text(
        sql.encode(), effects.statement_names, pair.client.statements, pair.server
    )
    return found.decode()


def words(message: bytes) -> str:
    assert int.from_bytes(message[1:5], "big") == len(message) - 1
    return wire.Message("E", message[5:]).fields["M"]


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    for name in ("one", "Two", "with space", 'quo"te'):
        made.prepare(name, f"SELECT '{name}'")
    return made


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("EXECUTE one", "EXECUTE tidegate_1"),
        ("execute ONE(1)", "execute tidegate_1(1)"),
        ('EXECUTE "one"', "EXECUTE tidegate_1"),
        ('EXECUTE "Two"', "EXECUTE tidegate_2"),
        ("EXECUTE Two", "EXECUTE Two"),
        ('EXECUTE "with space" ;', "EXECUTE tidegate_3 ;"),
        ('EXECUTE "quo""te"', "EXECUTE tidegate_4"),
        ("EXECUTE unknown", "EXECUTE unknown"),
        ("/* one */ EXECUTE one -- one", "/* one */ EXECUTE tidegate_1 -- one"),
        ('DEALLOCATE one; EXECUTE "Two"', "DEALLOCATE tidegate_1; EXECUTE tidegate_2"),
        ("EXPLAIN ANALYZE EXECUTE one", "EXPLAIN ANALYZE EXECUTE tidegate_1"),
        ("CREATE TABLE one AS EXECUTE one", "CREATE TABLE one AS EXECUTE tidegate_1"),
    ],
)  # fmt: skip
def test_in_texts(pair: Pair, sql: str, expected: str) -> None:
    assert renamed(pair, sql) == expected


def test_a_statement_that_is_not_on_this_connection_keeps_its_name(pair: Pair) -> None:
    pair.elsewhere()
    assert renamed(pair, "EXECUTE one") == "EXECUTE one"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('statement "tidegate_1" does not exist', 'statement "one" does not exist'),
        ("tidegate_2 and tidegate_1", "Two and one"),
        ("tidegate_12", "tidegate_12"),
        ("tidegate_", "tidegate_"),
    ],
)  # fmt: skip
def test_in_errors(pair: Pair, text: str, expected: str) -> None:
    assert words(rename_in_error(refused("26000", text), pair.client, pair.server)) == expected


def test_in_an_error_about_a_statement_that_is_being_closed(pair: Pair) -> None:
    pair.send(wire.bind("wrong", name="one"), wire.close("S", "one"), wire.SYNC)
    told = pair.answer(refused("08P01", 'but statement "tidegate_1" requires 0'), IDLE)
    assert words(told[: -len(IDLE)]) == 'but statement "one" requires 0'
    assert b"one" in pair.client.statements.named, "the server has discarded the Close"


def test_in_an_error_about_a_statement_that_was_deallocated(pair: Pair) -> None:
    pair.send(wire.query("DEALLOCATE one"))
    told = pair.answer(refused("26000", 'prepared statement "tidegate_1" is gone'), IDLE)
    assert words(told[: -len(IDLE)]) == 'prepared statement "one" is gone'


def test_others_names_are_not_told(pair: Pair) -> None:
    pair.other()
    text = 'prepared statement "tidegate_1" does not exist'
    assert words(rename_in_error(refused("26000", text), pair.client, pair.server)) == text


@pytest.mark.parametrize("describing", [False, True])
def test_a_stale_statement(pair: Pair, describing: bool) -> None:
    client, server = pair.client, pair.server
    client.statements.stale_parameters = b"\0\1\0\0\0\x17"
    if describing:
        client.receive(wire.describe("S", "none"))
    error = refused("26000", f'prepared statement "{STALE_NAME.decode()}" does not exist')
    told = rename_in_error(error, client, server)
    parameters = wire.message("t", b"\0\1\0\0\0\x17")
    assert told.startswith(parameters) == describing
    fields = wire.Message("E", told.removeprefix(parameters)[5:]).fields
    assert fields["C"] == "0A000"
    assert fields["M"] == "cached plan must not change result type"


def test_errors_pass_unchanged_where_no_name_of_ours_is_in_them(pair: Pair) -> None:
    pair.send(wire.query("SELECT one"))
    error = refused("42703", 'column "one" does not exist')
    assert pair.answer(error, IDLE) == error + IDLE
