"""What is asked of a new server connection before it serves: limits, ``init_query``, variables."""

from __future__ import annotations

import contextlib
from typing import Final

from proxy.errors import ProtocolError, ServerProtocolError, ServerRefused
from proxy.mysql.constants import (
    CLIENT_MULTI_STATEMENTS,
    CLIENT_QUERY_ATTRIBUTES,
    COM_SET_OPTION,
    EOF,
    ERR,
    HEADER_BYTES,
    HOLD_LIMIT_BYTES,
    OK,
    PROGRESS,
    SERVER_MORE_RESULTS_EXISTS,
)
from proxy.mysql.hidden import TIME_LIMIT, Catalogue, HiddenEffects
from proxy.mysql.lenenc import packet, read_lenenc_int
from proxy.mysql.login import refusal
from proxy.mysql.messages import read_ok
from proxy.mysql.pipeline import query
from proxy.mysql.settings import BASELINE_QUERY
from proxy.mysql.text_rows import text_row
from proxy.wire.steps import Conversation, Read, Send

RESERVED_MOST: Final = 5
"""Connections left free for whoever cancels a query, looks after the server or comes without the
proxy; fewer on a server that allows fewer than 100."""
_LIMITS: Final = b"SELECT @@GLOBAL.max_connections"
_COLLATION: Final = (
    b"SELECT character_set_name, collation_name FROM information_schema.collations WHERE id = %d"
)
_WARNINGS: Final = b"SHOW WARNINGS"

Row = list[bytes | None]


def ask(sql: bytes, capabilities: int) -> Conversation[list[Row]]:
    """Run statements and return the rows of the last one, on a connection with DEPRECATE_EOF.

    ``capabilities`` are those in force. Raises ``ServerRefused`` with the server's error.
    """
    yield Send(_query(sql, capabilities))
    rows: list[Row] = []
    more = True
    while more:
        payloads = yield from _result()
        more = bool(_status(payloads[-1]) & SERVER_MORE_RESULTS_EXISTS)
        rows = _rows(payloads)
    return rows


def _query(sql: bytes, capabilities: int) -> bytes:
    return query(sql, attributes=bool(capabilities & CLIENT_QUERY_ATTRIBUTES))


def _result() -> Conversation[list[bytes]]:
    """Read one result: its payloads."""
    payloads = [(yield from _read_payload())]
    if payloads[0][0] in (OK, EOF):
        return payloads
    columns = _lenenc_int(payloads[0])
    while len(payloads) <= columns or payloads[-1][0] != EOF:
        payloads.append((yield from _read_payload()))
    return payloads


def _read_payload() -> Conversation[bytes]:
    payload = PROGRESS
    while payload.startswith(PROGRESS):  # The reply itself is still to come.
        header = yield Read(HEADER_BYTES)
        size = int.from_bytes(header[:3], "little")
        if not 0 < size <= HOLD_LIMIT_BYTES:
            raise ServerProtocolError("packet length out of range")
        payload = yield Read(size)
    if payload[0] == ERR:
        raise refusal(payload)
    return payload


def _lenenc_int(payload: bytes) -> int:
    try:
        return read_lenenc_int(payload, 0)[0]
    except ProtocolError as error:
        raise ServerProtocolError(str(error)) from error


def _status(payload: bytes) -> int:
    try:
        return read_ok(payload).status
    except ProtocolError as error:
        raise ServerProtocolError(str(error)) from error


def _rows(payloads: list[bytes]) -> list[Row]:
    """Decode the rows of a result of the text protocol."""
    if len(payloads) == 1:
        return []
    columns = _lenenc_int(payloads[0])
    try:
        return [text_row(payload) for payload in payloads[columns + 1 : -1]]
    except ProtocolError as error:
        raise ServerProtocolError(str(error)) from error


def usable_connections(capabilities: int) -> Conversation[int]:
    """Connections the server allows: ``max_connections`` less a reserve."""
    rows = yield from ask(_LIMITS, capabilities)
    try:
        total = int(rows[0][0] or b"")
    except (IndexError, ValueError) as error:
        raise ServerProtocolError("the server does not tell its max_connections") from error
    return max(1, total - min(RESERVED_MOST, max(1, total // 20)))


def use_collation(number: int, capabilities: int) -> Conversation[None]:
    """Give a session a collation whose number has no room in a login, only in COM_CHANGE_USER.

    An unknown one changes nothing, as in a server.
    """
    for [character_set, collation] in (yield from ask(_COLLATION % number, capabilities)):
        if character_set and collation:
            names = b"SET NAMES " + character_set + b" COLLATE " + collation
            yield from ask(names, capabilities)


def initialise(init_query: str, capabilities: int) -> Conversation[None]:
    """Run ``init_query``, which may be several statements."""
    if capabilities & CLIENT_MULTI_STATEMENTS:
        yield from ask(init_query.encode(), capabilities)
        return
    yield from _set_multi_statements(on=True)
    yield from ask(init_query.encode(), capabilities)
    yield from _set_multi_statements(on=False)


def _set_multi_statements(*, on: bool) -> Conversation[None]:
    yield Send(packet(bytes((COM_SET_OPTION, 0 if on else 1, 0)), 0))
    yield from _read_payload()


def baseline(capabilities: int) -> Conversation[dict[str, str]]:
    """Read every session variable: names in lower case to values."""
    rows = yield from ask(BASELINE_QUERY, capabilities)
    return {
        (name or b"").decode("utf-8", "replace").lower(): (value or b"").decode(
            "utf-8", "surrogateescape"
        )
        for name, value in rows
    }


def no_warnings(capabilities: int) -> Conversation[list[bytes]]:
    """Read the payloads of the reply to SHOW WARNINGS where there are none."""
    yield Send(_query(_WARNINGS, capabilities))
    return (yield from _result())


def hidden_effects(capabilities: int) -> Conversation[HiddenEffects | None]:
    """Read what stored programs, triggers and views do to a session; ``None`` if nothing.

    What the server does not tell in time, or at all, stays unknown.
    """
    catalogue = Catalogue()
    with contextlib.suppress(ServerRefused):
        while question := catalogue.question():
            catalogue.take((yield from ask(TIME_LIMIT + question, capabilities)))
    return catalogue.effects()
