"""SQL taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres.tokens import identifier, statements


def words(sql: str) -> list[list[str]]:
    return [[token.text.decode() for token in tokens] for tokens in statements(sql.encode())]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ; ;; ", []),
        ("SELECT 1", [["select", "1"]]),
        ("a;b", [["a"], ["b"]]),
        ("SELECT'x'", [["select", "'x'"]]),
        ("'it''s; ok' x", [["'it''s; ok'", "x"]]),
        (r"E'it\'s; ok' x", [[r"E'it\'s; ok'", "x"]]),
        (r"'\' ; x", [[r"'\'"], ["x"]]),
        ("B'01' x'ff' N'n'", [["B'01'", "x'ff'", "N'n'"]]),
        ("U&'d\\0061t' U&\"d\\0061t\"", [["U&'d\\0061t'", 'U&"d\\0061t"']]),
        ("$$a;b$$ c", [["$$a;b$$", "c"]]),
        ("$x$a;$$;$y$;$x$ c", [["$x$a;$$;$y$;$x$", "c"]]),
        ("a$b$ ; c", [["a$b$"], ["c"]]),
        ("$1 ; c", [["$", "1"], ["c"]]),
        ('"A ""b;"".c" d', [['"A ""b;"".c"', "d"]]),
        ("Ab_1$ -- no; more\nc", [["ab_1$", "c"]]),
        ("a -- at the end", [["a"]]),
        ("a--x\rb", [["a", "b"]]),
        ("a /* b; /* c */ ; */ d", [["a", "d"]]),
        ("a/**/b", [["a", "b"]]),
        ("a /* never closed ; b", [["a"]]),
        ("'never closed ; b", [["'never closed ; b"]]),
        ("'a--b' c", [["'a--b'", "c"]]),
        ("'/*' a '*/'", [["'/*'", "a", "'*/'"]]),
        ("été Ä", [["été", "Ä"]]),
    ],
)
def test_statements(sql: str, expected: list[list[str]]) -> None:
    assert words(sql) == expected


def test_kinds() -> None:
    (tokens,) = statements(b"name \"quoted\" 'string' $$string$$ + \xc3\xa4")
    assert [token.kind for token in tokens] == [
        "name", "name", "string", "string", "other", "name",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (b"Plain", b"plain"),
        (b'"Quoted"', b"Quoted"),
        (b'"with ""quotes"""', b'with "quotes"'),
        (b"x" * 70, b"x" * 63),
        (b'"' + b"X" * 70 + b'"', b"X" * 63),
    ],
)
def test_identifier(token: bytes, value: bytes) -> None:
    assert identifier(token) == value


@given(st.binary(max_size=80))
def test_places_are_in_order_and_true(sql: bytes) -> None:
    end = 0
    for tokens in statements(sql):
        assert tokens
        for token in tokens:
            assert end <= token.start < token.end
            assert sql[token.start : token.end].lower() == token.text.lower()
            end = token.end
    assert end <= len(sql)


@given(st.text(alphabet="aB \"$'", max_size=20))
def test_quoted_text_is_one_token(text: str) -> None:
    for quoted in (
        "'" + text.replace("'", "''") + "'",
        '"' + text.replace('"', '""') + '"',
        f"$tag$;{text.replace('$', '')};$tag$",
    ):
        assert words(f"{quoted} after; next") == [[quoted, "after"], ["next"]]


@given(st.lists(st.sampled_from(["/*", "*/", "x", ";", "\n"]), max_size=12))
def test_comments_nest(pieces: list[str]) -> None:
    """Whatever is in a comment, as long as its own marks balance."""
    depth, inner = 0, ""
    for piece in pieces:
        if piece == "*/" and depth == 0:
            continue
        depth += {"/*": 1, "*/": -1}.get(piece, 0)
        inner += piece + " "
    assert words(f"a /* {inner}{'*/ ' * depth}*/ b") == [["a", "b"]]
