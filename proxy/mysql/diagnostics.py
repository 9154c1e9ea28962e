"""A session's diagnostics area, kept after its server connection has gone to somebody else.

``SHOW WARNINGS`` is asked of the server before the connection leaves the session; its reply is kept
as it came, and SHOW WARNINGS, SHOW ERRORS and SHOW COUNT(*) of the client are answered from it.
On MySQL 9.7.4 and MariaDB 10.11.19 the columns of SHOW ERRORS are those of SHOW WARNINGS, those of
SHOW COUNT(*) are as in ``_count_column``, and all three report no warnings of their own.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import ProtocolError
from proxy.mysql.constants import EOF, MYSQL_TYPE_LONGLONG, UNSIGNED_FLAG
from proxy.mysql.effects import (
    SHOWS_ERROR_COUNT,
    SHOWS_ERRORS,
    SHOWS_WARNING_COUNT,
    SHOWS_WARNINGS,
)
from proxy.mysql.lenenc import lenenc, lenenc_int, packet, read_lenenc, read_lenenc_int

QUESTION: Final = b"SHOW WARNINGS"
CLEAR: Final = b"SELECT 1 FROM information_schema.engines LIMIT 0"
"""Leaves no messages; on MariaDB a statement without a table would not remove old ones."""
MOST_BYTES: Final = 1 << 20
"""Most that is kept of one reply; a session with more keeps its connection until it asks."""
_BINARY: Final = 63
_BINARY_FLAG: Final = 0x80


class Diagnostics:
    """One captured reply to ``QUESTION``."""

    __slots__ = ("_columns", "_complete", "_described", "_errors", "_extended", "_rows")

    def __init__(self, payloads: list[bytes], warnings: int, *, extended: bool) -> None:
        """``payloads`` are those of the whole reply, of a connection with DEPRECATE_EOF.

        ``warnings`` is the count that the statement's own OK told, 0 if it ended in ERR;
        ``extended`` whether MARIADB_CLIENT_EXTENDED_METADATA is in force. Raises ``ProtocolError``
        if it is not a reply to SHOW WARNINGS.
        """
        columns, position = read_lenenc_int(payloads[0], 0) if payloads else (0, 0)
        if columns != 3 or len(payloads) < 5 or payloads[-1][:1] != bytes((EOF,)):
            raise ProtocolError("unexpected reply to SHOW WARNINGS")
        self._described = payloads[0][position:]
        """What CLIENT_OPTIONAL_RESULTSET_METADATA puts behind the count of columns."""
        self._columns = payloads[1:4]
        self._rows = payloads[4:-1]
        self._errors = [row for row in self._rows if read_lenenc(row, 0)[0] == b"Error"]
        self._complete = warnings <= len(self._rows)
        self._extended = extended

    def counts(self) -> tuple[int, int] | None:
        """Messages, and errors among them; ``None`` if some are missing."""
        return (len(self._rows), len(self._errors)) if self._complete else None

    def with_error(self, errno: int, text: str) -> Diagnostics:
        """Make one that has one error more."""
        row = lenenc(b"Error") + lenenc(b"%d" % errno) + lenenc(text.encode())
        end = bytes((EOF, 0, 0, 0, 0, 0, 0))
        payloads = [lenenc_int(3) + self._described, *self._columns, *self._rows, row, end]
        missing = 0 if self._complete else 1
        return Diagnostics(payloads, len(self._rows) + 1 + missing, extended=self._extended)

    def answer(
        self, shows: int, limit: tuple[int, int] | None, status: int, *, deprecate_eof: bool
    ) -> bytes | None:
        """Answer ``Effects.shows`` in packets, the first with sequence id 1.

        ``status`` are the session's status flags. ``None`` if it cannot be known: a server keeps
        ``max_error_count`` messages and counts those behind them.
        """
        if shows in (SHOWS_WARNING_COUNT, SHOWS_ERROR_COUNT):
            if not self._complete:
                return None
            errors = shows == SHOWS_ERROR_COUNT
            count = len(self._errors if errors else self._rows)
            column = _count_column(b"error" if errors else b"warning", extended=self._extended)
            row = lenenc(b"%d" % count)
            return self._result([column], [row], status, deprecate_eof=deprecate_eof)
        if shows not in (SHOWS_WARNINGS, SHOWS_ERRORS):
            return None
        rows = self._errors if shows == SHOWS_ERRORS else self._rows
        if limit is not None:
            rows = rows[limit[0] : limit[0] + limit[1]]
        return self._result(self._columns, rows, status, deprecate_eof=deprecate_eof)

    def _result(
        self, columns: list[bytes], rows: list[bytes], status: int, *, deprecate_eof: bool
    ) -> bytes:
        flags = status.to_bytes(2, "little")
        eof = bytes((EOF, 0, 0)) + flags
        end = bytes((EOF, 0, 0)) + flags + bytes(2) if deprecate_eof else eof
        payloads = [lenenc_int(len(columns)) + self._described, *columns]
        payloads += [*rows, end] if deprecate_eof else [eof, *rows, end]
        return b"".join(packet(payload, 1 + index) for index, payload in enumerate(payloads))


def _count_column(what: bytes, *, extended: bool) -> bytes:
    name = lenenc(b"@@session." + what + b"_count")
    return (
        lenenc(b"def")
        + bytes(3)
        + name
        + bytes(2 if extended else 1)
        + lenenc_int(12)
        + _BINARY.to_bytes(2, "little")
        + (21).to_bytes(4, "little")
        + bytes((MYSQL_TYPE_LONGLONG, UNSIGNED_FLAG | _BINARY_FLAG, 0, 0, 0, 0))
    )
