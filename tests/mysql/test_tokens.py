"""MySQL's lexical rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mysql.tokens import statements


def texts(sql: bytes, *, no_backslash_escapes: bool = False) -> list[list[bytes]]:
    found = statements(sql, no_backslash_escapes=no_backslash_escapes)
    return [[token.text for token in tokens] for tokens in found]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"", []),
        (b";; ;", []),
        (b"SELECT 1;DO 2;", [[b"select", b"1"], [b"do", b"2"]]),
        (b"a/* ; */b", [[b"a", b"b"]]),
        (b"a/*/ ; */b", [[b"a", b"b"]]),
        (b"a -- ;\nb", [[b"a", b"b"]]),
        (b"a --1", [[b"a", b"-", b"-", b"1"]]),
        (b"a # ;'\nb", [[b"a", b"b"]]),
        (b"a /*!b*/ c", [[b"a", b"b", b"c"]]),
        (b"a /*!50000b*/ c", [[b"a", b"b", b"c"]]),
        (b"a /*M!100000 b */ c", [[b"a", b"b", b"c"]]),
        (b"'a;''\\';'b", [[b"'a;''\\';'", b"b"]]),
        (b'"a;\\";"', [[b'"a;\\";"']]),
        (b"`a;``b`c", [[b"`a;``b`", b"c"]]),
        (b"@`a b`@x@@session.y", [[b"@`a b`", b"@x", b"@@session.y"]]),
        (b"@'a;'", [[b"@'a;'"]]),
        (b"_utf8mb4'a;'", [[b"_utf8mb4'a;'"]]),
        (b"@a:=1", [[b"@a", b":=", b"1"]]),
        (b"'open ; ", [[b"'open ; "]]),
    ],
)
def test_tokens(sql: bytes, expected: list[list[bytes]]) -> None:
    assert texts(sql) == expected


def test_without_backslash_escapes_a_backslash_is_a_character() -> None:
    assert texts(b"'\\';x", no_backslash_escapes=True) == [[b"'\\'"], [b"x"]]
    assert texts(b"'\\';x") == [[b"'\\';x"]]


@given(st.binary(max_size=100), st.booleans())
def test_tokens_lie_in_the_text_one_behind_the_other(sql: bytes, no_escapes: bool) -> None:
    position = 0
    for tokens in statements(sql, no_backslash_escapes=no_escapes):
        for token in tokens:
            assert position <= token.start < token.end <= len(sql)
            assert sql[token.start : token.end].lower() == token.text.lower()
            position = token.end


def test_words_lose_their_quotes() -> None:
    (tokens,) = statements(b"`Get``L` \"X\" 'y' Z @a")
    assert [token.word for token in tokens] == [b"get`l", b"x", b"", b"z", b""]
