"""Texts so long that only what matters is told apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres.tokens import MOST_STATEMENTS, MOST_TOKENS, statements

PIECES = [
    "a", "'x;'", '"y;"', "$$;$$", "/* ; */", "-- ;\n", "1", "(", "E'\\';'", "temp", "/", "-", "$",
]  # fmt: skip


def words(sql: str) -> list[list[str]]:
    return [[token.text.decode() for token in tokens] for tokens in statements(sql.encode())]


@given(st.lists(st.sampled_from(PIECES)), st.lists(st.sampled_from(PIECES)))
def test_the_end_of_a_long_statement_is_found(rest: list[str], following: list[str]) -> None:
    found = words("x " * MOST_TOKENS + " ".join(rest) + " ; " + " ".join(following))
    assert found[1:] == words(" ".join(following))
    assert ("temp" in rest) == ("temp" in found[0])


def test_the_rest_of_a_long_statement_is_kept_whole() -> None:
    sql = b"x " * MOST_TOKENS + b"set_config('a', 'b') /* no */ EXECUTE p"
    tokens = statements(sql)[0]
    rest = b" ".join(sql[token.start : token.end] for token in tokens[MOST_TOKENS:])
    assert rest.split() == [b"set_config('a',", b"'b')", b"EXECUTE", b"p"]
    assert b"execute" in [token.text for token in tokens]


def test_too_many_statements_are_cut() -> None:
    found = statements(b";" * (MOST_STATEMENTS - 2) + b"a;b;")
    assert [[token.text for token in tokens] for tokens in found] == [[b"a"], [b"b"]]
    found = statements(b";" * (MOST_STATEMENTS - 1) + b"a;b;c")
    assert [tokens[0].kind for tokens in found] == ["name", "cut"]
