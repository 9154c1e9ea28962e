"""SHOW WARNINGS and its kin, answered from a reply that was kept."""

from __future__ import annotations

import pytest

from proxy.errors import ProtocolError
from proxy.mysql.diagnostics import Diagnostics
from proxy.mysql.effects import (
    SHOWS_ERROR_COUNT,
    SHOWS_ERRORS,
    SHOWS_NOTHING,
    SHOWS_WARNING_COUNT,
    SHOWS_WARNINGS,
)
from proxy.mysql.lenenc import lenenc

COLUMNS = [b"\x03def-level", b"\x03def-code", b"\x03def-message"]
END = b"\xfe\0\0\x02\0\0\0"


def row(level: bytes, text: bytes) -> bytes:
    return lenenc(level) + lenenc(b"1054") + lenenc(text)


ROWS = [row(b"Warning", b"a"), row(b"Error", b"b"), row(b"Note", b"c")]


def kept(rows: list[bytes], warnings: int = 0, *, extended: bool = False) -> Diagnostics:
    return Diagnostics([b"\x03", *COLUMNS, *rows, END], warnings, extended=extended)


def payloads(reply: bytes | None) -> list[bytes]:
    assert reply is not None
    found: list[bytes] = []
    position = 0
    while position < len(reply):
        size = int.from_bytes(reply[position : position + 3], "little")
        assert reply[position + 3] == len(found) + 1
        found.append(reply[position + 4 : position + 4 + size])
        position += 4 + size
    return found


def test_the_reply_is_given_as_it_came() -> None:
    reply = kept(ROWS).answer(SHOWS_WARNINGS, None, 2, deprecate_eof=True)
    assert payloads(reply) == [b"\x03", *COLUMNS, *ROWS, END]


def test_what_comes_behind_the_count_of_columns_is_kept() -> None:
    optional = Diagnostics([b"\x03\x01", *COLUMNS, *ROWS, END], 0, extended=False)
    more = optional.with_error(1064, "syntax")
    reply = more.answer(SHOWS_WARNINGS, None, 2, deprecate_eof=True)
    assert payloads(reply)[0] == b"\x03\x01"
    reply = more.answer(SHOWS_WARNING_COUNT, None, 2, deprecate_eof=True)
    assert payloads(reply)[0] == b"\x01\x01"


def test_older_clients_get_eof_packets() -> None:
    reply = kept(ROWS).answer(SHOWS_WARNINGS, None, 3, deprecate_eof=False)
    eof = b"\xfe\0\0\x03\0"
    assert payloads(reply) == [b"\x03", *COLUMNS, eof, *ROWS, eof]


def test_errors_are_the_rows_of_that_level() -> None:
    reply = kept(ROWS).answer(SHOWS_ERRORS, None, 2, deprecate_eof=True)
    assert payloads(reply)[4:-1] == [ROWS[1]]


@pytest.mark.parametrize(
    ("limit", "left"), [((0, 0), []), ((0, 2), ROWS[:2]), ((1, 9), ROWS[1:]), ((7, 1), [])]
)
def test_limits(limit: tuple[int, int], left: list[bytes]) -> None:
    reply = kept(ROWS).answer(SHOWS_WARNINGS, limit, 2, deprecate_eof=True)
    assert payloads(reply)[4:-1] == left


@pytest.mark.parametrize(
    ("shows", "name", "count"),
    [(SHOWS_WARNING_COUNT, b"warning", b"3"), (SHOWS_ERROR_COUNT, b"error", b"1")],
)
def test_counts_look_as_servers_send_them(shows: int, name: bytes, count: bytes) -> None:
    named = lenenc(b"@@session." + name + b"_count")
    column = b"\x03def\0\0\0" + named + b"\0\x0c?\0\x15\0\0\0\x08\xa0\0\0\0\0"
    reply = kept(ROWS, 3).answer(shows, None, 2, deprecate_eof=True)
    assert payloads(reply) == [b"\x01", column, lenenc(count), END]
    extended = kept(ROWS, 3, extended=True).answer(shows, None, 2, deprecate_eof=True)
    assert len(payloads(extended)[1]) == len(column) + 1


def test_more_warnings_than_were_kept_cannot_be_counted() -> None:
    assert kept(ROWS, 4).answer(SHOWS_WARNING_COUNT, None, 2, deprecate_eof=True) is None
    assert kept(ROWS, 4).answer(SHOWS_WARNINGS, None, 2, deprecate_eof=True) is not None


def test_nothing_else_is_answered() -> None:
    assert kept(ROWS).answer(SHOWS_NOTHING, None, 2, deprecate_eof=True) is None


@pytest.mark.parametrize(
    "reply", [[], [b"\x03"], [b"\x02", *COLUMNS, END], [b"\x03", *COLUMNS, b"\xffxx"]]
)
def test_other_replies_are_refused(reply: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        Diagnostics(reply, 0, extended=False)
