"""Rows of the text protocol, of our own questions."""

from __future__ import annotations

from proxy.mysql.lenenc import read_lenenc

_NULL = 0xFB


def text_row(payload: bytes) -> list[bytes | None]:
    """Read a row. Raises ``ProtocolError`` where it is cut."""
    values: list[bytes | None] = []
    position = 0
    while position < len(payload):
        if payload[position] == _NULL:
            values.append(None)
            position += 1
        else:
            value, position = read_lenenc(payload, position)
            values.append(value)
    return values
