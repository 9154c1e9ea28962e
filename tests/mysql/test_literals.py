"""Literals in place of what only one server connection could tell."""

from __future__ import annotations

import pytest

from proxy.mysql.inspection import inspect
from proxy.mysql.literals import outcomes, own_ids, with_literals
from proxy.mysql.session_state import SessionState
from tests.mysql.streams import pool_state


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"SELECT CONNECTION_ID()", b"SELECT CAST(7 AS UNSIGNED) AS `CONNECTION_ID()`"),
        (b"SELECT connection_id() AS me", b"SELECT CAST(7 AS UNSIGNED) AS me"),
        (b"SELECT 1 + CONNECTION_ID()", b"SELECT 1 + CAST(7 AS UNSIGNED)"),
        (b"SELECT 'CONNECTION_ID()', 1", b"SELECT 'CONNECTION_ID()', 1"),
        (
            b"SELECT CONNECTION_ID(), connection_id()",
            b"SELECT CAST(7 AS UNSIGNED) AS `CONNECTION_ID()`,"
            b" CAST(7 AS UNSIGNED) AS `connection_id()`",
        ),
    ],
)
def test_the_number_of_the_session(sql: bytes, expected: bytes) -> None:
    effects = inspect(sql)
    literals = [] if effects is None else own_ids(effects, 7)
    assert with_literals(sql, literals) == expected


def test_the_outcome_of_the_last_statement() -> None:
    state = SessionState(pool_state(), b"")
    state.row_count, state.found_rows = -1, 12
    sql = b"SELECT ROW_COUNT(), FOUND_ROWS(), @@warning_count"
    effects = inspect(sql)
    assert effects is not None
    assert with_literals(sql, outcomes(effects, state)) == (
        b"SELECT CAST(-1|0 AS SIGNED) AS `ROW_COUNT()`, CAST(12|0 AS SIGNED) AS `FOUND_ROWS()`,"
        b" NULLIF(0|0,-1) AS `@@warning_count`"
    )
