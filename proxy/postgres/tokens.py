"""SQL taken apart into statements and tokens (docs: "Lexical Structure")."""

from __future__ import annotations

import re
from typing import Final

_TEXTS: Final = rb"""
      [bBxXnN]?'[^']*+(?:''[^']*+)*+(?:'|\Z) | [eE]'(?:[^'\\]|\\.|'')*+(?:'|\Z)
    | [uU]&'[^']*+(?:''[^']*+)*+(?:'|\Z)
    | \$(?P<tag>[A-Za-z_\x80-\xff][\w\x80-\xff]*+)?\$.*?(?:\$(?(tag)(?P=tag))\$|\Z)
"""
_NAMES: Final = rb"""
      [uU]&"[^"]*+(?:""[^"]*+)*+(?:"|\Z) | "[^"]*+(?:""[^"]*+)*+(?:"|\Z)
    | [A-Za-z_\x80-\xff][\w$\x80-\xff]*+
"""
_TOKEN: Final = re.compile(
    rb"(?P<space>\s+|--[^\r\n]*) | (?P<string>" + _TEXTS + rb") | (?P<name>" + _NAMES + rb")"
    rb" | (?P<other>.)",
    re.VERBOSE | re.DOTALL,
)
_REST: Final = re.compile(
    rb"(?: [^;'\"$/A-Za-z_\x80-\xff-]++ | --[^\r\n]*+ |"
    + _TEXTS
    + rb"|"
    + _NAMES
    + rb"|-|\$|/(?!\*)"
    rb")*+",
    re.VERBOSE | re.DOTALL,
)
"""What is left of a statement, up to its end or a block comment."""
_TELLING: Final = re.compile(rb"\b(?:temp|temporary|hold|execute)\b", re.IGNORECASE)
_COMMENT_EDGE: Final = re.compile(rb"/\*|\*/")
MOST_STATEMENTS: Final = 3000
"""Statements of one text that are taken apart."""
MOST_TOKENS: Final = 2000
"""Tokens of a statement that are told apart; of what comes after only telling words are."""


class Token:
    """A word, quoted name, string or single character of SQL, with its place in the text."""

    __slots__ = ("end", "kind", "start", "text")

    def __init__(self, kind: str, text: bytes, start: int, end: int) -> None:
        self.kind = kind
        self.text = text
        self.start = start
        self.end = end


def _skip_comment(sql: bytes, start: int) -> int:
    """Return where the (nesting) block comment that starts here ends."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge.group() == b"/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def statements(sql: bytes) -> list[list[Token]]:
    """Split a text into statements of tokens, without comments and white space.

    Lexical rules: docs, "Lexical Structure". ``standard_conforming_strings`` is taken to be on; a
    session that turns it off is pinned (see ``inspection.py``). A last statement of kind ``cut``
    stands for what comes after ``MOST_STATEMENTS``.
    """
    found: list[list[Token]] = [[]]
    position = 0
    while position < len(sql) and len(found) <= MOST_STATEMENTS:
        if sql.startswith(b"/*", position):
            position = _skip_comment(sql, position)
        elif len(found[-1]) >= MOST_TOKENS and sql[position] != 0x3B:
            rest = _REST.match(sql, position)
            assert rest is not None
            position = rest.end()
            found[-1] += _telling(rest)
        else:
            match = _TOKEN.match(sql, position)
            assert match is not None
            position = match.end()
            if match.group() == b";":
                found.append([])
            elif match["space"] is None:
                found[-1].append(_token(match))
    if position < len(sql):
        found.append([Token("cut", b"", position, len(sql))])
    return [tokens for tokens in found if tokens]


def _token(match: re.Match[bytes]) -> Token:
    text = match.group()
    kind = match.lastgroup or "other"
    if kind == "name" and not text.endswith(b'"'):
        text = text.lower()
    return Token("string" if kind == "tag" else kind, text, match.start(), match.end())


def _telling(rest: re.Match[bytes]) -> list[Token]:
    """The rest of a statement as one token, and telling words in it, each once."""
    words = {word.lower() for word in _TELLING.findall(rest.group())}
    found = [Token("other", rest.group(), rest.start(), rest.end())]
    return found + [Token("name", word, rest.end(), rest.end()) for word in sorted(words)]


def identifier(token: bytes) -> bytes:
    """Value of an SQL identifier: quotes taken off, or folded to lower case; 63 bytes."""
    if token[:1] == b'"':
        return token[1:-1].replace(b'""', b'"')[:63]
    return token.lower()[:63]
