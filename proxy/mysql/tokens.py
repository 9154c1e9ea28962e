"""SQL of MySQL and MariaDB taken apart into statements and tokens (manual, "Lexical Structure")."""

from __future__ import annotations

import re
from typing import Final

_PATTERN: Final = rb"""
    (?P<space>\s+ | \#[^\n]*+ | --(?=[\s\x00-\x1f]|\Z)[^\n]*+
      | /\*(?!!|M!)(?:[^*]|\*(?!/))*+(?:\*/|\Z) | /\*M?![0-9]{0,6} | \*/)
  | (?P<variable>@@(?:`[^`]*+`|[\w$.\x80-\xff])*+
      | @(?:`(?:[^`]|``)*+(?:`|\Z)|%(single)s|%(double)s|[\w$.\x80-\xff]++)?)
  | (?P<string>(?:[bBxXnN]|_[A-Za-z0-9]+)?%(single)s)
  | (?P<double>%(double)s)
  | (?P<quoted>`(?:[^`]|``)*+(?:`|\Z))
  | (?P<number>[0-9]++(?![\w$\x80-\xff]))
  | (?P<name>[\w$\x80-\xff]++)
  | (?P<other>:=|.)
"""
_FLAGS: Final = re.VERBOSE | re.DOTALL | re.ASCII
_TOKEN: Final = re.compile(
    _PATTERN
    % {
        b"single": rb"'(?:[^'\\]|\\.|'')*+(?:'|\Z|\\\Z)",
        b"double": rb'"(?:[^"\\]|\\.|"")*+(?:"|\Z|\\\Z)',
    },
    _FLAGS,
)
_TOKEN_NO_BACKSLASH_ESCAPES: Final = re.compile(
    _PATTERN % {b"single": rb"'(?:[^']|'')*+(?:'|\Z)", b"double": rb'"(?:[^"]|"")*+(?:"|\Z)'},
    _FLAGS,
)


class Token:
    """A word, quoted name, string, variable, number or other character, and its place.

    Kinds: ``name`` (text in lower case), ``quoted`` (a name in backquotes), ``double`` (in double
    quotes: a string or, under ANSI_QUOTES, a name), ``string``, ``variable`` (with its at signs),
    ``number``, ``other``.
    """

    __slots__ = ("end", "kind", "start", "text")

    def __init__(self, kind: str, text: bytes, start: int, end: int) -> None:
        self.kind = kind
        self.text = text
        self.start = start
        self.end = end

    @property
    def word(self) -> bytes:
        """The name that this may be, in lower case without quotes; else empty."""
        if self.kind == "name":
            return self.text
        if self.kind in ("quoted", "double"):
            quote = self.text[:1]
            return self.text[1:-1].replace(quote * 2, quote).lower()
        return b""


def statements(sql: bytes, *, no_backslash_escapes: bool = False) -> list[list[Token]]:
    """Split a text into statements of tokens, without comments and white space.

    What stands in executable comments (``/*! */``, ``/*M! */``) is taken for code, whatever version
    they ask for.
    """
    pattern = _TOKEN_NO_BACKSLASH_ESCAPES if no_backslash_escapes else _TOKEN
    found: list[list[Token]] = [[]]
    for match in pattern.finditer(sql):
        kind = match.lastgroup or "other"
        if kind == "space":
            continue
        text = match.group()
        if text == b";":
            found.append([])
        else:
            text = text.lower() if kind == "name" else text
            found[-1].append(Token(kind, text, match.start(), match.end()))
    return [tokens for tokens in found if tokens]
