"""The quick search finds whatever the regular expression finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql import suspicion
from proxy.wire.words import has_word


@pytest.mark.parametrize("word", suspicion.WORDS)
def test_each_word_is_found(word: bytes) -> None:
    for sql in (word, b"select " + word + b"x", b"  " + word.upper() + b"x"):
        assert suspicion.is_suspicious(sql + b"1")


@given(st.lists(st.sampled_from([*suspicion.WORDS, b"a", b"l", b"lo", b";", b" "]), max_size=8))
def test_the_walk_misses_nothing_that_the_expression_finds(parts: list[bytes]) -> None:
    sql = b"".join(parts) + b"1"
    if suspicion._SUSPICIOUS.search(sql.lower()):
        assert has_word(suspicion._TABLE, sql, 0, len(sql))


@pytest.mark.parametrize("ending", [*suspicion.WORDS, b"; SELECT 2", b"; ", b"", b"x"])
def test_long_texts_are_judged_like_short_ones(ending: bytes) -> None:
    long = b"INSERT INTO t VALUES ('%s') " % (b"0123456789ABCDEF" * 2000)
    for sql in (long + ending + b"1", long + ending.upper() + b"x"):
        expected = suspicion._SUSPICIOUS.search(sql.lower()) is not None
        assert suspicion.is_suspicious(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        b"SELECT * FROM t WHERE id=1",
        b"INSERT INTO t VALUES (1,'x');",
        b"UPDATE t SET a=a+1 WHERE id=?",
        b"BEGIN",
        b"START TRANSACTION",
        b"COMMIT; \n",
        b"SELECT a FROM t FOR UPDATE SKIP LOCKED",
    ],
)
def test_ordinary_statements_are_not_suspicious(sql: bytes) -> None:
    assert not suspicion.is_suspicious(sql)
