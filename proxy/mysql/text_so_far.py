"""What the statements of one text say of those behind them in it.

``UPDATE ...; SELECT ROW_COUNT()`` asks for what the text itself has done, not for what the session
did before; and what stands in the body of a stored program is not asked by this text at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.mysql.effects import Effects
    from proxy.mysql.tokens import Token

_CHANGES: Final = frozenset({b"insert", b"update", b"delete", b"replace"})
_ASKS: Final = frozenset({b"get", b"show"})
_KEEP_ROW_COUNT: Final = frozenset({b"get", b"signal", b"resignal"})
_WITH_BODY: Final = frozenset({b"procedure", b"function", b"trigger", b"event", b"package"})
_NOTHING: Final[frozenset[bytes]] = frozenset()
_ROW_COUNT: Final = frozenset({b"row_count"})
_COUNTS: Final = frozenset({b"row_count", b"warning_count", b"error_count"})
_ALL: Final = _COUNTS | {b"found_rows"}


class TextSoFar:
    """The statements of one text that have been read so far."""

    def __init__(self, *, conditional: bool) -> None:
        self.conditional = conditional
        """It has comments that some servers execute: nobody knows what has run."""
        self.first = True
        self.in_body = False
        self.settled: frozenset[bytes] = _NOTHING
        """Which outcomes are this text's own by now."""
        self.calls = 0
        self.ids = 0
        self.reads = False

    def before(self, found: Effects) -> None:
        """A statement is about to be read into ``found``."""
        self.calls = len(found.outcome_calls)
        self.ids = len(found.connection_ids)
        self.reads = found.reads_diagnostics

    def after(self, tokens: list[Token], found: Effects) -> None:
        """It has been read: take back what it does not ask of the session."""
        words = [token.word for token in tokens]
        if self.in_body or _defines(words):
            self.in_body = self.in_body or not _WITH_BODY.isdisjoint(words)
            del found.outcome_calls[self.calls :]
            del found.connection_ids[self.ids :]
            found.reads_diagnostics = self.reads
        elif not self.first:
            self.take_back(words[0], found)
        self.first = False
        if not self.conditional:
            self.settled |= _settles(tokens, words)

    def take_back(self, head: bytes, found: Effects) -> None:
        names = {call[3] for call in found.outcome_calls[self.calls :]}
        del found.outcome_calls[self.calls :]
        if head in _ASKS and self.settled >= _COUNTS:
            found.reads_diagnostics = self.reads
        if not names <= self.settled:
            found.reads_diagnostics = True


def _defines(words: list[bytes]) -> bool:
    """Whether functions in a statement are stored with what it makes rather than called."""
    if words[0] not in (b"create", b"alter"):
        return False
    stored = not _WITH_BODY.isdisjoint(words) or b"view" in words
    return stored or (b"table" in words[:5] and b"select" not in words)


def _settles(tokens: list[Token], words: list[bytes]) -> frozenset[bytes]:
    head = words[0]
    if head in _CHANGES:
        return _COUNTS
    if head in (b"select", b"with") and _reads_a_table(tokens, words):
        return _ALL
    return _NOTHING if head in _KEEP_ROW_COUNT else _ROW_COUNT


def _reads_a_table(tokens: list[Token], words: list[bytes]) -> bool:
    """Without one, MariaDB leaves the messages of the statement before as they are."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.text == b"(") - (token.text == b")")
        if depth == 0 and words[index] == b"from":
            return words[index + 1 : index + 2] != [b"dual"] and b"into" not in words
    return False
