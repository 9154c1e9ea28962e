"""The quick look at a text finds everything that the regular expression finds."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.postgres import suspicion
from proxy.postgres.inspection import inspect
from proxy.wire.words import begins_with_word, has_word

PIECES = [
    *suspicion._WORDS,
    *(word[:-1] for word in suspicion._WORDS),
    *(word[1:] for word in suspicion._WORDS),
    *(word.upper() for word in suspicion._WORDS),
    b" ",
    b"\n",
    b"(",
    b"late",
    b"orary",
    b"\xff",
    b"\0",
    b"SELECT ",
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))).map(b"".join)


def expected(sql: bytes) -> bool:
    return suspicion._SUSPICIOUS.search(sql.lower()) is not None


@given(texts)
@example(b"select 1; ; \n;")
@example(b"select 1; select 2")
@example(b"sesetseed")
@example(b"pg_origin_session")
@example(b"TeMp")
def test_the_walk_misses_nothing_that_the_regular_expression_finds(sql: bytes) -> None:
    assert suspicion.is_suspicious(sql) == expected(sql)
    assert has_word(suspicion._TABLE, sql, 0, len(sql)) or not expected(sql)


@given(texts)
def test_the_walk_finds_words_and_nothing_else(sql: bytes) -> None:
    text = sql.lower().rstrip(b" \t\n\r\v\f;")
    assert has_word(suspicion._TABLE, sql, 0, len(sql)) == any(
        word in text for word in suspicion._WORDS
    )


def test_ordinary_statements_are_not_suspicious() -> None:
    for sql in (b"SELECT abalance FROM pgbench_accounts WHERE aid = 1;", b"COMMIT", b""):
        assert not has_word(suspicion._TABLE, sql, 0, len(sql))
        assert not suspicion.is_suspicious(sql)


beginnings = st.sampled_from([b"SELECT", b"set", b"Begin", b"commit", b"withal", b"end", b""])


@given(beginnings, st.sampled_from([b" ", b"\n", b";", b"x", b"\t", b""]), texts)
def test_a_plain_text_has_no_effects(word: bytes, behind: bytes, rest: bytes) -> None:
    """``is_plain`` says so of nothing else, wherever the text lies."""
    sql = word + behind + rest
    harmless = word.lower() in suspicion.HARMLESS_WORDS and not suspicion.is_suspicious(sql)
    plain = begins_with_word(suspicion._BEGINNINGS, b"Q" + sql + b"\0", 1, len(sql) + 2)
    assert plain <= (word.lower() in suspicion.HARMLESS_WORDS)
    if suspicion.is_plain(b"Q" + sql + b"\0Z", 1, len(sql) + 1):
        assert harmless
        assert inspect(sql) is None
