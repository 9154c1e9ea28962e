"""SQL taken apart into statements and tokens (docs: "Lexical Structure")."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    rb"""
      (?P<space> \s+ | --[^\r\n]* )
    | (?P<string> [bBxXnN]?'(?:[^']|'')*(?:'|\Z) | [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
                | [uU]&'(?:[^']|'')*(?:'|\Z)
                | \$(?P<tag>[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$.*?(?:\$(?(tag)(?P=tag))\$|\Z) )
    | (?P<name> [uU]&"(?:[^"]|"")*(?:"|\Z) | "(?:[^"]|"")*(?:"|\Z)
              | [A-Za-z_\x80-\xff][\w$\x80-\xff]* )
    | (?P<other> .)
    """,
    re.VERBOSE | re.DOTALL,
)


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
    position = start
    while position < len(sql):
        two = sql[position : position + 2]
        if two == b"/*":
            depth += 1
            position += 2
        elif two == b"*/":
            depth -= 1
            position += 2
            if depth == 0:
                return position
        else:
            position += 1
    return position


def statements(sql: bytes) -> list[list[Token]]:
    """Split a text into statements of tokens, without comments and white space.

    Lexical rules: docs, "Lexical Structure". ``standard_conforming_strings`` is taken to be on; a
    session that turns it off is pinned (see ``_set``).
    """
    found: list[list[Token]] = [[]]
    position = 0
    while position < len(sql):
        if sql.startswith(b"/*", position):
            position = _skip_comment(sql, position)
            continue
        match = _TOKEN.match(sql, position)
        assert match is not None
        kind = match.lastgroup if match.lastgroup != "tag" else "string"
        position = match.end()
        if kind == "space":
            continue
        text = match.group()
        if text == b";":
            found.append([])
            continue
        if kind == "name" and not text.endswith(b'"'):
            text = text.lower()
        found[-1].append(Token(kind or "other", text, match.start(), match.end()))
    return [tokens for tokens in found if tokens]


def identifier(token: bytes) -> bytes:
    """Value of an SQL identifier: quotes taken off, or folded to lower case; 63 bytes."""
    if token[:1] == b'"':
        return token[1:-1].replace(b'""', b'"')[:63]
    return token.lower()[:63]
